"""Layout, order and kmalloc classes, against a real kernel's caches and against what the kernel's rules imply."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from structpage.errors import InvalidArgument, LimitExceeded, UnknownName
from structpage.slab.flags import DEBUG_DEFAULT, INTERNAL, SlabFlags
from structpage.slab.shape import (
    KERNELS,
    KMALLOC_MAX_SIZE,
    KMALLOC_SIZES,
    TRACK_SIZE,
    geometry,
    kmalloc_align,
    kmalloc_index,
    kmalloc_size,
)

_, HEADER, *ROWS = (Path(__file__).parent / "samples" / "caches_6.1.txt").read_text().splitlines()
RECORDED = {
    row.split()[0]: dict(zip(HEADER.split()[1:], (int(cell, 0) for cell in row.split()[1:]), strict=True))
    for row in ROWS
}
MERGED = {"PING", "skbuff_ext_cache", "skbuff_fclone_cache", "filp", "signal_cache", "pid"}
"""Caches that took in others: object_size and inuse grew, and the free pointer stayed where it was."""
FIELDS = set(HEADER.split()[1:])

sizes = st.integers(1, 3000) | st.integers(3000, 70000)
aligns = st.sampled_from([0, 1, 8, 16, 64, 128, 256])
flag_sets = st.builds(
    lambda debug, other: debug | other,
    st.sampled_from([SlabFlags(0), DEBUG_DEFAULT]) | st.sampled_from(list(DEBUG_DEFAULT)),
    st.sampled_from([SlabFlags(0), SlabFlags.HWCACHE_ALIGN, SlabFlags.TYPESAFE_BY_RCU, SlabFlags.KMALLOC]),
)


def made(row, object_size):
    ctor = row["offset"] >= row["inuse"] and not row["flags"] & SlabFlags.TYPESAFE_BY_RCU
    cache = geometry(object_size, align=row["align"], flags=row["flags"], ctor=ctor)
    return {field: getattr(cache, field) for field in FIELDS}


@pytest.mark.parametrize("name", sorted(RECORDED.keys() - MERGED))
def test_a_recorded_cache_follows_from_its_size_alignment_and_flags(name):
    row = RECORDED[name]
    assert made(row, row["object_size"]) == row


@pytest.mark.parametrize("name", sorted(MERGED))
def test_a_merged_cache_follows_from_the_size_it_had_at_first(name):
    row = RECORDED[name]
    grown = {field: row[field] for field in ("object_size", "inuse")}
    smaller = range(row["object_size"] - 8, 2 * row["offset"] - 1, -8)
    assert any(made(row, size) | grown == row for size in smaller)
    assert made(row, row["object_size"])["offset"] != row["offset"]


@pytest.mark.parametrize("name", [name for name, row in RECORDED.items() if row["flags"] & SlabFlags.HWCACHE_ALIGN])
def test_a_cache_aligned_to_lines_needs_no_alignment(name):
    row = RECORDED[name]
    assert geometry(row["object_size"], flags=SlabFlags.HWCACHE_ALIGN).align == row["align"]


def test_kmalloc_caches_are_those_recorded():
    for prefix in ("kmalloc-", "kmalloc-rcl-", "kmalloc-cg-", "dma-kmalloc-"):
        for size in KMALLOC_SIZES:
            row = RECORDED[prefix + (f"{size >> 10}k" if size >= 1024 else str(size))]
            assert (row["object_size"], row["align"]) == (size, kmalloc_align(size))


VECTORS = {
    1: "256:0/16 512:0/8 1024:1/8 2048:2/8 640:1/12 1192:2/13",
    8: "8:0/512 16:0/256 32:0/128 64:0/64 96:0/42 128:0/32 192:0/21 256:1/32 512:2/32 1024:3/32 2048:3/16 4096:3/8 "
    "8192:3/4 232:1/35 640:2/25 1096:3/29 2112:3/15 5120:3/6",
    16: "192:1/42 256:1/32 512:2/32 1024:3/32",
    64: "640:3/51",
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cpus", VECTORS)
def test_orders(cpus, kernel):
    for vector in VECTORS[cpus].split():
        size, order, objects = map(int, vector.replace("/", ":").split(":"))
        cache = geometry(size, cpus=cpus, kernel=kernel)
        assert (cache.order, cache.objects) == (order, objects), vector


@pytest.mark.parametrize(
    ("cpus", "objects"), [(1, 8), (2, 12), (3, 12), (4, 16), (7, 16), (8, 20), (16, 24), (32, 28), (64, 32), (127, 32)]
)
def test_more_cpus_want_more_objects(cpus, objects):
    # A multiple of a page wastes nothing, so the order is that of the wanted objects.
    assert geometry(4096, cpus=cpus, slab_max_order=10).order == (objects - 1).bit_length()
    assert geometry(4096, cpus=1, slab_min_objects=objects, slab_max_order=10).order == (objects - 1).bit_length()


def test_where_the_kernels_differ():
    """Two objects of 11000 bytes would waste 10768 bytes of an order-3 slab: more than a quarter, less than a half."""
    old, new = (geometry(11000, kernel=kernel) for kernel in KERNELS)
    assert (old.order, old.objects) == (2, 1)
    assert (new.order, new.objects) == (3, 2)


@given(sizes, st.integers(1, 256), st.sampled_from(KERNELS))
def test_the_order_is_the_smallest_that_is_not_too_wasteful(size, cpus, kernel):
    cache = geometry(size, cpus=cpus, kernel=kernel)
    left = (4096 << cache.order) - cache.objects * cache.size
    assert cache.objects >= 1
    assert left < cache.size
    if cache.order <= 3:
        fraction = 4 if kernel == "6.1" and cache.objects > 1 else 2
        assert left <= (4096 << cache.order) // fraction or cache.objects == 1
    assert 4096 << cache.min_order >= cache.size
    assert cache.min_order == 0 or 4096 << (cache.min_order - 1) < cache.size
    assert cache.min_objects == (4096 << cache.min_order) // cache.size


@given(sizes, aligns, flag_sets, st.booleans(), st.sampled_from(KERNELS))
def test_the_parts_of_a_slot_do_not_overlap(size, align, flags, ctor, kernel):
    cache = geometry(size, align=align, flags=flags, ctor=ctor, kernel=kernel)
    assert cache.inuse >= size
    assert cache.inuse % 8 == cache.offset % 8 == 0
    assert cache.size % cache.align == cache.red_left_pad % cache.align == 0
    assert cache.info_end == cache.inuse + 8 * (cache.offset == cache.inuse)
    if cache.freeptr_outside:
        assert cache.offset == cache.inuse
    else:
        assert cache.offset + 8 <= cache.inuse
    tracks = cache.padding - cache.info_end
    user, kmalloc = flags & SlabFlags.STORE_USER, flags & SlabFlags.KMALLOC
    assert tracks == (2 * TRACK_SIZE + 4 * bool(kmalloc) if user else 0)
    assert cache.has_orig_size == bool(user and kmalloc)
    assert cache.padding <= cache.end == cache.size - cache.red_left_pad
    if flags & SlabFlags.RED_ZONE:
        assert cache.inuse > size, "no room for a right red zone"
        assert cache.red_left_pad >= 8
        assert cache.end - cache.padding >= 8
    else:
        assert cache.red_left_pad == 0
        assert cache.inuse - size < 8


@given(sizes, flag_sets, st.booleans(), st.sampled_from(KERNELS))
def test_the_free_pointer_leaves_content_that_must_stay(size, flags, ctor, kernel):
    cache = geometry(size, flags=flags, ctor=ctor, kernel=kernel)
    keeps = ctor or flags & (SlabFlags.TYPESAFE_BY_RCU | SlabFlags.POISON)
    red = flags & SlabFlags.RED_ZONE
    exposed = red and (size < 8 or (kernel != "6.1" and cache.has_orig_size))
    assert cache.freeptr_outside == bool(keeps or exposed)
    poisoned = flags & SlabFlags.POISON and not ctor and not flags & SlabFlags.TYPESAFE_BY_RCU
    assert bool(cache.flags & SlabFlags.OBJECT_POISON) == bool(poisoned)
    assert cache.flags & ~INTERNAL == flags


def test_a_later_kernel_lets_a_constructed_object_give_room():
    assert geometry(64, ctor=True, kernel="7.3").offset == 64
    assert geometry(64, ctor=True, freeptr_offset=24, kernel="7.3").offset == 24
    assert geometry(64, freeptr_offset=0, kernel="7.3").offset == 0
    assert geometry(64, ctor=True, freeptr_offset=24, flags="P", kernel="7.3").offset == 64


@pytest.mark.parametrize(
    ("size", "partial", "slabs"), [(8, 120, 1), (248, 120, 15), (256, 52, 7), (1024, 24, 6), (4096, 6, 2)]
)
def test_cpu_partial(size, partial, slabs):
    cache = geometry(size)
    assert (cache.cpu_partial, cache.cpu_partial_slabs) == (partial, slabs)
    debugging = geometry(size, flags="F")
    assert (debugging.cpu_partial, debugging.cpu_partial_slabs, debugging.debug) == (0, 0, True)


def test_min_partial():
    expected = {8: 5, 1024: 5, 2048: 5, 4096: 6, 8192: 6, 1 << 20: 10, 1 << 22: 10}
    assert {size: geometry(size).min_partial for size in expected} == expected


def test_a_slab_counts_no_more_objects_than_it_can():
    assert geometry(8, slab_min_order=10, slab_max_order=10).objects <= 32767
    assert geometry(8, slab_min_order=10, slab_max_order=10, kernel="7.3").objects <= 32767


def test_a_large_object_gets_the_order_it_needs():
    assert (geometry(40000).order, geometry(40000).objects) == (4, 1)
    assert geometry(KMALLOC_MAX_SIZE).order == 10


@given(st.integers(1, 8192))
def test_a_kmalloc_class_is_the_smallest_that_is_large_enough(size):
    assert kmalloc_size(size) == min(most for most in KMALLOC_SIZES if most >= size)
    assert KMALLOC_SIZES[kmalloc_index(size)] == kmalloc_size(size)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"object_size": 0}, InvalidArgument, "object size must be at least 1, not 0"),
        ({"object_size": "8"}, InvalidArgument, "object size must be an int, not '8'"),
        ({"object_size": (4 << 20) + 1}, LimitExceeded, "object size must be at most 4194304 bytes, not 4194305"),
        (
            {"object_size": 4 << 20, "flags": "Z"},
            LimitExceeded,
            "object with its metadata must be at most 4194304 bytes, not 4194328",
        ),
        ({"align": 24}, InvalidArgument, "align must be 0 or a power of two up to 4194304, not 24"),
        ({"align": -8}, InvalidArgument, "align must be 0 or a power of two up to 4194304, not -8"),
        ({"kernel": "5.0"}, UnknownName, "kernel must be one of 6.1, 7.3, not '5.0'"),
        ({"cpus": 0}, InvalidArgument, "cpus must be at least 1, not 0"),
        ({"slab_max_order": 11}, InvalidArgument, "slab_max_order must be between 0 and 10, not 11"),
        (
            {"slab_min_order": 4},
            InvalidArgument,
            "slab_min_order must be between 0 and 3, not 4",
        ),
        ({"freeptr_offset": 8}, InvalidArgument, 'freeptr_offset must be None with kernel "6.1", not 8'),
        (
            {"freeptr_offset": 60, "kernel": "7.3"},
            InvalidArgument,
            "freeptr_offset must be a multiple of 8 within 64 bytes of object, not 60",
        ),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=says(message)):
        geometry(**({"object_size": 64} | arguments))


def test_errors_of_kmalloc():
    with pytest.raises(InvalidArgument, match=says("size must be at least 1, not 0")):
        kmalloc_index(0)
    with pytest.raises(LimitExceeded, match=says("size of a kmalloc class must be at most 8192 bytes, not 8193")):
        kmalloc_index(8193)
