"""Single free blocks taken off their lists as they are, and put back."""

from __future__ import annotations

import pytest
from small_machine import NORMAL, Small

from structpage.core.linux.isolation import isolate_free_block, put_back, start_isolate_page_range
from structpage.core.linux.zonetable import MIN, ZONE_ROW
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import MOVABLE, UNMOVABLE


def test_a_block_is_taken_off_and_its_pageblocks_become_movable():
    small = Small(32)
    small.blocks.set_types(0, 4, NORMAL, UNMOVABLE)
    assert isolate_free_block(small.machine, 0, 0) == 4
    assert (small.types(), small.free_pages()) == ("1111", 16)
    assert put_back(small.machine, 0, 4, UNMOVABLE, 0) == 0
    assert small.lists_of(UNMOVABLE) == {4: [0]}
    assert small.lists_of(MOVABLE) == {4: [16]}


@pytest.mark.parametrize(("order", "left"), [(2, MOVABLE), (1, UNMOVABLE)])
def test_a_block_of_less_than_half_a_pageblock_leaves_the_type(order, left):
    small = Small(8 + (1 << order))
    small.blocks.set_type(8, NORMAL, UNMOVABLE)
    assert isolate_free_block(small.machine, 8, 0) == order
    assert small.blocks.type_of(8) == left


def test_below_the_watermark_a_block_stays_unless_it_is_isolated():
    small = Small(32)
    small.blocks.zones.row[NORMAL * ZONE_ROW + MIN] = 16
    before = small.state()
    assert isolate_free_block(small.machine, 0, 0) == NO_MEMORY
    assert isolate_free_block(small.machine, 1, 0) == REFUSED
    assert isolate_free_block(small.machine, 32, 0) == REFUSED
    assert small.state() == before
    assert start_isolate_page_range(small.machine, 0, 16, MOVABLE, 0) == 0
    assert isolate_free_block(small.machine, 0, 0) == 4
