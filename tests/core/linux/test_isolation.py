"""Pageblock isolation: lists computed by hand, in memories of eight-frame pageblocks and blocks of two of these."""

from __future__ import annotations

import pytest
from small_machine import GFP_MOVABLE, Small

from structpage.core.linux.isolation import (
    is_isolated_range,
    set_migratetype_isolate,
    start_isolate_page_range,
    undo_isolate_page_range,
    unset_migratetype_isolate,
)
from structpage.core.linux.zonetable import CMA_FREE, SPECIAL
from structpage.core.words import CMA, ISOLATE, MOVABLE, UNMOVABLE


def isolate(small, start, stop, mt=MOVABLE):
    return start_isolate_page_range(small.machine, start, stop, mt, 0)


def undo(small, start, stop, mt=MOVABLE):
    return undo_isolate_page_range(small.machine, start, stop, mt, 0)


# What isolation does to lists and counters


def test_free_blocks_move_ascending_to_the_tails_and_out_of_the_counter():
    small = Small(32)
    assert [small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0) for _ in range(4)] == [0, 1, 2, 3]
    assert [small.machine.free(pfn, 0, 0) for pfn in (2, 0)] == [0, 0]
    assert set_migratetype_isolate(small.machine, 0, MOVABLE, 0) == 0
    assert small.lists_of(ISOLATE) == {0: [0, 2], 2: [4]}
    assert small.lists_of(MOVABLE) == {3: [8], 4: [16]}
    assert small.free_pages() == 24
    assert small.types() == "5111"
    small.check({1: 0, 3: 0})


def test_a_block_of_two_pageblocks_is_split_at_the_start_of_the_range():
    small = Small(32)
    assert isolate(small, 8, 16) == 0
    assert small.lists_of(ISOLATE) == {3: [8]}
    assert small.lists_of(MOVABLE) == {3: [0], 4: [16]}
    assert small.free_pages() == 24
    assert small.types() == "1511"


def test_a_block_of_two_pageblocks_is_split_at_the_end_of_the_range():
    small = Small(32)
    assert isolate(small, 3, 5) == 0
    assert small.lists_of(ISOLATE) == {3: [0]}
    assert small.lists_of(MOVABLE) == {3: [8], 4: [16]}
    assert small.free_pages() == 24


def test_both_ends_at_once():
    small = Small(64)
    assert isolate(small, 8, 40) == 0
    assert small.lists_of(ISOLATE) == {3: [32, 8], 4: [16]}
    assert small.lists_of(MOVABLE) == {3: [40, 0], 4: [48]}
    assert small.types() == "15555111"
    small.check({})


def test_a_block_of_eight_pageblocks_keeps_two_beyond_the_end_as_in_the_kernel():
    """Pageblocks 2 to 5 of 8: the parts of the second split merge again, for pageblock 4 is not isolated yet."""
    small = Small(64, max_order=6)
    assert isolate(small, 16, 48) == 0
    assert small.types() == "11555511"
    assert small.lists_of(ISOLATE) == {4: [16], 5: [32]}
    assert small.lists_of(MOVABLE) == {4: [0]}
    assert small.free_pages() == 16
    small.check({})
    assert undo(small, 16, 48) == 0
    assert small.lists_of(MOVABLE) == {6: [0]}
    assert small.free_pages() == 64


def test_a_block_of_eight_pageblocks_is_split_around_one():
    small = Small(64, max_order=6)
    assert isolate(small, 40, 48) == 0
    assert small.lists_of(ISOLATE) == {3: [40]}
    assert small.lists_of(MOVABLE) == {3: [32], 4: [48], 5: [0]}
    small.check({})


def test_what_is_freed_in_an_isolated_pageblock_stays_there_and_is_not_counted():
    small = Small(32, high=100, batch=4)
    pfn = small.machine.alloc(1, GFP_MOVABLE, 0, 0, 0)
    assert isolate(small, pfn, pfn + 1) == 0
    free = small.free_pages()
    assert small.machine.free(pfn, 1, 0) == 0
    assert pfn in [head for heads in small.lists_of(ISOLATE).values() for head in heads]
    assert small.free_pages() == free
    small.check({})


def test_isolated_cma_leaves_both_counters_and_comes_back_to_both():
    small = Small(32)
    assert isolate(small, 0, 8) == 0
    assert undo(small, 0, 8, CMA) == 0
    assert (small.word(CMA_FREE), small.free_pages(), small.types()) == (8, 32, "4111")
    assert isolate(small, 0, 8, CMA) == 0
    assert (small.word(CMA_FREE), small.free_pages(), small.word(SPECIAL)) == (0, 24, 1)
    assert undo(small, 0, 8, CMA) == 0
    assert small.lists_of(CMA) == {3: [0]}
    assert small.lists_of(MOVABLE) == {3: [8], 4: [16]}
    small.check({})


def test_movable_memory_isolated_for_cma_does_not_count_as_cma():
    small = Small(32)
    assert isolate(small, 0, 8, CMA) == 0
    assert (small.word(CMA_FREE), small.free_pages()) == (0, 24)


# The end of isolation


def test_a_pageblock_merges_with_its_free_buddy_at_the_tail():
    small = Small(48)
    isolate(small, 8, 16)
    assert small.lists_of(MOVABLE) == {3: [0], 4: [16, 32]}
    assert undo(small, 8, 16) == 0
    assert small.lists_of(MOVABLE) == {4: [16, 32, 0]}
    assert small.lists_of(ISOLATE) == {}
    assert small.free_pages() == 48


def test_blocks_smaller_than_a_pageblock_move_to_the_tails():
    small = Small(32)
    assert [small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0) for _ in range(9)] == list(range(9))
    assert small.machine.free(4, 0, 0) == 0
    assert small.lists_of(MOVABLE) == {0: [4, 9], 1: [10], 2: [12], 4: [16]}
    isolate(small, 0, 8)
    undo(small, 0, 8)
    assert small.lists_of(MOVABLE) == {0: [9, 4], 1: [10], 2: [12], 4: [16]}


@pytest.mark.parametrize("last", [0, 8])
def test_buddies_isolated_one_after_the_other_are_whole_again(last):
    small = Small(16)
    assert [isolate(small, pfn, pfn + 8) for pfn in (8, 0)] == [0, 0]
    assert small.lists_of(ISOLATE) == {3: [8, 0]}
    assert [undo(small, pfn, pfn + 8) for pfn in (8 - last, last)] == [0, 0]
    assert small.lists_of(MOVABLE) == {4: [0]}
    small.check({})


def test_undoing_what_is_not_isolated_does_nothing():
    small = Small(32)
    before = small.state()
    assert undo(small, 0, 32, UNMOVABLE) == 0
    assert unset_migratetype_isolate(small.machine, 8, CMA, 0) == 0
    assert small.state() == before


# Looking


def test_a_range_is_isolated_if_its_pageblocks_are_and_all_is_free():
    small = Small(32)
    pfn = small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0)
    isolate(small, 0, 16)
    assert pfn == 0
    assert not is_isolated_range(small.machine, 0, 16)
    assert is_isolated_range(small.machine, 1, 16)
    assert is_isolated_range(small.machine, 8, 16)
    assert not is_isolated_range(small.machine, 9, 16)  # in a block, at no head
    assert not is_isolated_range(small.machine, 8, 17)  # the next pageblock is not isolated
    small.machine.free(0, 0, 0)
    assert is_isolated_range(small.machine, 0, 16)
