"""Split, merge and list order, held to vectors worked out from Linux's text."""

from __future__ import annotations

import pytest
from helpers import IN_ORDER, PLACEMENTS, Sparse, SparseFill, lists
from hypothesis import given

from structpage import BuddyAllocator, OutOfMemory, Zone
from structpage.core.buddy import TO_HEAD, TO_TAIL, Buddy
from structpage.core.buffers import Room
from structpage.core.memmap import TwoWord
from structpage.core.placements.side_table import SideTable
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import LANE_SHIFT, MOVABLE
from structpage.testing import Model, zone_from_picture
from structpage.testing.strategies import shapes

each_placement = pytest.mark.parametrize("placement", PLACEMENTS)
each_in_order = pytest.mark.parametrize("placement", IN_ORDER)


def blocks(buddy):
    heads, orders = buddy.pages.free_heads()
    return sorted(zip(heads.tolist(), orders.tolist(), strict=True))


# Vectors


@each_placement
def test_expand_keeps_the_lowest_and_lists_upper_halves(placement):
    buddy = zone_from_picture("########........", placement)
    assert blocks(buddy) == [(8, 3)]
    assert buddy.alloc(0) == 8
    assert blocks(buddy) == [(9, 0), (10, 1), (12, 2)]
    assert [buddy.free_list(order) for order in range(4)] == [[9], [10], [12], []]


@each_placement
def test_single_frames_of_a_block_come_in_ascending_order(placement):
    buddy = BuddyAllocator(16, placement, max_order=4)
    assert [buddy.alloc(0) for _ in range(16)] == list(range(16))


@each_in_order
@pytest.mark.parametrize(
    ("picture", "order_0"),
    [
        ("##..####.#######", [8, 0]),  # the uncle, order 1 at 2, is free: park at the tail
        ("########.#######", [0, 8]),  # it is not
        ("##.#####.#######", [0, 2, 8]),  # it is free in part only
    ],
)
def test_a_block_whose_parent_may_merge_soon_goes_to_the_tail(placement, picture, order_0):
    buddy = zone_from_picture(picture, placement)
    buddy.free(0)
    assert buddy.free_list(0) == order_0


@each_in_order
@pytest.mark.parametrize(("max_order", "order_1"), [(2, [0, 12]), (3, [12, 0])])
def test_a_merge_is_never_likely_at_the_last_two_orders(placement, max_order, order_1):
    buddy = zone_from_picture("11....####..##", placement, max_order=max_order)
    assert blocks(buddy) == [(4, 2), (12, 1)]
    buddy.free(0)
    assert buddy.free_list(1) == order_1


def test_order_9_and_10_are_never_likely():
    buddy = zone_from_picture("99" + "." * 1024 + "99" + "." * 512 + "9" + "." * 1024)
    assert buddy.free_list(10) == [1024, 4096]
    assert buddy.free_list(9) == [3072]
    buddy.free(0)  # its uncle, order 10 at 1024, is free, but 9 is MAX - 1
    assert buddy.free_list(9) == [0, 3072]


@each_placement
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1, 9, [(1, 0), (2, 1), (4, 2), (8, 0)]), (0, 1024, [(0, 10)]), (0, 1, [(0, 0)]), (5, 8, [(5, 0), (6, 1)])],
)
def test_hand_over(placement, start, end, expected):
    buddy = BuddyAllocator(1024, placement, zones=[Zone("Normal", start, end)])
    assert blocks(buddy) == expected


@each_in_order
def test_hand_over_lists_ascend(placement):
    buddy = BuddyAllocator(64, placement, max_order=3)
    assert buddy.free_list(3) == list(range(0, 64, 8))
    assert buddy.alloc(3) == 0
    assert buddy.alloc(3) == 8


@each_placement
def test_freeing_all_makes_one_block_again(placement):
    buddy = BuddyAllocator(64, placement, max_order=6)
    pfns = [buddy.alloc(0) for _ in range(64)]
    for pfn in pfns[::2] + pfns[1::2]:
        buddy.free(pfn)
    assert blocks(buddy) == [(0, 6)]
    buddy.check()


# Borders


@each_placement
@pytest.mark.parametrize(
    "zones",
    [
        [Zone("DMA", 0, 4), Zone("Normal", 4, 8)],
        [Zone("Normal", 0, 4), Zone("Normal", 4, 8, node=1)],
        [Zone("Movable", 0, 4), Zone("Normal", 4, 8)],
    ],
    ids=["zones", "nodes", "zones in no order"],
)
def test_blocks_never_merge_across_a_border(placement, zones):
    buddy = BuddyAllocator(8, placement, zones=zones, max_order=3)
    assert blocks(buddy) == [(0, 2), (4, 2)]
    for start in (0, 4):
        assert buddy.alloc_at(start, 2) == start
    buddy.free(0)
    buddy.free(4)
    assert blocks(buddy) == [(0, 2), (4, 2)]
    with pytest.raises(OutOfMemory):
        buddy.alloc(3)
    buddy.check()


@each_placement
def test_holes_and_odd_sizes(placement):
    zone = Zone("Normal", 1, 30, holes=((7, 9), (20, 21)))
    buddy = BuddyAllocator(33, placement, zones=[zone], max_order=4)
    below = [(1, 0), (2, 1), (4, 1), (6, 0), (9, 0), (10, 1), (12, 2)]
    assert blocks(buddy) == [*below, (16, 2), (21, 0), (22, 1), (24, 2), (28, 1)]
    assert buddy.free_frames == 29 - 3
    assert sorted(buddy.alloc(0) for _ in range(26)) == [pfn for pfn in range(1, 30) if pfn not in (7, 8, 20)]
    with pytest.raises(OutOfMemory):
        buddy.alloc(0)


@given(shape=shapes(max_frames=200))
def test_a_machine_begins_as_the_model_says(shape):
    model = Model(*shape[:2], max_order=shape.max_order)
    buddy = BuddyAllocator(shape.frames, zones=shape.zones, max_order=shape.max_order)
    assert set(blocks(buddy)) == model.free_blocks()
    buddy.check()


@pytest.mark.parametrize("max_order", range(31))
def test_every_max_order(max_order):
    """A whole block of each order is split to single frames and merged back, over sparse buffers."""
    buddy = sparse_buddy(1 << max_order, max_order)
    lane = 0 << LANE_SHIFT | MOVABLE
    assert buddy.free_block(0, max_order, lane, TO_TAIL, max_order) == 0
    assert buddy.alloc(0, MOVABLE, 0, 0) == 0
    assert [buddy.nr_free[order] for order in range(max_order + 1)] == [1] * max_order + [0]
    assert buddy.alloc(max_order, MOVABLE, 0, 0) == NO_MEMORY
    assert buddy.free(0, 0, MOVABLE) == 0
    assert buddy.nr_free[max_order] == 1
    assert sum(buddy.nr_free[order] for order in range(max_order + 1)) == 1
    if max_order:
        assert buddy.alloc(max_order - 1, MOVABLE, 0, 0) == 0
        assert buddy.alloc(max_order - 1, MOVABLE, 0, 0) == 1 << (max_order - 1)


def sparse_buddy(frames, max_order, stamp=0):
    made = {}

    def buffer(name, words):
        made[name] = Sparse(words)
        return made[name]

    words = Sparse(2 * frames)
    count = 8 * (max_order + 1)
    lists = SideTable.build(Room(frames, count, words, Sparse(0), buffer, 1))
    for lst in range(count):
        lists.reset(lst)
    zonelist = Sparse(2)
    zonelist[0], zonelist[1] = 0, -1
    end = Sparse(1)
    end[0] = frames
    return Buddy(
        TwoWord(words, SparseFill(words), stamp), lists, Sparse(max_order + 1), Sparse(1), end, zonelist,
        Sparse(1), frames, max_order + 1, 1, 15,
    )  # fmt: skip


# Statuses


def test_statuses_of_the_core():
    buddy = sparse_buddy(16, 4)
    lane = 0 << LANE_SHIFT | MOVABLE
    buddy.free_block(0, 4, lane, TO_HEAD, buddy.orders - 1)
    assert buddy.alloc(5, MOVABLE, 0, 0) == NO_MEMORY
    pfn = buddy.alloc(1, MOVABLE, 0, 0)
    assert [buddy.free(pfn, order, MOVABLE) for order in (0, 2)] == [REFUSED, REFUSED]
    assert buddy.free(-1, 0, MOVABLE) == REFUSED
    assert buddy.free(16, 0, MOVABLE) == REFUSED
    assert buddy.free(pfn, 1, MOVABLE) == 0
    assert buddy.free(pfn, 1, MOVABLE) == REFUSED
    assert buddy.zone_at(15) == 0
    assert buddy.zone_at(16) == -1


def test_a_broken_list_is_a_status():
    buddy = sparse_buddy(16, 4)
    buddy.free_block(0, 4, 0 << LANE_SHIFT | MOVABLE, TO_HEAD, buddy.orders - 1)
    buddy.memmap.unmark(0)
    assert buddy.alloc(0, MOVABLE, 0, 0) == CORRUPT
    buddy = sparse_buddy(16, 4)
    buddy.free_block(0, 0, 0 << LANE_SHIFT | MOVABLE, TO_HEAD, buddy.orders - 1)
    buddy.lists.link[0] = 1 << 40
    assert buddy.alloc(0, MOVABLE, 0, 0) == CORRUPT
    buddy.memmap.mark_allocated(1, 0, 0, 0)
    assert buddy.free(1, 0, MOVABLE) == CORRUPT


def test_head_of_finds_the_block_around_any_frame():
    buddy = zone_from_picture("##..2 ...2", max_order=3, stamp="head")
    heads = [buddy.core.head_of(pfn) for pfn in range(buddy.pages.frames)]
    assert heads == [0, 1, 2, 2, 4, 4, 4, 4, -1, 9, 10, 10, 12, 12, 12, 12]
    assert [buddy.pages.head_of(pfn) for pfn in range(16)] == [*heads[:8], 8, *heads[9:]]


@each_in_order
def test_place_lists_recorded_blocks_in_their_order(placement):
    buddy = BuddyAllocator(32, placement, max_order=3, start="reserved")
    recorded = [(8, 1, 1), (0, 1, 1), (16, 3, 1), (4, 0, 0), (12, 1, 2)]
    buddy.place(recorded)
    assert buddy.free_list(1) == [8, 0, 12]
    assert buddy.free_list(1, migratetype=2) == [12]
    assert buddy.free_list(0, migratetype=0) == [4]
    assert lists(buddy) == [[4], [8, 0, 12], [], [16]]
    assert buddy.free_counts.tolist() == [1, 3, 0, 1]
    buddy.check()
