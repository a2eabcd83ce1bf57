"""Pageblocks that may not be isolated, and what a range is left as then."""

from __future__ import annotations

import pytest
from small_machine import GFP_MOVABLE, GFP_UNMOVABLE, NORMAL, Small

from structpage.core.linux.isolation import (
    set_migratetype_isolate,
    start_isolate_page_range,
    undo_isolate_page_range,
    unmovable_frame,
)
from structpage.core.status import BUSY, REFUSED
from structpage.core.words import CMA, ISOLATE, MOVABLE, UNMOVABLE
from structpage.zones import Zone


def isolate(small, start, stop, mt=MOVABLE):
    return start_isolate_page_range(small.machine, start, stop, mt, 0)


def undo(small, start, stop, mt=MOVABLE):
    return undo_isolate_page_range(small.machine, start, stop, mt, 0)


def test_an_isolated_pageblock_is_busy():
    small = Small(32)
    isolate(small, 8, 16)
    before = small.state()
    assert isolate(small, 9, 10) == BUSY
    assert set_migratetype_isolate(small.machine, 8, MOVABLE, 0) == BUSY
    assert small.state() == before


def test_an_unmovable_frame_forbids_it_and_those_before_it_are_given_back():
    small = Small(64)
    taken = [small.machine.alloc(3, GFP_MOVABLE, 0, 0, 0) for _ in range(2)]
    pfn = small.machine.alloc(0, GFP_UNMOVABLE, 0, 0, 0)
    assert (taken, pfn) == ([0, 8], 16)
    assert small.machine.free(0, 3, 0) == 0
    assert (small.types(), small.free_pages()) == ("11001111", 55)
    assert isolate(small, 0, 32) == BUSY
    assert (small.types(), small.free_pages()) == ("11011111", 55)
    assert small.lists_of(ISOLATE) == {}
    small.check({8: 3, 16: 0})


def test_a_frame_of_nobody_forbids_it():
    small = Small(32, first=3)
    assert unmovable_frame(small.machine, 0, 8, MOVABLE) == 0
    assert unmovable_frame(small.machine, 3, 8, MOVABLE) == -1
    assert isolate(small, 4, 8) == BUSY
    assert isolate(small, 8, 16) == 0


def test_in_zone_movable_only_frames_of_nobody_do():
    zones = Zone("Normal", 0, 16), Zone("Movable", 16, 32)
    small = Small(32, zones=zones, first=8)
    for pfn, expected in (8, 8), (24, -1):
        small.ranges.alloc_range(pfn, pfn + 8, UNMOVABLE, 0)
        assert unmovable_frame(small.machine, pfn, pfn + 8, MOVABLE) == expected
    assert unmovable_frame(small.machine, 0, 8, MOVABLE) == 0


def test_cma_pageblocks_are_isolated_for_cma_alone_whatever_is_in_them():
    small = Small(32)
    isolate(small, 0, 8)
    undo(small, 0, 8, CMA)
    small.ranges.alloc_range(0, 4, CMA, 0)
    small.blocks.zones.add_free(NORMAL, 0, -4, CMA)
    assert isolate(small, 0, 8) == BUSY
    assert small.types() == "4111"
    assert isolate(small, 0, 8, CMA) == 0
    assert small.lists_of(ISOLATE) == {2: [4]}


@pytest.mark.parametrize(("start", "stop"), [(8, 16), (0, 8)])
def test_a_block_in_use_across_an_end_is_busy(start, stop):
    small = Small(32)
    assert small.machine.alloc(4, GFP_MOVABLE, 0, 0, 0) == 0
    before = small.state()
    assert isolate(small, start, stop) == BUSY
    assert small.state() == before


def test_a_block_in_use_across_the_end_gives_the_first_pageblock_back():
    small = Small(48)
    assert small.machine.alloc(4, GFP_MOVABLE, 0, 0, 0) == 0
    assert [small.machine.alloc(3, GFP_MOVABLE, 0, 0, 0) for _ in range(2)] == [16, 24]
    small.machine.alloc(4, GFP_MOVABLE, 0, 0, 0)
    small.machine.free(0, 4, 0)
    assert isolate(small, 0, 40) == BUSY
    assert small.types() == "111111"
    assert small.lists_of(MOVABLE) == {4: [0]}
    small.check({16: 3, 24: 3, 32: 4})


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (9, 8), (-1, 4), (24, 41), (12, 20), (64, 72), (28, 30)])
def test_ranges_whose_pageblocks_are_not_in_one_zone_are_refused(start, stop):
    small = Small(44, zones=(Zone("DMA32", 0, 16), Zone("Normal", 16, 28), Zone("Movable", 28, 44)))
    before = small.state()
    assert isolate(small, start, stop) == REFUSED
    assert small.state() == before
