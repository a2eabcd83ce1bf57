"""What the slab layer does not take: each bad argument is refused in words, and nothing is changed."""

from __future__ import annotations

import pytest
from helpers import says

from structpage import (
    BuddyAllocator,
    InvalidArgument,
    InvalidObject,
    Kmalloc,
    Machine,
    OutOfMemory,
    SlabCache,
    Who,
    Zone,
    find,
    slab_table,
    slabinfo,
)
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.procfs import parse_slabinfo

LARGE_SIZE = 20000
BAD_GFP = ["GFP_FOO", -1, 1 << 70, 1.5, 0x18]
BAD_WHO = ["x", 5, Who(cpu="x"), Who(cpu=-1), Who(pid=1 << 31), Who(when=-1), Who(caller=1 << 64), Who(caller=1.5)]


@pytest.fixture(params=[BuddyAllocator, Machine])
def allocator(request):
    return request.param(4096)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "a\tb", "a\u3000b", "a\x7f", "x" * 64, 5, None, b"name"])
def test_a_name_is_one_printable_word(allocator, name):
    rule = "name must be one word of 1 to 63 printable characters, for files that list caches, not "
    with pytest.raises(InvalidArgument, match=says(f"{rule}{name!r}")):
        SlabCache(allocator, name, 8)
    assert allocator.slabs is None


def test_the_longest_name_is_listed_and_read_back(allocator):
    SlabCache(allocator, "x" * 63, 8)
    assert [cache.name for cache in parse_slabinfo(slabinfo(allocator))] == ["x" * 63]
    assert slab_table(allocator)["name"].tolist() == ["x" * 63]


def test_a_constructor_is_a_function(allocator):
    with pytest.raises(InvalidArgument, match=says("ctor must be a function from an address to bytes, not b'zero'")):
        SlabCache(allocator, "cache", 8, ctor=b"zero")
    assert allocator.slabs is None


@pytest.mark.parametrize("content", [None, 5, "text"])
@pytest.mark.parametrize("flags", [0, "FZPU"])
def test_a_constructor_returns_bytes(allocator, content, flags):
    cache = SlabCache(allocator, "cache", 8, ctor=lambda address: content, flags=flags)
    with pytest.raises(InvalidArgument, match=says(f"what ctor returns must be bytes, not {content!r}")):
        cache.alloc()
    cache.check()
    allocator.check()
    assert (cache.slabs, cache.objects) == ([], [])


@pytest.mark.parametrize("data", ["text", 5, None, [1]])
def test_bytes_are_written(allocator, data):
    cache = SlabCache(allocator, "cache", 8)
    address = cache.alloc(zero=True)
    with pytest.raises(InvalidArgument, match=says(f"data must be bytes, not {data!r}")):
        cache.write(address, data)
    assert cache.read(address) == bytes(8)
    cache.write(address, bytearray(b"content!"))
    assert cache.read(address) == b"content!"


@pytest.mark.parametrize("call", [slabinfo, slab_table, lambda allocator: find(allocator, 5)])
def test_an_allocator_is_one(call):
    with pytest.raises(InvalidArgument, match=says("allocator must be a BuddyAllocator or a Machine, not None")):
        call(None)


@pytest.mark.parametrize("flags", [0, "FZPU"])
@pytest.mark.parametrize(
    "bad", [*({"gfp": gfp} for gfp in BAD_GFP), *({"who": who} for who in BAD_WHO), {"cpu": 1}, {"node": 7}], ids=str
)
def test_requests_are_looked_at_the_same_way_everywhere(allocator, flags, bad):
    kmalloc = Kmalloc(allocator, types=(), flags=flags)
    cache = kmalloc.caches["normal"][3]
    kept = cache.alloc()
    large = kmalloc.alloc(LARGE_SIZE)
    free = allocator.free_frames
    for call in (cache.alloc, lambda **options: kmalloc.alloc(64, **options)):
        with pytest.raises(InvalidArgument):
            call(**bad)
    with pytest.raises(InvalidArgument):
        kmalloc.alloc(LARGE_SIZE, **bad)
    if not bad.keys() & {"gfp", "node"}:
        for address in (kept, large):
            with pytest.raises(InvalidArgument):
                kmalloc.free(address, **bad)
        with pytest.raises(InvalidArgument):
            cache.free(kept, **bad)
    assert (cache.objects, allocator.free_frames) == ([kept], free)
    cache.check()
    allocator.check()


def test_whole_pages_have_addresses():
    zones = (Zone("Normal", 0, 2048), Zone("HighMem", 2048, 4096))
    kmalloc = Kmalloc(Machine(4096, zones=zones))
    for gfp in ("GFP_HIGHUSER", "GFP_KERNEL|GFP_DMA32"):
        assert kmalloc.alloc(LARGE_SIZE, gfp=gfp) - PAGE_OFFSET >> 12 < 2048


def test_whole_pages_for_dma_come_from_its_zone():
    zones = (Zone("DMA", 0, 1024), Zone("Normal", 1024, 4096))
    for allocator in (BuddyAllocator(4096, zones=zones), Machine(4096, zones=zones)):
        kmalloc = Kmalloc(allocator)
        assert kmalloc.alloc(LARGE_SIZE, gfp="GFP_KERNEL|GFP_DMA") - PAGE_OFFSET >> 12 < 1024
        assert kmalloc.alloc(LARGE_SIZE) - PAGE_OFFSET >> 12 >= 1024


def exhaust(cache):
    while True:
        cache.alloc()


def test_a_machine_says_why_it_has_no_slab():
    machine = Machine(4096)
    cache = SlabCache(machine, "cache", 4096)
    rule = r"^slab of cache cache: zones for .* on node 0 must be above their watermarks with a block of order 0, not "
    with pytest.raises(OutOfMemory, match=rule + r"DMA of node 0 with \d+ free, \d+ at least"):
        exhaust(cache)
    cache.check()


def test_a_destroyed_cache_is_of_no_use(allocator):
    cache = SlabCache(allocator, "gone", 64)
    address = cache.alloc()
    cache.free(address)
    cache.destroy()
    SlabCache(allocator, "next", 64).alloc()
    calls = (
        cache.alloc,
        lambda: cache.free(address),
        cache.flush,
        cache.check,
        cache.shrink,
        cache.destroy,
        cache.partial,
        cache.cpu_slab,
        lambda: cache.slabs,
        lambda: cache.min_partial,
        lambda: setattr(cache, "min_partial", 1),
        lambda: setattr(cache, "cpu_partial", 1),
        lambda: cache.read(address),
        lambda: cache.write(address, b""),
    )
    for call in calls:
        with pytest.raises(InvalidArgument, match=says("cache gone must be used before it is destroyed, not after")):
            call()
    assert repr(cache) == "<SlabCache gone: destroyed>"
    assert "destroyed" in cache._repr_html_()


@pytest.mark.parametrize(("offset", "text"), [(1, "1 byte into"), (2, "2 bytes into")])
def test_the_count_of_bytes_is_grammatical(offset, text):
    cache = SlabCache(BuddyAllocator(16), "cache", 64)
    address = cache.alloc()
    with pytest.raises(InvalidObject, match=f" not one that is {text} the object at {address:#x}$"):
        cache.free(address + offset)
