"""Zones: borders, holes, zonelists, and all that is no zone."""

from __future__ import annotations

import pytest
from helpers import says
from hypothesis import given

from structpage import BuddyAllocator, Zone
from structpage.errors import InvalidArgument, OutOfRange, UnknownName
from structpage.testing.strategies import shapes
from structpage.zones import deferred_table, last_of_nodes, node_orders, x86_64_zones, zone_name, zonelists


def test_numbers():
    zone = Zone("Normal", 0, 8, node=3)
    assert (zone.zid, zone.number) == (2, 26)
    assert zone_name(26) == "Normal"
    assert zone_name(7) == "zid 7"


def test_present_is_what_the_holes_leave():
    assert Zone("DMA", 2, 10).present() == [(2, 10)]
    assert Zone("DMA", 2, 10, holes=((8, 10), (2, 4))).present() == [(4, 8)]
    assert Zone("DMA", 2, 10, holes=((3, 5), (4, 7))).present() == [(2, 3), (7, 10)]
    assert Zone("DMA", 2, 4, holes=((2, 4),)).present() == []


def test_zonelists_go_down_then_to_other_nodes():
    zones = [Zone("DMA", 0, 4), Zone("Normal", 4, 8), Zone("Normal", 8, 12, 1), Zone("Normal", 12, 16, 2)]
    rows = zonelists(zones, 24, 24).reshape(24, 25).tolist()
    lists = {wanted: row[: row.index(-1)] for wanted, row in enumerate(rows)}
    assert lists[0] == [0]
    assert lists[2] == [2, 0, 10, 18]
    assert lists[5] == [2, 0, 10, 18]
    assert lists[10] == [10, 2, 0, 18]
    assert lists[18] == [18, 10, 2, 0]


def test_an_allocation_falls_back():
    zones = [Zone("DMA", 0, 4), Zone("Normal", 4, 8), Zone("Normal", 8, 12, node=1)]
    buddy = BuddyAllocator(12, zones=zones, max_order=2)
    assert [buddy.alloc(2) for _ in range(3)] == [4, 0, 8]
    for pfn in (0, 4, 8):
        buddy.free(pfn)
    assert buddy.alloc(0, node=1) == 8
    assert buddy.alloc(0, zone="DMA") == 0
    assert (buddy.pages[8].node, buddy.pages[8].zone) == (1, "Normal")
    assert (buddy.pages[0].node, buddy.pages[0].zone) == (0, "DMA")


@pytest.mark.parametrize(
    ("zones", "error", "message"),
    [
        ([], InvalidArgument, "zones must be at least one, not none"),
        ([Zone("Low", 0, 8)], UnknownName,
         "zone name must be one of DMA, DMA32, Normal, HighMem, Movable, Device, not 'Low'"),
        ([Zone("DMA", 0, 8, 1024)], InvalidArgument, "node must be between 0 and 1023, not 1024"),
        ([Zone("DMA", 4, 4)], InvalidArgument, "zone DMA must be a non-empty range of frames, not [4, 4)"),
        ([Zone("DMA", -1, 4)], InvalidArgument, "zone DMA must be a non-empty range of frames, not [-1, 4)"),
        ([Zone("DMA", 0, 9)], OutOfRange, "zone DMA must be within the 8 frames of memory, not [0, 9)"),
        (
            [Zone("DMA", 2, 4, 0, ((3, 5),))],
            InvalidArgument,
            "hole of zone DMA must be a range of its frames, not [3, 5)",
        ),
        (
            [Zone("Normal", 0, 5), Zone("DMA", 4, 8)],
            InvalidArgument,
            "zone DMA of node 0 must be above Normal's end, 5, not [4, 8)",
        ),
        (
            [Zone("DMA", 0, 4), Zone("DMA", 4, 8)],
            InvalidArgument,
            "zones must be different in name or node, not DMA of node 0 twice",
        ),
    ],
)  # fmt: skip
def test_what_is_no_zone(zones, error, message):
    with pytest.raises(error, match=says(message)):
        BuddyAllocator(8, zones=zones)


def test_unknown_zones_and_nodes():
    buddy = BuddyAllocator(8, zones=[Zone("DMA", 0, 4), Zone("Normal", 4, 8, node=1)])
    known = "DMA of node 0, Normal of node 1"
    with pytest.raises(UnknownName, match=says(f"zone must be one of {known}, not Normal of node 0")):
        buddy.alloc(zone="Normal")
    with pytest.raises(UnknownName, match=says("node must be one of [0, 1], not 2")):
        buddy.alloc(node=2)


def test_the_table_of_deferred_ranges():
    zones = [Zone("DMA", 1, 9, holes=((3, 5), (8, 9))), Zone("DMA32", 9, 12, holes=((9, 12),)), Zone("Normal", 12, 20)]
    places, rows = [4, 0, 10, 0], [1, 3, 5, 8, 0, 0, 12, 20, 0, 0]
    assert deferred_table(zones, 4).tolist() == places + rows
    assert deferred_table((), 4).tolist() == [0] * 4


@given(shape=shapes())
def test_the_last_zone_of_a_node_ends_it(shape):
    last = last_of_nodes(shape.zones)
    assert {zone.node for zone in last} == {zone.node for zone in shape.zones}
    assert len(last) == len({zone.node for zone in last})
    assert all(zone.end <= end.end for zone in shape.zones for end in last if zone.node == end.node)


def test_nodes_by_distance_as_the_kernel_orders_them():
    far = [[10, 20, 30, 40], [20, 10, 20, 30], [30, 20, 10, 20], [40, 30, 20, 10]]
    assert node_orders(range(4), range(4), far) == {0: [0, 1, 2, 3], 1: [1, 2, 0, 3], 2: [2, 3, 1, 0], 3: [3, 2, 1, 0]}
    # All equally far: the next one up, and no node is first choice of all.
    assert node_orders(range(3), range(3)) == {0: [0, 1, 2], 1: [1, 2, 0], 2: [2, 0, 1]}
    assert node_orders([0, 1, 2], [0, 1]) == {0: [0, 2, 1], 1: [1, 2, 0], 2: [2, 0, 1]}  # 2 has no CPU to be busy


def test_zones_of_x86_64():
    assert x86_64_zones(100) == (Zone("DMA", 0, 100),)
    assert x86_64_zones(1 << 20) == (Zone("DMA", 0, 4096), Zone("DMA32", 4096, 1 << 20))
    assert x86_64_zones(1 << 21)[2] == Zone("Normal", 1 << 20, 1 << 21)
