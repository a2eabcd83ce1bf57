"""The hand-over: whatever the memory map, every free frame is on one list, and lists ascend."""

import pytest
from helpers import says
from hypothesis import given, settings
from hypothesis import strategies as st

from structpage import InvalidArgument, Machine, Memblock, Zone
from structpage.boot.handover import SECTION, first_deferred, free_all, free_deferred, zones_of
from structpage.boot.regions import HOTPLUG, NOMAP
from structpage.core.words import MOVABLE, TYPES, UNMOVABLE

PAGE = 4096
FRAMES = 5600  # DMA and some of DMA32
SMALL = 64  # frames of a section


def machine_of(memblock, **options):
    zones = zones_of(memblock)
    return Machine(max(zone.end for zone in zones), zones=zones, start="reserved", **options)


def blocks(machine):
    """{(zone, order, type): PFNs head to tail} of all lists with a block."""
    found = {
        (zone, order, mt): machine.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)
        for zone in machine.zones
        for order in range(machine.max_order + 1)
        for mt in range(TYPES)
    }
    return {key: pfns for key, pfns in found.items() if pfns}


ranges = st.tuples(st.integers(0, FRAMES * PAGE), st.integers(1, FRAMES * PAGE // 2))


@st.composite
def memory_maps(draw):
    """Some regions of two nodes, one above the other, that begin and end anywhere; some reserved, some with flags."""
    memblock = Memblock()
    for base, size in draw(st.lists(ranges, min_size=1, max_size=4)):
        memblock.add(PAGE + base, min(size, FRAMES * PAGE - base) + 3 * PAGE)
    for base, size in draw(st.lists(ranges, max_size=4)):
        memblock.reserve(base, size // 8)
    for base, size in draw(st.lists(ranges, max_size=1)):
        memblock.mark(base // PAGE * PAGE, size // 4 // PAGE * PAGE, draw(st.sampled_from([NOMAP, HOTPLUG])))
    memblock.set_node(0, FRAMES * 2 * PAGE, 0)
    memblock.set_node(draw(st.integers(1, FRAMES)) * PAGE, FRAMES * 2 * PAGE, 1)
    return memblock


def free_frames(memblock, zone):
    """The frames of a zone that are free as a whole; byte ranges of regions apart, as the kernel has them."""
    frames = set()
    for region in memblock.memory:
        if region.nid != zone.node or region.flags & NOMAP:
            continue
        inside = set(range(max(zone.start, -(-region.base // PAGE)), min(zone.end, region.end // PAGE)))
        for taken in memblock.reserved:
            inside -= set(range(taken.base // PAGE, -(-taken.end // PAGE)))
        frames |= inside
    return frames


def merged(frames, top):
    """The blocks of free frames that no larger block could hold, ascending: {order: PFNs}."""
    whole = [frames]
    for order in range(top):
        half = 1 << order
        whole.append({pfn for pfn in whole[-1] if pfn % (2 * half) == 0 and pfn + half in whole[-1]})
    return {
        order: sorted(
            pfn for pfn in whole[order] if order == top or pfn >> order + 1 << order + 1 not in whole[order + 1]
        )
        for order in range(top + 1)
    }


def counted_deferred(zone, section):
    """What the kernel finds by counting the frames that it describes, one by one."""
    described = 0
    for start, end in zone.present():
        for pfn in range(start, end):
            described += 1
            if described > section and pfn % section == 0:
                return pfn
    return zone.end


@settings(max_examples=15)
@given(memory_maps(), st.booleans())
def test_every_free_frame_is_on_a_list_in_its_block(memblock, deferred):
    machine = machine_of(memblock)
    last = {node: max(zone.end for zone in machine.zones if zone.node == node) for node in machine.nodes}
    early, late = {}, {}
    for zone in machine.zones:
        limit = counted_deferred(zone, SMALL) if deferred and zone.end == last[zone.node] else zone.end
        late[zone] = free_frames(memblock, zone)
        early[zone] = {pfn for pfn in late[zone] if pfn < limit}
    free_all(machine, memblock, deferred=deferred, section=SMALL)
    assert_lists(machine, early)
    if deferred:
        free_deferred(machine, memblock, section=SMALL)
        assert_lists(machine, late)
    assert not any(region.flags & HOTPLUG for region in memblock.memory)


def assert_lists(machine, frames):
    found = blocks(machine)
    for zone in machine.zones:
        for order, pfns in merged(frames[zone], machine.max_order).items():
            lists = [found.get((zone, order, mt), []) for mt in range(TYPES)]
            assert sorted(pfn for listed in lists for pfn in listed) == pfns
            assert all(listed == sorted(listed) for listed in lists)
    assert sum(machine.zone_table["managed"]) == sum(map(len, frames.values()))
    machine.check()


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 200)), min_size=1, max_size=5), st.sampled_from([16, 32, 64])
)
def test_the_first_deferred_frame_is_found_by_counting(parts, section):
    holes, at = [], 0
    for hole, present in parts:
        if hole:
            holes.append((at, at + hole))
        at += hole + present
    zone = Zone("Normal", 0, at, 0, tuple(holes))
    assert first_deferred(zone, section) == counted_deferred(zone, section)


def test_a_vector():
    memblock = Memblock.from_regions([(PAGE, 8 * PAGE)])
    machine = machine_of(memblock)
    free_all(machine, memblock)
    (zone,) = machine.zones
    assert zone == Zone("DMA", 1, 9)
    assert blocks(machine) == {(zone, order, UNMOVABLE): [pfn] for order, pfn in ((0, 1), (1, 2), (2, 4))} | {
        (zone, 0, UNMOVABLE): [1, 8]
    }


def test_zones_of_nodes():
    gib = 1 << 30
    memblock = Memblock.from_regions([(PAGE, gib, 0), (2 * gib, gib, 0), (4 * gib, gib, 0), (5 * gib, gib, 1)])
    assert zones_of(memblock) == (
        Zone("DMA", 1, 4096),
        Zone("DMA32", 4096, 1 << 20, 0, (((gib >> 12) + 1, 2 << 18), (3 << 18, 4 << 18))),
        Zone("Normal", 4 << 18, 5 << 18),
        Zone("Normal", 5 << 18, 6 << 18, 1),
    )


def test_a_zone_without_frames_is_none():
    gib = 1 << 30
    assert [zone.name for zone in zones_of(Memblock.from_regions([(PAGE, 1 << 20), (4 * gib, gib)]))] == [
        "DMA",
        "Normal",
    ]


@pytest.mark.parametrize(
    ("regions", "found"),
    [([], "without any"), ([(100, PAGE)], "without any"), ([(0, PAGE, 1024)], "without, call set_node")],
)
def test_maps_that_make_no_zones(regions, found):
    message = f"memory must be regions of a page or more with their nodes, not {found}"
    with pytest.raises(InvalidArgument, match=says(message)):
        zones_of(Memblock.from_regions(regions))


def test_a_deferred_pageblock_whose_first_frame_is_reserved_stays_unmovable():
    memblock = Memblock.from_regions([(16 << 20, 512 << 20)])
    second = 3 * SECTION
    memblock.reserve(second * PAGE, 60 * PAGE)
    memblock.reserve((second + 512) * PAGE + 5 * PAGE, PAGE)
    machine = machine_of(memblock)
    free_all(machine, memblock)
    (zone,) = machine.zones
    assert blocks(machine) == {(zone, 10, MOVABLE): list(range(4096, 2 * SECTION, 1024))}
    free_deferred(machine, memblock)
    machine.check()
    assert machine.free_list(8, migratetype=UNMOVABLE, zone="DMA32") == [second + 256]
    assert machine.free_list(8, migratetype=MOVABLE, zone="DMA32") == [second + 768]
    assert len(machine.free_list(10, zone="DMA32")) == (512 << 20) // (4 << 20) - 1


def test_a_machine_handed_over_as_a_whole_is_the_one_that_starts_free():
    memblock = Memblock.from_regions([(PAGE, 64 << 20)])
    machine = machine_of(memblock, cpus=2)
    free_all(machine, memblock, deferred=False)
    machine.compute_sizes()
    whole = Machine(machine.pages.frames, zones=machine.zones, cpus=2)
    assert blocks(machine) == blocks(whole)
    assert (machine.zone_table == whole.zone_table).all()
