"""Pageblocks: what merges with what, and moving their free blocks. Pageblocks of 8 frames, blocks up to 32."""

from __future__ import annotations

import pytest
from machine_helpers import free_lists, small

from structpage import Zone
from structpage.core.buddy import MERGE_LIKELY, TO_HEAD, TO_TAIL
from structpage.core.linux.pageblocks import is_mergeable
from structpage.core.words import CMA, HIGHATOMIC, ISOLATE, LANE_SHIFT, MOVABLE, RECLAIMABLE, UNMOVABLE

MERGEABLE = (UNMOVABLE, MOVABLE, RECLAIMABLE)
APART = (HIGHATOMIC, CMA, ISOLATE)


def freed(own, other, order=3, where=MERGE_LIKELY):
    """Free a block beside a free one of the same order, in pageblocks of two types; the lists then."""
    machine = small(64, start="reserved")
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_types(0, max(order, 3), 2, own)
    blocks.set_types(1 << order if order >= 3 else 0, max(order, 3), 2, other)
    machine.core.place(1 << order, order, 2 << LANE_SHIFT | other)
    assert blocks.free(0, order, 2, own, where, 0) == 0
    return free_lists(machine)


@pytest.mark.parametrize("own", [*MERGEABLE, *APART])
@pytest.mark.parametrize("other", [*MERGEABLE, *APART])
@pytest.mark.parametrize("order", [3, 4])
def test_whole_pageblocks_merge_if_they_are_alike_or_neither_is_kept_apart(own, other, order):
    merges = own == other or (own in MERGEABLE and other in MERGEABLE)
    apart = {}
    for mt, pfn in ((other, 1 << order), (own, 0)):
        apart.setdefault((order, mt), []).insert(0, pfn)
    assert freed(own, other, order) == ({(order + 1, own): [0]} if merges else apart)
    assert is_mergeable(own) == (own in MERGEABLE)


@pytest.mark.parametrize("other", [MOVABLE, HIGHATOMIC, CMA, ISOLATE])
def test_within_a_pageblock_lists_do_not_matter(other):
    assert freed(UNMOVABLE, other, 2) == {(3, UNMOVABLE): [0]}


def test_a_block_smaller_than_a_pageblock_merges_up_to_it_at_most():
    machine = small(64, start="reserved")
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(8, 2, HIGHATOMIC)
    machine.core.place(8, 3, 2 << LANE_SHIFT | HIGHATOMIC)
    machine.core.place(4, 2, 2 << LANE_SHIFT | MOVABLE)
    blocks.free(0, 2, 2, MOVABLE, TO_HEAD, 0)
    assert free_lists(machine) == {(3, MOVABLE): [0], (3, HIGHATOMIC): [8]}


def test_blocks_beyond_the_memory_are_nobodys():
    machine = small(40, start="reserved")
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(0, 2, HIGHATOMIC)
    assert blocks.free(32, 3, 2, MOVABLE, TO_TAIL, 0) == 0
    assert free_lists(machine) == {(3, MOVABLE): [32]}


def test_types_that_are_kept_apart_are_counted():
    machine = small(64)
    blocks = machine.machine.percpu.zone_lists.blocks
    row = machine.words("zone_rows").reshape(-1, 24)[2]
    for mt, isolated, special in ((ISOLATE, 1, 1), (HIGHATOMIC, 0, 1), (CMA, 0, 1), (MOVABLE, 0, 0), (UNMOVABLE, 0, 0)):
        blocks.set_type(9, 2, mt)
        assert (row[7], row[8]) == (isolated, special)
        assert blocks.type_of(15) == mt


def scattered():
    machine = small(64, zones=[Zone("Normal", 3, 61)], start="reserved")
    for pfn, order, mt in ((14, 0, MOVABLE), (10, 1, UNMOVABLE), (8, 0, MOVABLE), (16, 3, MOVABLE), (3, 0, MOVABLE)):
        machine.core.place(pfn, order, 2 << LANE_SHIFT | mt)
    return machine


def test_moving_goes_up_through_one_pageblock():
    machine = scattered()
    assert machine.machine.percpu.zone_lists.blocks.move_block(12, 2, RECLAIMABLE) == 4
    assert free_lists(machine) == {
        (0, RECLAIMABLE): [8, 14], (1, RECLAIMABLE): [10], (3, MOVABLE): [16], (0, MOVABLE): [3],
    }  # fmt: skip


def test_a_pageblock_that_does_not_end_in_the_zone_is_not_moved():
    machine = scattered()
    machine.core.place(58, 0, 2 << LANE_SHIFT | MOVABLE)
    assert machine.machine.percpu.zone_lists.blocks.move_block(58, 2, RECLAIMABLE) == 0


def test_of_one_that_begins_before_the_zone_the_rest_is_moved():
    machine = scattered()
    assert machine.machine.percpu.zone_lists.blocks.move_block(3, 2, RECLAIMABLE) == 1
    assert free_lists(machine)[0, RECLAIMABLE] == [3]


def test_frames_are_counted_by_the_purpose_they_were_allocated_for():
    machine = small(64)
    movable = [machine.alloc_pages(order, "GFP_HIGHUSER_MOVABLE") for order in (1, 0)]
    blocks = machine.machine.percpu.zone_lists.blocks
    assert movable == [0, 4]
    assert (blocks.used_as(0, MOVABLE), blocks.used_as(0, UNMOVABLE)) == (3, 0)
    machine.free_pages(0)
    assert blocks.used_as(0, MOVABLE) == 1
