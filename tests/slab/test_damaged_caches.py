"""What becomes of a cache, and of its neighbours, when damage is found in one of its slabs."""

from __future__ import annotations

import pytest

from structpage import BuddyAllocator, Kmalloc, SlabCache, SlabCorruption, Who
from structpage.errors import CacheInUse, DoubleFree
from structpage.slab.kernel_log import TAINTED

FRAMES, MAX_ORDER = 64, 5


def cache_of(size=100, *, buddy=None, name="cache", **options):
    buddy = buddy or BuddyAllocator(FRAMES, max_order=MAX_ORDER)
    return SlabCache(buddy, name, size, **({"flags": "FZPU"} | options))


def damaged(cache, address):
    """Write to a byte of a free object."""
    cache.write(address, bytes((cache.read(address, 1)[0] ^ 1,)))


def all_free(buddy):
    return buddy.free_counts.tolist() == [0] * MAX_ORDER + [FRAMES >> MAX_ORDER]


def test_the_next_allocation_is_from_another_slab():
    cache = cache_of()
    kept, gone = cache.alloc(), cache.alloc()
    cache.free(gone)
    damaged(cache, gone)
    with pytest.raises(SlabCorruption):
        cache.alloc()
    assert cache.objects == [kept]
    served = cache.alloc()
    assert {slab.frozen for slab in cache.slabs} == {0, 1}
    assert [slab.frozen for slab in cache.slabs if slab.is_object(served)] == [0]
    cache.check()
    with pytest.raises(SlabCorruption, match=r"must be enabled, not disabled$"):
        cache.free(kept)
    with pytest.raises(CacheInUse):
        cache.destroy()


def test_a_cache_with_a_disabled_slab_can_be_destroyed_once_nobody_has_an_object():
    cache = cache_of()
    gone = cache.alloc()
    cache.free(gone)
    damaged(cache, gone)
    with pytest.raises(SlabCorruption):
        cache.alloc()
    cache.free(cache.alloc())
    cache.destroy()
    cache.allocator.check()
    assert all_free(cache.allocator)


def test_a_cache_with_lost_objects_can_be_destroyed():
    cache = cache_of(flags="F")
    gone, kept = cache.alloc(), cache.alloc()
    cache.free(gone)
    cache.write(gone + cache.geometry.offset, b"\xff" * 8)
    with pytest.raises(SlabCorruption):
        cache.free(kept)
    cache.free(kept)
    assert cache.slabs[0].inuse == cache.geometry.objects - 2
    cache.check()
    cache.destroy()
    cache.allocator.check()
    assert all_free(cache.allocator)


def test_shrinking_gives_all_empty_slabs_back_whatever_is_damaged():
    cache = cache_of(1000)
    objects = [cache.alloc() for _ in range(3 * cache.geometry.objects)]
    for address in objects:
        cache.free(address)
    slabs = cache.slabs
    for slab in slabs:
        damaged(cache, slab.first_object)
    with pytest.raises(SlabCorruption) as caught:
        cache.shrink()
    assert caught.value.object in {slab.first_object for slab in slabs}
    assert cache.slabs == []
    assert all_free(cache.allocator)
    assert sum("Poison overwritten" in line for line in cache.layer.log.lines) == len(slabs) == 3


def test_a_free_that_empties_a_damaged_slab_is_done_and_tells_of_the_damage():
    cache = cache_of()
    cache.min_partial = 0
    other, last = cache.alloc(), cache.alloc()
    cache.free(other)
    damaged(cache, other)
    with pytest.raises(SlabCorruption) as caught:
        cache.free(last)
    assert caught.value.object == other
    assert cache.objects == []
    assert all_free(cache.allocator)


def test_damage_in_one_cache_is_none_of_its_neighbours():
    buddy = BuddyAllocator(FRAMES, max_order=MAX_ORDER)
    first, second = (cache_of(buddy=buddy, name=name) for name in ("first", "second"))
    addresses = first.alloc(), second.alloc()
    for cache, address in zip((first, second), addresses, strict=True):
        damaged(cache, address - 1)
    with pytest.raises(SlabCorruption) as caught:
        first.check()
    assert caught.value.cache == "first"
    assert "BUG first (Not tainted): Left Redzone overwritten" in caught.value.report
    with pytest.raises(SlabCorruption) as caught:
        second.check()
    assert f"BUG second ({TAINTED}): Left Redzone overwritten" in caught.value.report
    buddy.check()


def test_tracks_of_a_cache():
    cache = cache_of()
    address, _ = cache.alloc(cpu=0, who=Who("maker", 3, 44)), cache.alloc()
    cache.free(address)
    with pytest.raises(DoubleFree) as caught:
        cache.free(address, who=Who("breaker"))
    report = caught.value.report
    assert "Allocated in maker age=3 cpu=3 pid=44\n" in report
    assert f"Freed in {test_tracks_of_a_cache.__name__} [{__name__}] age=1 cpu=0 pid=0\n" in report


@pytest.mark.parametrize("size", [1, 60, 64])
def test_kmalloc_notes_the_size_that_was_asked_for(size):
    kmalloc = Kmalloc(BuddyAllocator(FRAMES, max_order=MAX_ORDER), flags="U")
    address = kmalloc.alloc(size)
    stored = kmalloc.cache_for(size)
    assert stored.read(address + stored.geometry.padding - 4, 4) == size.to_bytes(4, "little")


@pytest.mark.parametrize("beyond", [0, 1, 7])
def test_an_overflow_of_kmalloc_memory_is_found_behind_the_class(beyond):
    """In 6.1 only what lies behind the class's size is watched, not what lies behind the size asked for."""
    kmalloc = Kmalloc(BuddyAllocator(FRAMES, max_order=MAX_ORDER), flags="FZ")
    address = kmalloc.alloc(50)
    cache = kmalloc.cache_for(50)
    cache.write(address + 50, b"A" * (14 + beyond))
    if beyond == 0:
        kmalloc.free(address)
        return
    with pytest.raises(SlabCorruption) as caught:
        kmalloc.free(address)
    assert (caught.value.cache, caught.value.field) == ("kmalloc-64", "Right Redzone")
    assert caught.value.address == address + 64


@pytest.mark.parametrize("hardened", [False, True])
def test_check_reports_a_damaged_free_pointer_and_cuts_the_list_there(hardened):
    cache = cache_of(48, hardened=hardened)
    objects = [cache.alloc() for _ in range(5)]
    for address in objects[:3]:
        cache.free(address)
    lost = cache.slabs[0].objects - 5 + 1
    cache.write(objects[1] + cache.geometry.offset, b"\x55" * 8)
    with pytest.raises(SlabCorruption, match="free pointer at offset") as found:
        cache.check()
    assert found.value.object == objects[1]
    assert "Freechain corrupt" in found.value.report
    slab = cache.slabs[0]
    assert slab.free_objects() == [objects[2], objects[1]]
    assert slab.inuse == 2 + lost
    cache.layer.check()
