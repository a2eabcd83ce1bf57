"""Single frames taken off the free lists."""

from __future__ import annotations

import pytest
from small_machine import GFP_MOVABLE, NORMAL, Small

from structpage.core.linux.hwpoison import put_page_back_buddy, take_page_off_buddy
from structpage.core.linux.isolation import start_isolate_page_range, undo_isolate_page_range
from structpage.core.linux.zonetable import CMA_FREE
from structpage.core.status import REFUSED
from structpage.core.words import CMA, ISOLATE, MOVABLE, RECLAIMABLE


def test_the_halves_that_remain_go_to_the_heads():
    small = Small(48)
    assert take_page_off_buddy(small.machine, 21, 0) == 0
    assert small.lists_of(MOVABLE) == {0: [20], 1: [22], 2: [16], 3: [24], 4: [0, 32]}
    assert small.free_pages() == 47
    small.check({})


def test_the_halves_go_to_the_lists_of_the_first_pageblock():
    small = Small(32)
    small.blocks.set_type(0, NORMAL, RECLAIMABLE)
    assert take_page_off_buddy(small.machine, 15, 0) == 0
    assert small.lists_of(RECLAIMABLE) == {0: [14], 1: [12], 2: [8], 3: [0]}
    assert small.lists_of(MOVABLE) == {4: [16]}


@pytest.mark.parametrize(("mt", "free", "cma"), [(ISOLATE, 24, 0), (CMA, 31, 7)])
def test_what_is_not_counted_as_free_is_not_taken_from_the_counter(mt, free, cma):
    small = Small(32)
    assert start_isolate_page_range(small.machine, 0, 8, MOVABLE, 0) == 0
    if mt == CMA:
        assert undo_isolate_page_range(small.machine, 0, 8, CMA, 0) == 0
    assert take_page_off_buddy(small.machine, 0, 0) == 0
    assert small.lists_of(mt) == {0: [1], 1: [2], 2: [4]}
    assert (small.free_pages(), small.word(CMA_FREE)) == (free, cma)
    small.check({})
    assert put_page_back_buddy(small.machine, 0, 0) == 0
    assert small.lists_of(mt) == {3: [0]}
    small.check({})


def test_a_frame_that_is_not_free_is_refused_and_one_that_is_somebodys_not_put_back():
    small = Small(32, high=100, batch=4)
    assert small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0) == 0
    assert list(small.waiting()) == [1, 2, 3]
    before = small.state()
    for pfn in 0, 1, -1, 32:
        assert take_page_off_buddy(small.machine, pfn, 0) == REFUSED
    for pfn in 0, 1, 4, 5, -1, 32:
        assert put_page_back_buddy(small.machine, pfn, 0) == REFUSED
    assert small.state() == before
