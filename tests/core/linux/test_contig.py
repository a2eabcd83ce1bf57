"""Contiguous ranges: lists computed by hand, in memories of eight-frame pageblocks and blocks of two of these."""

from __future__ import annotations

import pytest
from small_machine import GFP_MOVABLE, GFP_UNMOVABLE, Small

from structpage.core.linux.contig import (
    alloc_contig_range,
    first_used,
    free_contig_range,
    isolate_contig_range,
    take_contig_range,
)
from structpage.core.status import BUSY, REFUSED
from structpage.core.words import ISOLATE, MOVABLE


def alloc(small, start, stop, mt=MOVABLE):
    return alloc_contig_range(small.machine, start, stop, mt, 0, 0)


def singles(*ranges):
    return {pfn: 0 for start, stop in ranges for pfn in range(start, stop)}


def test_frames_within_a_free_block_are_had_and_what_is_around_them_is_freed_again():
    """[16, 32) is split at 24 and freed in parts: 16-18 as 16, 17, 18; 21-23 as 21, 22, 23; then all goes to tails."""
    small = Small(48)
    assert alloc(small, 19, 21) == 0
    assert small.lists_of(MOVABLE) == {0: [18, 21], 1: [16, 22], 3: [24], 4: [0, 32]}
    assert small.lists_of(ISOLATE) == {}
    assert small.free_pages() == 46
    assert small.types() == "111111"
    small.check(singles((19, 21)))


def test_over_several_pageblocks_and_back():
    small = Small(64)
    assert alloc(small, 12, 50) == 0
    assert small.lists_of(MOVABLE) == {1: [50], 2: [8, 52], 3: [56, 0]}
    small.check(singles((12, 50)))
    assert free_contig_range(small.machine, 12, 50, 0) == 0
    assert sorted(small.lists_of(MOVABLE)[4]) == [0, 16, 32, 48]
    small.check({})


def test_the_first_two_pageblocks_of_a_larger_block_with_more_beyond_them():
    """What the isolation takes too much of a block of eight pageblocks is freed frame by frame, and whole again."""
    small = Small(64, max_order=6)
    assert alloc(small, 16, 48) == 0
    assert small.lists_of(MOVABLE) == {4: [48, 0]}
    small.check(singles((16, 48)))
    assert free_contig_range(small.machine, 16, 48, 0) == 0
    assert small.lists_of(MOVABLE) == {6: [0]}


def test_the_frames_are_nobodys_to_move_so_their_pageblock_is_busy():
    small = Small(32)
    assert alloc(small, 4, 6) == 0
    assert alloc(small, 0, 2) == BUSY
    assert alloc(small, 8, 16) == 0
    small.check(singles((4, 6), (8, 16)))


def test_per_cpu_lists_are_drained():
    small = Small(32, cpus=2, high=100, batch=4)
    assert [small.machine.alloc(0, GFP_MOVABLE, cpu, 0, 0) for cpu in (0, 1)] == [0, 4]
    assert [small.machine.free(pfn, 0, cpu) for cpu, pfn in enumerate((0, 4))] == [0, 0]
    assert sorted(small.waiting()) == list(range(8))
    assert alloc(small, 2, 7) == 0
    assert small.waiting() == {}
    assert small.lists_of(MOVABLE) == {0: [7], 1: [0], 3: [8], 4: [16]}
    small.check(singles((2, 7)))


def test_frames_in_use_are_told_and_can_be_moved_in_between():
    small = Small(32)
    for pfn in range(3):
        assert small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0) == pfn
    small.machine.free(1, 0, 0)
    assert alloc(small, 0, 4) == BUSY
    assert small.types() == "1111"
    small.check({0: 0, 2: 0})
    assert isolate_contig_range(small.machine, 0, 4, MOVABLE, 0) == 0
    moved = {}
    while (pfn := first_used(small.machine, 0, 4)) >= 0:
        target = small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0)
        assert target >= 8
        assert small.machine.free(pfn, 0, 0) == 0
        moved[target] = 0
    assert len(moved) == 2
    assert take_contig_range(small.machine, 0, 4, MOVABLE, 0, 0) == 0
    small.check(singles((0, 4)) | moved)


def test_an_unmovable_frame_anywhere_in_the_pageblocks_is_busy():
    small = Small(32)
    assert small.machine.alloc(0, GFP_UNMOVABLE, 0, 0, 0) == 0
    assert first_used(small.machine, 1, 32) == -1
    assert alloc(small, 4, 6) == BUSY
    small.check({0: 0})


@pytest.mark.parametrize(("start", "stop"), [(4, 4), (6, 4), (-1, 2), (30, 33), (40, 41)])
def test_no_range_is_refused(start, stop):
    small = Small(32)
    before = small.state()
    assert alloc(small, start, stop) == REFUSED
    assert small.state() == before


@pytest.mark.parametrize(("start", "stop"), [(3, 6), (4, 7), (4, 9), (6, 8), (4, 3), (-1, 2), (0, 1), (30, 33)])
def test_only_frames_allocated_each_by_itself_are_freed(start, stop):
    small = Small(32)
    assert [alloc(small, *pair) for pair in ((4, 6), (30, 32))] == [0, 0]
    assert small.machine.alloc(1, GFP_MOVABLE, 0, 0, 0) == 6
    before = small.state()
    assert free_contig_range(small.machine, start, stop, 0) == REFUSED
    assert small.state() == before
