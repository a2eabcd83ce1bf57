"""`Machine`: its calls, what they refuse, and what they do beyond the core's own rules."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import says
from machine_helpers import UNMARKED, free_lists, small, whole_state, words

from structpage import (
    FrameMemory,
    InvalidArgument,
    InvalidFree,
    LimitExceeded,
    Machine,
    OutOfMemory,
    OutOfRange,
    PageArray,
    Tuning,
    UnknownName,
    Zone,
)
from structpage.machine.events import EVENT

USER = "GFP_HIGHUSER_MOVABLE"
TWO_NODES = [Zone("DMA32", 0, 64), Zone("Normal", 64, 128), Zone("Normal", 128, 192, 1)]


# Building


def test_the_default_zones_are_those_of_x86_64():
    machine = Machine((1 << 20) + 5000)
    assert [(zone.name, zone.start, zone.end) for zone in machine.zones] == [
        ("DMA", 0, 4096),
        ("DMA32", 4096, 1 << 20),
        ("Normal", 1 << 20, (1 << 20) + 5000),
    ]
    assert machine.zone_table["free"].tolist() == [4096, (1 << 20) - 4096, 5000]
    machine.check()


def test_memory_is_handed_over_in_the_largest_chunks_ascending():
    machine = small(64, zones=[Zone("Normal", 3, 61, holes=((20, 22),))])
    assert free_lists(machine) == {
        (0, 0): [3],
        (2, 0): [4],
        (2, 1): [16, 56],
        (1, 1): [22],
        (3, 1): [8, 24, 48],
        (4, 1): [32],
        (0, 1): [60],
    }
    assert machine.pageblock_types.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


def test_reserved_memory_is_released_as_at_boot():
    machine = small(64, start="reserved", zones=[Zone("Normal", 0, 64)])
    assert machine.zone_table["managed"] == 0
    assert machine.percpu_table[["batch", "pcp_high"]].tolist() == [(4, 16)]
    machine.release(5, 20)
    machine.release(30, 34)
    machine.check()
    assert free_lists(machine) == {(0, 1): [5, 24], (1, 1): [6, 30], (3, 1): [8, 16], (5, 1): [32]}
    assert machine.zone_table[["managed", "free", "free_counter"]].tolist() == [(54, 54, 54)]
    machine.compute_sizes(Tuning(min_free_kbytes=40, thp=False))
    assert machine.zone_table[["min", "low", "high"]].tolist() == [(10, 12, 14)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": "6.2"}, UnknownName, "kernel must be one of 6.1, not '6.2'"),
        ({"start": "deferred"}, UnknownName, "start must be one of free, reserved, not 'deferred'"),
        ({"cpus": 0}, InvalidArgument, "cpus must be at least 1, not 0"),
        ({"pageblock_order": 6}, InvalidArgument, "pageblock_order must be between 0 and 5, not 6"),
        ({"cpu_node": [0, 0]}, InvalidArgument, "cpu_node must be one of the nodes [0] for each CPU, not [0, 0]"),
        ({"cpu_node": [1]}, InvalidArgument, "cpu_node must be one of the nodes [0] for each CPU, not [1]"),
        ({"distance": []}, InvalidArgument, "distance must be a matrix of 1 nodes or more, not 0 rows"),
        ({"engine": "checked"}, InvalidArgument, "engine of a machine must be plain, probed or compiled, not checked"),
        ({"placement": "one-word", "max_order": 16}, LimitExceeded,
         "max_order for placement one-word must be at most 15, not 16"),
    ],
)  # fmt: skip
def test_what_no_machine_is_built_of(options, error, message):
    with pytest.raises(error, match=says(message)):
        small(**options)


# Nodes


def test_a_cpu_allocates_from_its_node():
    machine = small(192, zones=TWO_NODES, cpus=4)
    assert machine.cpu_node == (0, 0, 1, 1)
    assert [machine.alloc_pages(0, USER, cpu) for cpu in range(4)] == [64, 68, 128, 132]
    assert machine.alloc_pages(0, USER, 0, node=1) == 136
    assert machine.alloc_pages(0, USER + "|__GFP_DMA32", 3) < 64  # none such on its node: the next one's


def test_this_node_and_no_other():
    machine = small(192, zones=TWO_NODES)
    with pytest.raises(OutOfMemory):
        machine.alloc_pages(0, "GFP_DMA32|__GFP_THISNODE", node=1)
    with pytest.raises(OutOfMemory):
        machine.alloc_pages_bulk(3, "GFP_DMA32|__GFP_THISNODE", node=1)
    for _ in range(2):
        machine.alloc_pages(5, "GFP_KERNEL|__GFP_THISNODE", node=1)
    with pytest.raises(OutOfMemory):
        machine.alloc_pages(5, "GFP_KERNEL|__GFP_THISNODE", node=1)
    assert machine.alloc_pages(5, "GFP_KERNEL", node=1) == 64


def test_nodes_are_tried_by_distance():
    zones = [Zone("Normal", 64 * node, 64 * node + 64, node) for node in range(3)]
    far = [[10, 30, 20], [30, 10, 20], [20, 20, 10]]
    for distance, order in ((far, [0, 2, 1]), (None, [0, 1, 2])):
        machine = small(192, zones=zones, distance=distance)
        assert [machine.alloc_pages(5) // 64 for _ in range(6)] == [node for node in order for _ in range(2)]


# Allocating and freeing


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"order": 6}, InvalidArgument, "order must be between 0 and 5, not 6"),
        ({"cpu": 1}, InvalidArgument, "cpu must be between 0 and 0, not 1"),
        ({"node": 1}, InvalidArgument, "node must be one of 0, not 1"),
        ({"gfp": -1}, InvalidArgument, "gfp must be between 0 and 4294967295, not -1"),
        ({"gfp": "GFP_NOTHING"}, InvalidArgument,
         "gfp flag must be a known name or a hexadecimal number, not 'GFP_NOTHING'"),
        ({"gfp": 0x18}, InvalidArgument,
         "gfp must be Movable or Reclaimable at most, not __GFP_RECLAIMABLE|__GFP_MOVABLE"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_changes_nothing(arguments, error, message):
    machine = small()
    before = words(machine)
    with pytest.raises(error, match=says(message)):
        machine.alloc_pages(**arguments)
    assert words(machine) == before


def test_no_memory_says_what_there_is():
    machine = small(64, zones=[Zone("DMA32", 0, 32), Zone("Normal", 32, 64)])
    machine.set_zone("Normal", min=40, low=40)
    machine.set_zone("DMA32", min=32, low=32)
    message = (
        "zones for GFP_KERNEL on node 0 must be above their watermarks with a block of order 1, "
        "not Normal of node 0 with 32 free, 40 at least; DMA32 of node 0 with 32 free, 32 at least"
    )
    with pytest.raises(OutOfMemory, match=says(message)):
        machine.alloc_pages(1)
    assert machine.zone_table["free"].tolist() == [32, 32]


def test_last_resort_gives_what_watermarks_refuse():
    machine = small(64, last_resort=True, batch=1, high=1)
    machine.set_zone("Normal", min=60)
    assert len({machine.alloc_pages() for _ in range(64)}) == 64
    with pytest.raises(OutOfMemory):
        machine.alloc_pages()


def test_an_owner_may_be_told():
    machine = small()
    pfn = machine.alloc_pages(2, owner="me")
    assert machine.pages[pfn + 3].owner == "me"


def test_bulk_gives_what_the_lists_of_the_cpu_give():
    machine = small(64)
    assert machine.alloc_pages_bulk(10, USER) == list(range(10))
    assert machine.percpu_lists(0)[1] == [10, 11]
    assert machine.alloc_pages_bulk(1, USER) == [10]
    machine.set_zone("Normal", low=39)
    assert machine.alloc_pages_bulk(12, USER) == [*range(11, 23)]  # 52 free, more than 39 and 12
    assert machine.alloc_pages_bulk(12, USER) == [23]  # one, as of alloc_pages
    assert machine.alloc_pages_bulk(12, USER + "|__GFP_ACCOUNT") == [24]
    machine.set_zone("Normal", min=64)
    with pytest.raises(OutOfMemory):
        machine.alloc_pages_bulk(3, USER)
    with pytest.raises(InvalidArgument, match=says("count must be at least 1, not 0")):
        machine.alloc_pages_bulk(0)


def test_bulk_stays_on_the_node_but_a_single_frame_does_not():
    machine = small(192, zones=TWO_NODES)
    machine.set_zone("Normal", 1, low=64)
    machine.set_zone("Normal", 1, min=64)
    assert machine.alloc_pages_bulk(3, USER, node=1) == [64]
    machine.set_zone("Normal", 0, low=64)
    assert machine.alloc_pages_bulk(3, USER, node=0) == [0, 1, 2]  # a lower zone of the node will do


def test_frees_that_are_refused_change_nothing():
    machine = small(64, zones=[Zone("Normal", 0, 60)])
    pfn = machine.alloc_pages(2)
    one = machine.alloc_pages(0)
    before = words(machine)
    cases = [
        (lambda: machine.free_pages(64), OutOfRange, "PFN must be between 0 and 63, not 64"),
        (lambda: machine.free_pages(pfn, 1), InvalidFree, f"order must be 2, as PFN {pfn} was allocated, not 1"),
        (lambda: machine.free_pages(pfn + 1), InvalidFree,
         f"PFN {pfn + 1} must be the head of an allocated block, "
         f"not inside the allocated block of order 2 at PFN {pfn}"),
        (lambda: machine.free_pages(32), InvalidFree,
         "PFN 32 must be the head of an allocated block, not free, order 4"),
        (lambda: machine.free_pages(60), InvalidFree, "PFN 60 must be the head of an allocated block, not reserved"),
        (lambda: machine.free_pages_list([one, one]), InvalidFree, f"pfns must be different, not PFN {one} twice"),
        (lambda: machine.free_pages_list([one, pfn]), InvalidFree,
         f"order must be 2, as PFN {pfn} was allocated, not 0"),
        (lambda: machine.release(one, 1), InvalidFree,
         f"range [{one}, {one + 1}) must be of reserved frames only, not PFN {one}, allocated, order 0"),
        (lambda: machine.split(pfn, 3), InvalidFree, f"order must be 2, as PFN {pfn} was allocated, not 3"),
        (lambda: machine.drain(zone="DMA"), UnknownName, "zone must be one of Normal of node 0, not DMA of node 0"),
        (lambda: machine.set_zone("Normal", batch=0), InvalidArgument, "batch must be at least 1, not 0"),
        (lambda: machine.set_zone("Normal", min=3, lowmem_reserve=[1]), InvalidArgument,
         "lowmem_reserve must be 6 numbers of pages, not 1"),
        (lambda: machine.set_zone("Normal", free=3), UnknownName,
         "size must be one of managed, min, low, high, boost, threshold, pcp_high, batch, not 'free'"),
    ]  # fmt: skip
    for call, error, message in cases:
        with pytest.raises(error, match=says(message)):
            call()
        assert words(machine) == before, message


def test_reserved_frames_may_be_freed_by_whoever_has_them():
    machine = small(64, start="reserved")
    machine.free_pages(8, 3)
    assert machine.percpu_lists(0)[9 + 1] == [8]
    machine.free_pages(7)
    with pytest.raises(InvalidFree):
        machine.free_pages(6, 1)  # 7 is not reserved any more
    with pytest.raises(InvalidFree):
        machine.free_pages(17, 1)
    machine.check()


def test_a_split_block_is_freed_in_parts():
    machine = small()
    pfn = machine.alloc_pages(2, USER)
    machine.split(pfn)
    machine.free_pages_list(range(pfn, pfn + 4))
    machine.check()
    assert machine.percpu_lists(0)[1] == [pfn + 3, pfn + 2, pfn + 1, pfn]


# Reading


def test_events_are_those_of_the_last_call():
    machine = small()
    machine.alloc_pages(1)
    events = machine.events()
    assert events.dtype == EVENT
    assert events.tolist() == [
        ("mm_page_alloc_extfrag", 0, 1, 0, 5, 1, 1),
        ("mm_page_alloc_zone_locked", 0, 1, 0, -1, -1, -1),
        ("mm_page_alloc_zone_locked", 2, 1, 0, -1, -1, -1),
    ]
    machine.drain()
    assert machine.events().tolist() == [("mm_page_pcpu_drain", 2, 1, 0, -1, -1, -1)]
    machine.drain()
    assert machine.events().tolist() == []


def test_tables():
    machine = small(192, zones=TWO_NODES, cpus=2, threshold=9)
    machine.alloc_pages(0, USER, 1)
    row = machine.zone_table[2]
    assert (row["zone"], row["node"], row["managed"], row["free"], row["free_counter"]) == ("Normal", 1, 64, 60, 64)
    sets = machine.percpu_table[5]
    assert sets.tolist() == (1, "Normal", 1, 3, 16, 4, 0, -4)
    machine.fold(0)
    assert machine.zone_table["free_counter"][2] == 64
    machine.fold()
    assert machine.zone_table["free_counter"][2] == 60
    with pytest.raises(ValueError, match="read-only"):
        machine.pageblock_types[0] = 3


def test_metrics_are_those_of_the_free_counts():
    machine = small(64)
    for _ in range(2):
        machine.alloc_pages(0, USER)
    assert machine.unusable_index(5).tolist() == [1000 * 28 // 60]
    assert machine.extfrag_index().shape == (1, 6)
    assert machine.huge_pages(3).tolist() == [7]
    assert machine.frames_by_run_length().tolist() == [0, 0, 0, 0, 0, 60]


def test_pictures():
    machine = small(64, cpus=2)
    assert repr(machine) == "<Machine: Linux 6.1, side-table, 2 CPUs; Normal of node 0 64 of 64 free>"
    html = machine._repr_html_()
    assert "Machine: Linux 6.1, side-table, 64 frames, 2 CPUs" in html
    assert html.count("<tr>") == 2


def test_a_given_memmap_and_memory_are_used():
    pages, memory = PageArray(64), FrameMemory(64)
    machine = small(pages, "in-page", memory=memory, zones=[Zone("Normal", 0, 64)], tuning=UNMARKED)
    assert (machine.pages, machine.memory) == (pages, memory)
    pfn = machine.alloc_pages()
    assert pages[pfn].state == "allocated"
    assert np.count_nonzero(memory.words) > 0


@pytest.mark.parametrize("stamp", ["every", "head"])
def test_stamps_make_no_difference_to_anything_else(stamp):
    machine, other = small(stamp=stamp), small()
    for one in (machine, other):
        pfns = [one.alloc_pages(order % 4, USER) for order in range(12)]
        for pfn in pfns[::2]:
            one.free_pages(pfn)
    assert whole_state(machine) == whole_state(other)
    machine.check()
