"""`SlabCache`: what a call does and refuses, and what the kernel's own rules make of slabs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from structpage import (
    BuddyAllocator,
    DoubleFree,
    FrameMemory,
    InvalidArgument,
    InvalidObject,
    LimitExceeded,
    Machine,
    OutOfMemory,
    OutOfRange,
    SlabCache,
    SlabFlags,
    UnknownName,
    Zone,
    geometry,
    slab_table,
)
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.errors import CacheInUse
from structpage.slab.shrinking import in_order

FULL = (1 << 64) - 1


def small(objects=4):
    """A shape of few objects in a page: 4096 / `objects` bytes each."""
    return geometry(4096 // objects, slab_max_order=0)


def filled(objects=4, slabs=6, *, frames=64, **options):
    """A cache whose `slabs` slabs are full, and the addresses of each."""
    cache = SlabCache(BuddyAllocator(frames), "cache", small(objects), **options)
    held = [[cache.alloc() for _ in range(objects)] for _ in range(slabs)]
    return cache, held


# Objects


def test_objects_of_the_first_slab_come_in_order():
    cache = SlabCache(BuddyAllocator(16), "cache", 192)
    assert [cache.alloc() for _ in range(3)] == [PAGE_OFFSET, PAGE_OFFSET + 192, PAGE_OFFSET + 384]
    assert (len(cache), cache.objects[-1], len(cache.slabs)) == (3, PAGE_OFFSET + 384, 1)


def test_the_object_freed_last_is_the_next():
    cache = SlabCache(BuddyAllocator(16), "cache", 192)
    first, second = cache.alloc(), cache.alloc()
    cache.free(first)
    cache.free(second)
    assert [cache.alloc(), cache.alloc()] == [second, first]


@given(st.permutations(range(16)), st.integers(0, 15))
def test_a_recorded_sequence_and_start_make_the_free_list(sequence, start):
    cache = SlabCache(BuddyAllocator(16), "cache", geometry(256, slab_max_order=0), random=sequence)
    cache.starts.append(start)
    order = [*sequence[start:], *sequence[:start]]
    assert [cache.alloc() for _ in range(16)] == [PAGE_OFFSET + 256 * number for number in order]


def test_a_smaller_slab_skips_the_numbers_it_has_not():
    buddy = BuddyAllocator(2, max_order=1)
    shape = replace(geometry(512, slab_max_order=0), order=1, objects=16)
    buddy.alloc()
    cache = SlabCache(buddy, "cache", shape, random=list(range(15, -1, -1)))
    cache.starts.append(0)
    assert [cache.alloc() - PAGE_OFFSET - 4096 for _ in range(8)] == [512 * number for number in range(7, -1, -1)]
    assert slab_table(buddy)["fallbacks"].tolist() == [1]


def test_a_seed_decides_all():
    def addresses(seed):
        cache = SlabCache(BuddyAllocator(64), "cache", 128, random=seed)
        return [cache.alloc() for _ in range(100)]

    assert addresses(1) == addresses(1)
    assert addresses(1) != addresses(2)
    assert sorted(addresses(1)[:32]) == sorted(addresses(2)[:32])
    assert addresses(1)[:32] != [address - 4096 for address in addresses(1)[32:64]]


def test_the_free_pointer_lies_where_the_geometry_says():
    cache = SlabCache(BuddyAllocator(16), "cache", 192)
    first = cache.alloc()
    following = cache.cpu_slab()[1][0]
    assert cache.read(following, 192)[96:104] == (following + 192).to_bytes(8, "little")
    hidden = SlabCache(cache.allocator, "hidden", 192, hardened=0x1122334455667788)
    hidden.alloc()
    following = hidden.cpu_slab()[1][0]
    slot = following + 96
    swapped = int.from_bytes(slot.to_bytes(8, "little"), "big")
    stored = int.from_bytes(hidden.read(slot, 8), "little")
    assert stored == (following + 192) ^ 0x1122334455667788 ^ swapped
    assert first == PAGE_OFFSET


def test_memory_is_read_and_written():
    cache = SlabCache(BuddyAllocator(16, memory=FrameMemory(16)), "cache", 64)
    address = cache.alloc()
    cache.write(address, b"content")
    assert (cache.read(address, 7), len(cache.read(address))) == (b"content", 64)
    assert cache.allocator.memory.read(0, 0, 7) == b"content"
    with pytest.raises(OutOfRange):
        cache.write(PAGE_OFFSET + (16 << 12) - 1, b"ab")


def test_zero_clears_the_object():
    cache = SlabCache(BuddyAllocator(16), "cache", 64)
    address = cache.alloc()
    cache.write(address, bytes([255]) * 64)
    cache.free(address)
    assert cache.read(cache.alloc(zero=True)) == bytes(64)


def test_constructed_objects_keep_their_content():
    cache = SlabCache(BuddyAllocator(16), "cache", 64, ctor=lambda address: address.to_bytes(8, "little"))
    assert cache.geometry.freeptr_outside
    address = cache.alloc()
    assert cache.read(address, 8) == address.to_bytes(8, "little")
    cache.write(address + 8, b"kept")
    cache.free(address)
    assert cache.read(cache.alloc(), 12) == address.to_bytes(8, "little") + b"kept"


def test_a_constructor_that_fails_leaves_nothing():
    def ctor(address):
        raise KeyError(address)

    buddy = BuddyAllocator(16)
    cache = SlabCache(buddy, "cache", 64, ctor=ctor)
    with pytest.raises(KeyError):
        cache.alloc()
    assert (buddy.free_frames, len(cache), len(cache.slabs)) == (16, 0, 0)
    buddy.check()
    cache.ctor = lambda address: bytes(65)
    with pytest.raises(
        InvalidArgument, match=says("what ctor returns must be at most 64 bytes, as the object has, not 65")
    ):
        cache.alloc()
    assert buddy.free_frames == 16


# Slabs


def test_min_partial_slabs_are_kept_when_they_are_empty():
    cache, held = filled(slabs=8)
    cache.min_partial = 3
    cache.cpu_partial = 0
    for slab in held:
        for address in slab:
            cache.free(address)
    cache.flush()
    assert len(cache.partial()) == 3
    assert cache.allocator.free_frames == 64 - 3
    cache.allocator.check()


def test_a_full_slab_of_which_one_is_freed_waits_on_the_cpu():
    cache, held = filled(slabs=4)
    cache.free(held[1][0])
    cache.free(held[0][2])
    slab, free, waiting = cache.cpu_slab()
    assert [view.address for view in waiting] == [held[0][0], held[1][0]]
    assert (slab.address, free) == (held[3][0], [])
    assert cache.alloc() == held[0][2]
    assert [view.address for view in cache.cpu_slab()[2]] == [held[1][0]]


def test_a_full_list_of_a_cpu_goes_to_the_node():
    cache, held = filled(slabs=6)
    cache.cpu_partial = 4  # 2 slabs
    for slab in held[:3]:
        cache.free(slab[0])
    assert [view.address for view in cache.cpu_slab()[2]] == [held[2][0]]
    assert [view.address for view in cache.partial()] == [held[1][0], held[0][0]]


def test_other_cpus_free_into_the_slab_of_one():
    cache, held = filled(slabs=1, cpus=2)
    cache.free(held[0][1], 1)
    slab, free, _ = cache.cpu_slab(0)
    assert (free, slab.free_objects(), slab.inuse) == ([], [held[0][1]], 3)
    assert cache.cpu_slab(1)[0] is None
    assert cache.alloc(0) == held[0][1]


def test_a_slab_that_others_freed_into_goes_to_the_tail():
    cache, held = filled(slabs=2, cpus=2)
    cache.free(held[1][0], 1)
    cache.free(held[1][1], 0)
    cache.free(held[0][0], 1)
    cache.flush(1)
    cache.flush(0)
    assert [view.address for view in cache.partial()] == [held[0][0], held[1][0]]
    assert cache.partial()[1].free_objects() == [held[1][1], held[1][0]]


def test_shrinking_puts_the_fullest_first():
    cache, held = filled(slabs=7)
    cache.cpu_partial = 0
    for slab, freed in zip(held, (1, 3, 4, 2, 1, 4), strict=False):
        for address in slab[:freed]:
            cache.free(address)
    assert cache.shrink() == 2
    assert [view.objects - view.inuse for view in cache.partial()] == [1, 1, 2, 3]
    assert [view.address for view in cache.partial()][:2] == [held[4][0], held[0][0]]
    cache.allocator.check()


def test_slabs_with_more_than_32_free_objects_are_not_sorted():
    class Slab:
        def __init__(self, number, free):
            self.number, self.objects, self.inuse = number, 64, 64 - free

    slabs = [Slab(number, free) for number, free in enumerate((50, 32, 33, 1, 32))]
    assert [slab.number for slab in in_order(slabs)] == [3, 4, 1, 0, 2]


def test_the_preferred_order_may_be_had_or_not():
    buddy = BuddyAllocator(16, max_order=2)
    held = [buddy.alloc() for _ in range(16)]
    for pfn in held[::2]:
        buddy.free(pfn)
    cache = SlabCache(buddy, "cache", 1024, cpus=4)
    assert cache.geometry.order > 0
    cache.alloc()
    assert [(slab.order, slab.objects) for slab in cache.slabs] == [(0, 4)]
    assert slab_table(buddy)["fallbacks"].tolist() == [1]
    buddy.check()


def test_without_memory_nothing_changes():
    buddy = BuddyAllocator(2)
    cache = SlabCache(buddy, "cache", 2048)
    held = [cache.alloc() for _ in range(4)]
    rule = "free memory for a slab of cache cache must be a block of order 0 or more, in a zone that will do, not less"
    with pytest.raises(OutOfMemory, match=says(rule)):
        cache.alloc()
    buddy.check()
    assert cache.objects == held


def test_objects_of_a_node():
    zones = (Zone("Normal", 0, 64, 0), Zone("Normal", 64, 128, 1))
    cache = SlabCache(BuddyAllocator(128, zones=zones), "cache", 512, cpus=2)
    near, far = cache.alloc(0, node=0), cache.alloc(0, node=1)
    assert (near - PAGE_OFFSET >> 12 < 64, far - PAGE_OFFSET >> 12 >= 64) == (True, True)
    assert cache.alloc(1) - PAGE_OFFSET >> 12 >= 64
    with pytest.raises(InvalidArgument, match=says("node must be one of 0, 1, not 2")):
        cache.alloc(node=2)


def test_pages_of_a_machine_are_of_the_type_that_the_cache_says():
    machine = Machine(4096)
    for name, flags, mt in (("plain", 0, 0), ("reclaimable", SlabFlags.RECLAIM_ACCOUNT, 2)):
        cache = SlabCache(machine, name, 64, flags=flags)
        pfn = cache.alloc() - PAGE_OFFSET >> 12
        assert (machine.pages[pfn].state, machine.pages[pfn].migratetype) == ("slab", mt)
    dma = SlabCache(machine, "dma", 64, flags=SlabFlags.CACHE_DMA)
    assert dma.alloc() - PAGE_OFFSET >> 12 < 4096
    machine.check()


def test_slab_pages_cannot_be_isolated():
    machine = Machine(4096, zones=[Zone("Normal", 0, 4096)])
    cache = SlabCache(machine, "cache", 64)
    block = cache.alloc() - PAGE_OFFSET >> 12 >> 9 << 9
    with pytest.raises(OutOfMemory, match=f"PFN {cache.slabs[0].pfn} unmovable$"):
        machine.isolate(block, 512)
    cache.free(cache.objects[0])
    cache.shrink()
    machine.isolate(block, 512)
    machine.check()


def test_slab_pages_are_nobody_elses():
    cache = SlabCache(BuddyAllocator(16), "cache", 1024, cpus=4)
    cache.alloc()
    buddy, slab = cache.allocator, cache.slabs[0]
    with pytest.raises(ValueError, match="must be the head of an allocated block, not slab"):
        buddy.free(slab.pfn)
    assert slab.order > 0
    assert buddy.pages[slab.pfn + 1].state == "slab"
    assert buddy.pages.summary() == {"slab": 1, "tail": (1 << slab.order) - 1, "free": 16 - (1 << slab.order)}
    assert np.count_nonzero(buddy.pages.is_free) == 16 - (1 << slab.order)


# The end of a cache


def test_a_cache_that_is_in_use_is_not_destroyed():
    cache, held = filled(slabs=2)
    rule = f"without objects in use to be destroyed: free them, not with 8 in use, the lowest at {held[0][0]:#x}"
    with pytest.raises(CacheInUse, match=says(f"cache cache must be {rule}")):
        cache.destroy()
    cache.allocator.check()
    for address in [*held[0], *held[1]]:
        cache.free(address)
    cache.destroy()
    assert cache.allocator.free_frames == 64
    cache.allocator.check()
    again = SlabCache(cache.allocator, "cache", 64)
    assert (again.number, len(again), again.slabs) == (0, 0, [])


def test_a_cache_that_was_destroyed_is_of_no_use():
    cache = SlabCache(BuddyAllocator(16), "cache", 64)
    cache.destroy()
    for call in (cache.alloc, cache.shrink, cache.destroy, lambda: cache.free(PAGE_OFFSET)):
        with pytest.raises(InvalidArgument, match=says("cache cache must be used before it is destroyed, not after")):
            call()


# What is refused


def refused_frees():
    cache, held = filled(slabs=2)
    other = SlabCache(cache.allocator, "other", 64)
    its, address = other.alloc(), held[0][1]
    cache.free(held[0][0])
    in_use = "an object of cache cache that is in use"
    return cache, [
        (held[0][0], DoubleFree, in_use, "one that is free already"),
        (its, InvalidObject, f"{in_use}: free it to its own", "one of cache other"),
        (address + 8, InvalidObject, in_use, f"one that is 8 bytes into the object at {address:#x}"),
        (PAGE_OFFSET + (40 << 12), InvalidObject, in_use, "an address that is in no slab"),
        (PAGE_OFFSET + (400 << 12), InvalidObject, in_use, "an address that is in no slab"),
        (3, InvalidObject, in_use, "an address that is in no slab"),
    ]


def test_bad_frees_say_what_is_there():
    cache, bad = refused_frees()
    for address, kind, rule, found in bad:
        before = cache.objects
        with pytest.raises(kind, match=says(f"address {address:#x} freed to cache cache must be {rule}, not {found}")):
            cache.free(address)
        assert cache.objects == before
        cache.allocator.check()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"size": 0}, InvalidArgument, "object size must be at least 1, not 0"),
        ({"size": 1 << 23}, LimitExceeded, "object size must be at most 4194304 bytes, not 8388608"),
        ({"align": 24}, InvalidArgument, "align must be 0 or a power of two up to 4194304, not 24"),
        ({"name": "a b"}, InvalidArgument, "name must be one word of 1 to 63 printable characters, "
                               "for files that list caches, not 'a b'"),
        ({"name": "taken"}, InvalidArgument, "name must be one that no cache has, not 'taken'"),
        ({"flags": "Q"}, InvalidArgument, "slub_debug letter must be one of F, Z, P, U, -, not 'Q'"),
        ({"cpus": 3}, InvalidArgument, "cpus must be 2, as the allocator's caches have, not 3"),
        ({"kernel": "5.4"}, InvalidArgument, "kernel must be 6.1, as the allocator's caches have, not '5.4'"),
        ({"hardened": 1 << 64}, InvalidArgument, f"hardened must be between 0 and {FULL}, not {FULL + 1}"),
        ({"size": 20000}, LimitExceeded, "object of cache new with its metadata must be at most 8192 bytes, the "
         "allocator's largest block, not 20000"),
        ({"size": 2048, "random": (1, 1)}, InvalidArgument,
         "random must be a seed, or the numbers 0 to 15 in some order, not [1, 1]"),
    ],
)  # fmt: skip
def test_bad_caches(options, kind, message):
    buddy = BuddyAllocator(16, max_order=1)
    SlabCache(buddy, "taken", 64, cpus=2)
    with pytest.raises(kind, match=says(message)):
        SlabCache(buddy, **{"name": "new", "size": 64, **options})
    assert len(buddy.slabs.caches) == 1


def test_a_kernel_that_is_not_known():
    with pytest.raises(UnknownName, match=says("kernel must be one of 6.1, not '5.4'")):
        SlabCache(BuddyAllocator(16), "cache", 64, kernel="5.4")


def test_an_allocator_is_needed():
    with pytest.raises(InvalidArgument, match=says("allocator must be a BuddyAllocator or a Machine, not 7")):
        SlabCache(7, "cache", 64)


@pytest.mark.parametrize("cpu", [-1, 2, 1.5, "0"])
def test_bad_cpus(cpu):
    cache = SlabCache(BuddyAllocator(16), "cache", 64, cpus=2)
    address = cache.alloc()
    for call in (lambda: cache.alloc(cpu), lambda: cache.free(address, cpu), lambda: cache.flush(cpu)):
        with pytest.raises(InvalidArgument, match=r"^cpu must be (an int|between 0 and 1), not "):
            call()
    assert cache.objects == [address]


def test_cpu_partial_of_a_cache_that_is_debugged_is_none():
    cache = SlabCache(BuddyAllocator(16), "cache", 64, flags="F")
    with pytest.raises(InvalidArgument, match=says("cpu_partial of a cache that is debugged must be 0, not 3")):
        cache.cpu_partial = 3
    cache.cpu_partial = 0
    assert cache.cpu_partial == 0


# Pictures


def test_a_cache_shows_itself():
    cache, held = filled(slabs=2)
    cache.free(held[0][0])
    assert repr(cache) == "<SlabCache cache: 7 of 8 objects in use, size 1024, 2 slabs of order 0>"
    html = cache._repr_html_()
    assert "<td>yes</td>" in html
    assert html.count("<tr>") == 3
    assert repr(cache.slabs[1]) == "<slab 2: PFN 1, order 0, 4 of 4 objects in use, frozen>"
