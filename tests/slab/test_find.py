"""`find`: any address, and any PFN, to slab, cache and object."""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS, says

from structpage import BuddyAllocator, OutOfRange, Owner, SlabCache, find
from structpage.core.slab.rows import PAGE_OFFSET, SLAB_KIND
from structpage.owners import KINDS


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("stamp", ["every", "head"])
def test_every_address_of_a_slab_leads_to_its_object(placement, stamp):
    buddy = BuddyAllocator(32, placement, max_order=3, stamp=stamp)
    other = SlabCache(buddy, "other", 64, cpus=4)
    other.alloc()
    cache = SlabCache(buddy, "cache", 1500)
    address = cache.alloc()
    slab = cache.slabs[0]
    size = cache.geometry.size
    assert slab.order > 0
    for offset in range(0, 4096 << slab.order, 500):
        found = find(buddy, slab.address + offset)
        assert (found.cache, found.slab.number) == (cache, slab.number)
        if offset < slab.objects * size:
            expected = (offset // size, slab.address + offset // size * size, offset % size)
            assert (found.number, found.address, found.offset) == expected
            assert found.in_use == (found.address == address)
        else:
            assert (found.number, found.address, found.in_use) == (None, None, False)
    for frame in range(1 << slab.order):
        assert find(buddy, slab.pfn + frame).cache is cache
    buddy.check()


def test_a_left_red_zone_is_before_the_object():
    buddy = BuddyAllocator(16)
    cache = SlabCache(buddy, "cache", 64, flags="Z")
    address = cache.alloc()
    found = find(buddy, address - 3)
    assert (found.address, found.number, found.offset, found.in_use) == (address, 0, -3, True)
    assert repr(found) == (
        "<Found: cache cache, <slab 1: PFN 0, order 0, 1 of 46 objects in use>, object 0 + -3, in use>"
    )


def test_what_is_no_slab():
    buddy = BuddyAllocator(16)
    assert find(buddy, 3) is None
    cache = SlabCache(buddy, "cache", 64)
    cache.alloc()
    pfn = buddy.alloc(owner=Owner("slab", 1 << 4))
    assert find(buddy, pfn) is None
    buddy.free(pfn)
    cache.free(cache.objects[0])
    cache.shrink()
    assert find(buddy, 0) is None


@pytest.mark.parametrize("where", [-1, 16, PAGE_OFFSET + (16 << 12), PAGE_OFFSET - 1])
def test_what_is_outside_the_memory(where):
    rule = f"from {PAGE_OFFSET:#x} to below {PAGE_OFFSET + (16 << 12):#x}, or a PFN"
    with pytest.raises(OutOfRange, match=says(f"address must be {rule}, not {where:#x}")):
        find(BuddyAllocator(16), where)


def test_the_kind_of_owner_is_the_same_above_and_below():
    assert KINDS[SLAB_KIND] == "slab"
