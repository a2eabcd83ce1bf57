"""Blocks and runs at chosen addresses."""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS, state
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import MOVABLE
from structpage.testing import Model, picture_of, zone_from_picture
from structpage.testing.strategies import pictures

each_placement = pytest.mark.parametrize("placement", PLACEMENTS)


@each_placement
def test_taking_a_frame_out_of_a_block(placement):
    """take_page_off_buddy of PFN 5 out of an order-3 block at 0."""
    buddy = zone_from_picture("........", placement, max_order=3)
    buddy.reserve(5, 1)
    assert [buddy.free_list(order) for order in range(4)] == [[4], [6], [0], []]
    assert buddy.pages[5].state == "reserved"
    buddy.check()
    buddy.release(5, 1)
    assert buddy.free_list(3) == [0]


@given(start=st.integers(0, 200), count=st.integers(1, 100), max_order=st.integers(0, 8))
def test_chunks_are_the_fewest_blocks(start, count, max_order):
    buddy = zone_from_picture("." * 300, max_order=max_order)
    model = Model(300, max_order=max_order)
    pfn, chunks = start, []
    while pfn < start + count:
        order = buddy.core.chunk(pfn, start + count)
        chunks.append((pfn, order))
        pfn += 1 << order
    assert chunks == model.chunks(start, start + count)
    assert pfn == start + count


def test_a_range_becomes_the_fewest_blocks():
    buddy = zone_from_picture("." * 16, max_order=4)
    assert buddy.alloc_range(3, 10, owner="me") == 3
    assert picture_of(buddy) == "...#22#..."
    held = [(page.pfn, page.order) for page in buddy.pages if page.state == "allocated" and page.head == page.pfn]
    assert held == [(3, 0), (4, 2), (8, 2), (12, 0)]
    assert {buddy.pages[pfn].owner for pfn in range(3, 13)} == {"me"}
    buddy.free_range(3, 10)
    assert buddy.free_list(4) == [0]


@given(picture=pictures(), start=st.integers(0, 31), count=st.integers(1, 32), data=st.data())
def test_a_refused_range_leaves_no_trace(picture, start, count, data):
    buddy = zone_from_picture(picture, max_order=4)
    frames = buddy.pages.frames
    start, end = min(start, frames - 1), min(start + count, frames)
    end = max(end, start + 1)
    method = data.draw(st.sampled_from(("alloc_range", "reserve", "release")))
    before = state(buddy)
    more = {"alloc_range": (MOVABLE, 0), "reserve": (MOVABLE,), "release": (MOVABLE,)}[method]
    status = getattr(buddy.ranges, method)(start, end, *more)
    if status < 0:
        assert status == REFUSED
        assert state(buddy) == before
    else:
        assert state(buddy) != before
        buddy.check()


def test_find_block_prefers_the_smallest_block_then_the_lowest():
    buddy = zone_from_picture("........####.#..############........", max_order=3)
    find = buddy.ranges.find_block
    assert find(0, 36, 0, 0) == 12
    assert find(0, 36, 1, 1) == 14
    assert find(0, 36, 2, 2) == 28
    assert find(0, 28, 2, 2) == 0
    assert find(0, 12, 0, 0) == 0
    assert find(1, 12, 1, 1) == 2
    assert find(1, 4, 2, 2) == NO_MEMORY
    assert find(8, 12, 0, 0) == NO_MEMORY


def test_find_block_aligns_to_more_than_the_size():
    buddy = zone_from_picture("####..##.#######", max_order=4)
    assert buddy.ranges.find_block(0, 16, 0, 0) == 8
    assert buddy.ranges.find_block(0, 8, 0, 2) == 4
    assert buddy.ranges.find_block(0, 16, 0, 3) == 8
    assert buddy.ranges.find_block(0, 16, 0, 4) == NO_MEMORY


def test_find_run_crosses_blocks_and_stops_at_anything_else():
    buddy = zone_from_picture("#...#.... ......", max_order=4)
    assert buddy.ranges.find_run(0, 16, 3) == 1
    assert buddy.ranges.find_run(0, 16, 4) == 5
    assert buddy.ranges.find_run(0, 16, 6) == 10
    assert buddy.ranges.find_run(0, 16, 7) == NO_MEMORY
    assert buddy.alloc_contig(5) == 10


def test_split_makes_blocks_of_the_same_owner():
    buddy = zone_from_picture("........", max_order=3)
    pfn = buddy.alloc(3, owner="me", migratetype=MOVABLE)
    assert buddy.ranges.split(pfn, 1) == 0
    assert picture_of(buddy) == "1111"
    assert {page.owner for page in buddy.pages} == {"me"}
    buddy.check()
    assert buddy.ranges.split(0, 2) == REFUSED
    assert buddy.ranges.split(1, 0) == REFUSED
    assert buddy.ranges.split(8, 0) == REFUSED
    assert buddy.ranges.split(-1, 0) == REFUSED
    for pfn in range(0, 8, 2):
        buddy.free(pfn, 1)
    assert picture_of(buddy) == "........"


def test_reserved_is_not_what_lies_inside_a_block():
    """With heads alone stamped, the words inside any block are zeros as well."""
    buddy = zone_from_picture("....2 ", max_order=2, stamp="head")
    assert not buddy.pages.allocator[[1, 2, 3, 5, 6, 7, 8]].any()
    reserved = buddy.ranges.is_reserved_range
    assert [reserved(pfn, pfn + 1) for pfn in range(9)] == [False] * 8 + [True]
    assert not reserved(8, 10)


@each_placement
def test_release_merges_with_what_is_free(placement):
    buddy = zone_from_picture("..  ....", placement, max_order=3)
    buddy.release(2, 2)
    assert buddy.free_list(3) == [0]
    buddy.check()
