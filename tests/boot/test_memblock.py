"""Memblock: regions, flags, limits, arrays that grow, and what is refused."""

import pytest
from helpers import says

from structpage import InvalidArgument, Memblock, OutOfMemory, Region
from structpage.boot.regions import DRIVER_MANAGED, HOTPLUG, MIRROR, NOMAP
from structpage.boot.state import ANYWHERE
from structpage.errors import StructPageError

MIB = 1 << 20
NONE = 1024


def two_nodes(**options):
    return Memblock.from_regions([(MIB, MIB, 0), (2 * MIB, MIB, 1)], **options)


def arrays(memblock):
    return memblock.memory, memblock.reserved


def test_what_is_added_covers_only_what_was_not_there():
    memblock = Memblock()
    memblock.add(4096, 4096, 1, HOTPLUG)
    memblock.add(0, 16384)
    assert memblock.memory == ((0, 4096, NONE, 0), (4096, 4096, 1, HOTPLUG), (8192, 8192, NONE, 0))
    memblock.add(16384, 1)
    assert memblock.memory[-1] == Region(8192, 8193, NONE, 0)


def test_a_region_splits_where_a_range_ends_and_merges_again():
    memblock = Memblock()
    memblock.reserve(0, 100)
    memblock.free(40, 20)
    assert memblock.reserved == ((0, 40, NONE, 0), (60, 40, NONE, 0))
    memblock.reserve(40, 20)
    assert memblock.reserved == ((0, 100, NONE, 0),)


@pytest.mark.parametrize("name", ["mark", "clear", "set_node"])
def test_a_range_that_touches_a_region_leaves_it_whole(name):
    memblock = Memblock.from_regions([(100, 100), (300, 100)])
    for base in (0, 200):
        getattr(memblock, name)(base, 100, HOTPLUG)
    assert memblock.memory == ((100, 100, 0, 0), (300, 100, 0, 0))


def test_ranges_end_at_the_highest_address():
    memblock = Memblock()
    memblock.add(ANYWHERE - 10, 4096)
    assert memblock.memory == ((ANYWHERE - 10, 10, NONE, 0),)


def test_empty_ranges_change_nothing():
    memblock = two_nodes()
    before = arrays(memblock)
    for name in ("add", "reserve", "remove", "free", "cap_memory_range"):
        getattr(memblock, name)(MIB + 5, 0)
    memblock.enforce_memory_limit(0)
    assert arrays(memblock) == before


def test_trim():
    memblock = Memblock.from_regions([(10, 100), (130, 20), (192, 64)])
    memblock.trim_memory(64)
    assert memblock.memory == ((192, 64, 0, 0),)
    memblock = Memblock.from_regions([(10, 200)])
    memblock.trim_memory(64)
    assert memblock.memory == ((64, 128, 0, 0),)


def test_limit_counts_memory_and_not_addresses():
    memblock = Memblock.from_regions([(100, 50), (1000, 50)], [(90, 20), (1005, 100)])
    memblock.enforce_memory_limit(60)
    assert arrays(memblock) == (((100, 50, 0, 0), (1000, 10, 0, 0)), ((90, 20, 0, 0), (1005, 5, 0, 0)))
    memblock.enforce_memory_limit(61)
    assert memblock.memory[-1].end == 1010


def test_cap_keeps_what_is_not_mapped():
    memblock = Memblock.from_regions([(0, 100), (100, 100, 0, NOMAP), (200, 100)], [(0, 300)])
    memblock.cap_memory_range(150, 100)
    assert memblock.memory == ((100, 50, 0, NOMAP), (150, 50, 0, NOMAP), (200, 50, 0, 0))
    assert memblock.reserved == ((150, 100, 0, 0),)


@pytest.mark.parametrize("flag", [HOTPLUG, NOMAP])
def test_flags_cut_regions_and_heal(flag):
    memblock = Memblock.from_regions([(0, 100)])
    memblock.mark(20, 30, flag)
    assert memblock.memory == ((0, 20, 0, 0), (20, 30, 0, flag), (50, 50, 0, 0))
    memblock.clear(0, 100, flag)
    assert memblock.memory == ((0, 100, 0, 0),)


def test_memory_that_is_not_mapped_or_a_drivers_is_not_given():
    memblock = Memblock.from_regions([(MIB, MIB), (2 * MIB, MIB, 0, NOMAP), (3 * MIB, MIB, 0, DRIVER_MANAGED)])
    assert memblock.alloc(4096) == 2 * MIB - 4096
    ranges = [(MIB, 2 * MIB - 4096, 0), (2 * MIB, 3 * MIB, 0), (3 * MIB, 4 * MIB, 0)]
    assert list(memblock.free_ranges(flags=NOMAP | DRIVER_MANAGED)) == ranges
    assert list(memblock.free_ranges(flags=NOMAP, reverse=True)) == ranges[1::-1]


def test_mirrored_memory_is_preferred_but_not_insisted_on():
    memblock = two_nodes(mirrored_kernelcore=True)
    memblock.mark(MIB, 4096, MIRROR)
    assert [memblock.alloc(4096, 4096) for _ in range(2)] == [MIB, 3 * MIB - 4096]
    memblock = two_nodes()
    memblock.mark(MIB, 4096, MIRROR)
    assert memblock.memory == two_nodes().memory


def test_hotpluggable_memory_is_avoided_where_nodes_shall_be_movable():
    regions = [(MIB, MIB), (2 * MIB, MIB, 0, HOTPLUG)]
    assert Memblock.from_regions(regions).alloc(64) == 3 * MIB - 64
    assert Memblock.from_regions(regions, movable_node=True).alloc(64) == 2 * MIB - 64


def test_node_and_then_any_node():
    memblock = two_nodes()
    assert memblock.alloc(MIB, nid=0) == MIB
    assert memblock.alloc(64, nid=0) == 3 * MIB - 64
    with pytest.raises(OutOfMemory):
        memblock.alloc(64, nid=0, exact=True)
    assert memblock.alloc(64, nid=NONE) == 3 * MIB - 128
    assert {region.nid for region in memblock.reserved} == {NONE}


def test_alloc_drops_the_lower_bound_and_phys_alloc_range_does_not():
    memblock = two_nodes(bottom_up=True)
    assert memblock.alloc(64, start=4 * MIB) == MIB
    with pytest.raises(OutOfMemory):
        memblock.phys_alloc_range(64, start=4 * MIB)
    assert memblock.phys_alloc_range(64, 64, 2 * MIB, 3 * MIB) == 2 * MIB


def test_the_limit_is_where_no_end_is_told():
    memblock = two_nodes(current_limit=2 * MIB)
    assert memblock.alloc(64) == 2 * MIB - 64
    assert memblock.alloc(64, end=ANYWHERE) == 2 * MIB - 128
    assert memblock.phys_alloc_range(64, end=ANYWHERE) == 3 * MIB - 64


def test_the_first_page_is_never_given():
    memblock = Memblock.from_regions([(0, 4096 + 64)])
    assert memblock.alloc(64) == 4096
    with pytest.raises(OutOfMemory):
        memblock.alloc(64)


def test_is_memory_and_is_reserved():
    memblock = two_nodes()
    memblock.reserve(MIB, 10)
    assert memblock.is_memory(MIB, MIB)
    assert not memblock.is_memory(MIB, MIB + 1)  # two regions
    assert not memblock.is_memory(0)
    assert memblock.is_reserved(0, MIB + 1)
    assert not memblock.is_reserved(MIB + 10, 100)


def many(memblock, count):
    for i in range(count):
        memblock.reserve(64 * MIB + 2 * i, 1)


def test_a_full_array_is_doubled_and_lies_in_free_memory_itself():
    memblock = two_nodes()
    many(memblock, 128)
    assert len(memblock.reserved) == 128
    memblock.reserve(100, 1)
    array = 256 * 24 // 4096 * 4096 + 4096
    assert (3 * MIB - array, array, NONE, 0) in memblock.reserved
    many(memblock, 255)
    memblock.reserve(200, 1)
    assert not memblock.is_reserved(3 * MIB - array, array)  # the array of 256, given back
    assert memblock.is_reserved(3 * MIB - array - 12288, 12288)
    assert len(memblock.reserved) == 255 + 3


def test_a_full_array_that_may_not_grow_refuses_and_changes_nothing():
    memblock = two_nodes(can_resize=False)
    many(memblock, 128)
    before = arrays(memblock)
    message = "regions must be at most 128, or 8192 bytes free for a longer array and can_resize set, not more"
    for call in (lambda: memblock.reserve(100, 1), lambda: memblock.free(64 * MIB, 1)):
        with pytest.raises(OutOfMemory, match=says(message)):
            call()
    with pytest.raises(OutOfMemory):
        memblock.alloc(64)
    assert arrays(memblock) == before


def test_it_prints_as_the_kernel_does():
    memblock = two_nodes()
    memblock.reserve(0, 16)
    assert str(memblock).splitlines() == [
        " memory size = 0x0000000000200000 reserved size = 0x0000000000000010",
        " memory.cnt  = 0x2",
        " memory[0x0]\t[0x0000000000100000-0x00000000001fffff], 0x0000000000100000 bytes on node 0 flags: 0x0",
        " memory[0x1]\t[0x0000000000200000-0x00000000002fffff], 0x0000000000100000 bytes on node 1 flags: 0x0",
        " reserved.cnt  = 0x1",
        " reserved[0x0]\t[0x0000000000000000-0x000000000000000f], 0x0000000000000010 bytes flags: 0x0",
    ]
    assert repr(memblock) == "<Memblock: memory 2097152 bytes, reserved 16>"


TOP = (1 << 64) - 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.add(-1, 1), f"base must be between 0 and {TOP}, not -1"),
        (lambda m: m.add(0, -4096), f"size must be between 0 and {TOP}, not -4096"),
        (lambda m: m.reserve("0", 1), "base must be an int, not '0'"),
        (lambda m: m.remove(0, TOP + 1), f"size must be between 0 and {TOP}, not {TOP + 1}"),
        (lambda m: m.free(0, 1.5), "size must be an int, not 1.5"),
        (lambda m: m.add(0, 1, 1025), "nid must be between -1 and 1024, not 1025"),
        (lambda m: m.add(0, 1, 0, 64), "flags must be between 0 and 63, not 64"),
        (lambda m: m.mark(0, 1, 0), "flag must be between 1 and 63, not 0"),
        (lambda m: m.trim_memory(3), "align must be a power of two, not 3"),
        (lambda m: m.trim_memory(0), "align must be a power of two, not 0"),
        (lambda m: m.alloc(-1), f"size must be between 0 and {TOP}, not -1"),
        (lambda m: m.alloc(64, 48), "align must be a power of two, not 48"),
        (lambda m: m.alloc(64, start=-1), f"start must be between 0 and {TOP}, not -1"),
        (lambda m: m.alloc(64, nid=-2), "nid must be between -1 and 1024, not -2"),
        (lambda m: m.phys_alloc_range(64, 64, 0, -1), f"end must be between 0 and {TOP}, not -1"),
        (lambda m: m.enforce_memory_limit(-1), f"limit must be between 0 and {TOP}, not -1"),
        (lambda m: m.set_node(0, 1, 2000), "nid must be between -1 and 1024, not 2000"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(call, message):
    memblock = two_nodes()
    before = arrays(memblock)
    with pytest.raises(InvalidArgument, match=says(message)):
        call(memblock)
    assert arrays(memblock) == before


def test_no_memory_tells_what_there_is():
    rule = "4194304 free bytes at a multiple of 64 in [0x0, 0xffffffffffffffff)"
    message = f"memory must be {rule}, not 1048576 in a row at most"
    with pytest.raises(OutOfMemory, match=says(message)):
        two_nodes().alloc(4 * MIB)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([(0, 10), (5, 10)], "region of memory must be not empty, and above the one before it, not [0x5, 0xf)"),
        ([(10, 0)], "region of memory must be not empty, and above the one before it, not [0xa, 0xa)"),
        ([(-5, 10)], "region of memory must be not empty, and above the one before it, not [-0x5, 0x5)"),
        ([(1,)], "region must be base and size, and perhaps nid and flags, not [1]"),
        ([(1, "2")], "word of a region must be an int, not '2'"),
        ([(1, None)], "word of a region must be an int, not None"),
        ([1], "region must be base and size, and perhaps nid and flags, not 1"),
        ([None], "region must be base and size, and perhaps nid and flags, not None"),
        (["12"], "region must be base and size, and perhaps nid and flags, not '12'"),
        ([b"12"], "region must be base and size, and perhaps nid and flags, not b'12'"),
        ("12", "memory must be rows of base and size, not '12'"),
        (None, "memory must be rows of base and size, not None"),
        (1, "memory must be rows of base and size, not 1"),
    ],
)
def test_arrays_that_no_memblock_has(regions, message):
    with pytest.raises(InvalidArgument, match=says(message)):
        Memblock.from_regions(regions)
    with pytest.raises(StructPageError):
        Memblock.from_regions([], regions)
