"""Every invariant of the slab layer, broken alone, is reported."""

from __future__ import annotations

import pytest
from helpers import says

from structpage import BuddyAllocator, CorruptionError, SlabCache, geometry
from structpage.core.slab import rows
from structpage.slab.views import SlabView


class Lists:
    """Slabs of 4 objects: 1, 2 on the node's list, 4, 3 on that of CPU 0, 5 full, 6 the slab of CPU 1."""

    def __init__(self, **options):
        self.buddy = BuddyAllocator(64, **options)
        self.other = SlabCache(self.buddy, "other", geometry(1024, slab_max_order=0), cpus=2)
        self.cache = SlabCache(self.buddy, "cache", geometry(1024, slab_max_order=0))
        self.held = [[self.cache.alloc() for _ in range(4)] for _ in range(5)]
        self.cache.alloc(1)
        for slab in (1, 0):
            self.cache.free(self.held[slab][0])
        self.cache.flush(0)
        for slab in (2, 3):
            self.cache.free(self.held[slab][0])
        self.buddy.check()
        self.layer = self.buddy.slabs
        self.store = self.layer.store

    def set(self, slab, word, value):
        self.store.record[slab * rows.RECORD_ROW + word] = value

    def node(self, word, value):
        self.store.node[self.cache.number * self.store.nodes * rows.NODE_ROW + word] = value

    def cpu(self, word, value):
        self.layer.slub.cpu[(self.cache.number * 2) * rows.CPU_ROW + word] = value

    def view(self, slab):
        return SlabView(self.store, slab)

    def link(self, address, pointer):
        self.store.set_next_free(self.cache.number, address - (1 << 64), pointer)


def damages():
    """Names of damages, what does each, and the field that is reported."""
    r = rows
    return {
        "a count": (lambda x: x.node(r.NR_PARTIAL, 9), "nr_partial"),
        "slabs of a node": (lambda x: x.node(r.NR_SLABS, 9), "nr_slabs of cache cache on node 0"),
        "objects of a node": (lambda x: x.node(r.TOTAL_OBJECTS, 9), "total_objects of cache cache on node 0"),
        "the last": (lambda x: x.node(r.LAST, 3), "last"),
        "a first that is none": (lambda x: x.node(r.FIRST, 99), "last"),
        "a link back": (lambda x: x.set(2, r.PREV, 4), "prev"),
        "a circle": (lambda x: x.set(2, r.NEXT, 1),
                     "list membership"),
        "a frozen slab on a node": (lambda x: x.set(1, r.FROZEN, 1), "slab"),
        "another node": (lambda x: x.set(1, r.NODE, 1), "node"),
        "another cache": (lambda x: x.set(1, r.CACHE, x.other.number), "cache"),
        "no cache": (lambda x: x.set(1, r.CACHE, 7), "cache of slab"),
        "a thawed slab of a CPU": (lambda x: x.set(6, r.FROZEN, 0), "frozen"),
        "a thawed slab that waits": (lambda x: x.set(4, r.FROZEN, 0), "slab"),
        "the number that wait": (lambda x: x.set(4, r.WAITING, 5), "slabs"),
        "a slab that is forgotten": (lambda x: x.cpu(r.CPU_PARTIAL, 0), "no list"),
        "a count of objects": (lambda x: x.set(1, r.INUSE, 1), "inuse"),
        "a pointer into an object": (lambda x: x.link(x.held[0][0], x.held[0][1] + 8 - (1 << 64)), "free list"),
        "a pointer to an object in use": (lambda x: x.link(x.held[0][0], x.held[0][1] - (1 << 64)), "free list"),
        "a pointer to itself": (lambda x: x.link(x.held[0][0], x.held[0][0] - (1 << 64)), "free list"),
        "a pointer to nowhere": (lambda x: x.link(x.held[0][0], 0x1234), "free list"),
        "a lost object": (lambda x: x.cache.live.discard(x.held[0][1]), "free list"),
        "an object of no slab": (lambda x: x.cache.live.add(x.held[4][0] + (1 << 20)), "object"),
        "a head's state": (lambda x: x.store.buddy.memmap.unmark_slab(x.view(1).pfn), "state"),
        "a head's cache": (lambda x: x.buddy.pages.allocator.__setitem__(
            x.view(1).pfn, int(x.buddy.pages.allocator[x.view(1).pfn]) ^ 1 << 34), "cache"),
        "a head's owner": (lambda x: x.buddy.pages.allocatee.__setitem__(x.view(1).pfn, 2 << 4 | 5), "owner"),
        "an unused record": (lambda x: x.store.records.__setitem__(rows.UNUSED, 2), "unused records"),
        "a record more": (lambda x: x.store.records.__setitem__(rows.HIGHEST, 9), "unused records"),
    }  # fmt: skip


def test_the_lists_are_as_they_are_said_to_be():
    cache = Lists().cache
    assert [view.number for view in cache.partial()] == [1, 2]
    assert [view.number for view in cache.cpu_slab(0)[2]] == [4, 3]
    assert (cache.cpu_slab(0)[0], cache.cpu_slab(1)[0].number, len(cache.cpu_slab(1)[1])) == (None, 6, 3)


@pytest.mark.parametrize("name", damages())
def test_each_damage_is_reported(name):
    lists = Lists()
    damage, field = damages()[name]
    damage(lists)
    with pytest.raises(CorruptionError) as caught:
        lists.buddy.check()
    assert field in f"{caught.value.field} {caught.value.list}"


def test_a_slab_page_without_a_record_is_reported():
    lists = Lists()
    pfn = lists.buddy.alloc()
    lists.store.buddy.memmap.mark_slab(pfn, lists.cache.number)
    with pytest.raises(
        CorruptionError, match=says(f"PFN {pfn}, state must be slab of a record that is in use, not of none")
    ):
        lists.buddy.check()


@pytest.mark.parametrize("pointer", [0x6B6B6B6B6B6B6B6B, 0xFFFF888000000000 + (1 << 40), 7])
def test_an_allocation_that_meets_a_broken_pointer_says_so(pointer):
    cache = SlabCache(BuddyAllocator(16), "cache", 64)
    held = [cache.alloc(), cache.alloc()]
    cache.free(held[0])
    cache.write(held[0] + cache.geometry.offset, pointer.to_bytes(8, "little"))
    assert cache.alloc() == held[0]
    with pytest.raises(CorruptionError, match="free list must be objects of the slab, not"):
        cache.alloc()
