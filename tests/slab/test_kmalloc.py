"""`Kmalloc`: which cache serves a request, whole pages, and what may be freed."""

from __future__ import annotations

import re

import pytest
from helpers import says

from structpage import (
    BuddyAllocator,
    DoubleFree,
    FrameMemory,
    InvalidArgument,
    InvalidObject,
    Kmalloc,
    LimitExceeded,
    Machine,
    find,
)
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.slab.kmalloc import LARGE, TYPES, ZERO_SIZE_PTR
from structpage.slab.shape import KMALLOC_SIZES


@pytest.fixture
def kmalloc():
    return Kmalloc(BuddyAllocator(256), types=tuple(TYPES))


def test_names_are_the_kernels(kmalloc):
    names = {kind: [cache.name for cache in caches] for kind, caches in kmalloc.caches.items()}
    assert names["normal"][:7] == [f"kmalloc-{size}" for size in (8, 16, 32, 64, 96, 128, 192)]
    assert names["normal"][9:] == ["kmalloc-1k", "kmalloc-2k", "kmalloc-4k", "kmalloc-8k"]
    firsts = [names[kind][0] for kind in TYPES]
    assert firsts == ["kmalloc-8", "kmalloc-cg-8", "kmalloc-rcl-8", "dma-kmalloc-8"]


@pytest.mark.parametrize("size", [1, 8, 9, 64, 65, 96, 97, 128, 129, 192, 193, 8191, 8192])
def test_the_smallest_class_that_fits_serves(kmalloc, size):
    address = kmalloc.alloc(size)
    cache = find(kmalloc.allocator, address).cache
    assert cache.geometry.object_size == min(fits for fits in KMALLOC_SIZES if fits >= size)
    assert kmalloc.ksize(address) == cache.geometry.size
    kmalloc.free(address)
    assert len(cache) == 0


@pytest.mark.parametrize("size", [size for size in KMALLOC_SIZES if size & size - 1 == 0])
@pytest.mark.parametrize("flags", [0, "Z", "FZPU"])
def test_powers_of_two_are_aligned_to_themselves(size, flags):
    kmalloc = Kmalloc(BuddyAllocator(256), types=(), flags=flags)
    assert all(kmalloc.alloc(size) % size == 0 for _ in range(3))


@pytest.mark.parametrize(
    ("gfp", "name"),
    [
        ("GFP_KERNEL", "kmalloc-64"),
        ("GFP_KERNEL_ACCOUNT", "kmalloc-cg-64"),
        ("GFP_KERNEL|__GFP_RECLAIMABLE", "kmalloc-rcl-64"),
        ("GFP_KERNEL_ACCOUNT|__GFP_RECLAIMABLE", "kmalloc-rcl-64"),
        ("GFP_KERNEL|__GFP_RECLAIMABLE|GFP_DMA", "dma-kmalloc-64"),
    ],
)
def test_flags_choose_the_type(kmalloc, gfp, name):
    assert kmalloc.cache_for(50, gfp).name == name


def test_types_without_caches_are_served_by_the_normal_ones():
    kmalloc = Kmalloc(BuddyAllocator(64), types=("reclaimable",))
    assert list(kmalloc.caches) == ["normal", "reclaimable"]
    assert kmalloc.cache_for(8, "GFP_KERNEL_ACCOUNT").name == "kmalloc-8"
    rule = (
        "gfp must be without __GFP_DMA where there are no dma-kmalloc caches: make them, by 'dma' among the types, not "
    )
    with pytest.raises(InvalidArgument, match="^" + re.escape(rule)):
        kmalloc.alloc(8, gfp="GFP_KERNEL|GFP_DMA")


@pytest.mark.parametrize("make", [BuddyAllocator, Machine])
def test_more_than_two_pages_are_whole_pages(make):
    allocator = make(4096)
    kmalloc = Kmalloc(allocator)
    free = allocator.free_frames
    address = kmalloc.alloc(3 * 4096 + 1)
    pfn = address - PAGE_OFFSET >> 12
    assert (allocator.pages[pfn].order, allocator.pages[pfn].owner, kmalloc.ksize(address)) == (2, LARGE, 16384)
    assert find(allocator, address) is None
    kmalloc.free(address)
    allocator.check()
    assert allocator.pages[pfn].state in ("free", "pcp", "reserved")
    assert allocator.free_frames in (free, free - 4)


def test_whole_pages_are_cleared():
    kmalloc = Kmalloc(BuddyAllocator(16, memory=FrameMemory(16)), types=())
    kmalloc.allocator.memory.fill(0, 4, 0xFF)
    address = kmalloc.alloc(9000, zero=True)
    assert not any(kmalloc.allocator.memory.read(address - PAGE_OFFSET >> 12, 0, 16384))


def test_nothing_is_asked_for_and_freed(kmalloc):
    assert kmalloc.alloc(0) == ZERO_SIZE_PTR
    kmalloc.free(ZERO_SIZE_PTR)
    kmalloc.free(0)
    assert kmalloc.ksize(0) == 0
    assert kmalloc.ksize(ZERO_SIZE_PTR) == 0
    assert repr(kmalloc) == "<Kmalloc: normal, cgroup, reclaimable, dma; 0 objects in use>"


@pytest.mark.parametrize("flags", ["", "Z", "P", "U"])
def test_ksize_leaves_the_debugging_alone(flags):
    kmalloc = Kmalloc(BuddyAllocator(64), types=(), flags=flags)
    cache = kmalloc.cache_for(20)
    expected = {"": cache.geometry.size, "U": cache.geometry.inuse}.get(flags, 32)
    assert kmalloc.ksize(kmalloc.alloc(20)) == expected == 32


def test_bad_requests(kmalloc):
    with pytest.raises(InvalidArgument, match=says("size must be at least 0, not -1")):
        kmalloc.alloc(-1)
    rule = "size must be at most 4194304 bytes, the allocator's largest block, not 4194305"
    with pytest.raises(LimitExceeded, match=says(rule)):
        kmalloc.alloc((4 << 20) + 1)
    with pytest.raises(InvalidArgument, match=says("kmalloc caches must be made once for an allocator, not again: "
                                                   "kmalloc-8 is there")):  # fmt: skip
        Kmalloc(kmalloc.allocator)


def test_bad_frees(kmalloc):
    small, large = kmalloc.alloc(8), kmalloc.alloc(20000)
    with pytest.raises(InvalidObject, match=f"one that is 4 bytes into the object at {small:#x}$"):
        kmalloc.free(small + 4)
    with pytest.raises(
        InvalidObject, match="must be an object of a slab, or whole pages, that kmalloc gave, not <Page"
    ):
        kmalloc.free(large + 4096)
    kmalloc.free(small)
    kmalloc.free(large)
    with pytest.raises(DoubleFree):
        kmalloc.free(small)
    for address in (large, PAGE_OFFSET - 8, PAGE_OFFSET + (256 << 12)):
        with pytest.raises(InvalidObject):
            kmalloc.free(address)
        with pytest.raises(InvalidObject, match=f"^address {address:#x} given to ksize must be "):
            kmalloc.ksize(address)
    with pytest.raises(InvalidObject, match=f"^address {small:#x} given to ksize must be an object in use, not "):
        kmalloc.ksize(small)
    kmalloc.allocator.check()


def test_it_draws_itself(kmalloc):
    kmalloc.alloc(100)
    assert "<tr><td>128</td><td>1</td><td>0</td><td>0</td><td>0</td></tr>" in kmalloc._repr_html_()
