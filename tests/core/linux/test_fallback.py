"""Stealing from other types, by hand. Pageblocks of 8 frames, blocks up to 32, each type's memory in its own place."""

from __future__ import annotations

import pytest
from machine_helpers import free_lists, small

from structpage import OutOfMemory, Zone
from structpage.core.linux.zonetable import BOOSTED, ZONE_ROW
from structpage.core.words import HIGHATOMIC, ISOLATE, LANE_SHIFT, MOVABLE, RECLAIMABLE, UNMOVABLE

USER, KERNEL, RECLAIM = "GFP_HIGHUSER_MOVABLE", "GFP_KERNEL", "GFP_KERNEL|__GFP_RECLAIMABLE"
GFP = {UNMOVABLE: KERNEL, MOVABLE: USER, RECLAIMABLE: RECLAIM}


def made_of(*blocks, frames=64, types=(), **options):
    """A machine of reserved frames with these free blocks `(pfn, order, type)`, and pageblocks of these types."""
    machine = small(frames, start="reserved", batch=1, high=100, **options)
    pageblocks = machine.machine.percpu.zone_lists.blocks
    for at, mt in enumerate(types):
        pageblocks.set_type(8 * at, 2, mt)
    for pfn, order, mt in blocks:
        machine.core.place(pfn, order, 2 << LANE_SHIFT | mt)
        pageblocks.zones.add_free(2, 0, 1 << order, mt)
    row = machine.words("zone_rows").reshape(-1, ZONE_ROW)[2]
    row[0] = frames
    return machine


def theft(machine):
    """Of the last call's thefts: order found, type found, whether the pageblock is of the new type."""
    events = machine.events()
    found = events[events["kind"] == "mm_page_alloc_extfrag"]
    return found[["fallback_order", "fallback_migratetype", "change_ownership"]].tolist()


@pytest.mark.parametrize(
    ("wanted", "others"),
    [(UNMOVABLE, (RECLAIMABLE, MOVABLE)), (MOVABLE, (RECLAIMABLE, UNMOVABLE)), (RECLAIMABLE, (UNMOVABLE, MOVABLE))],
)
def test_where_a_type_looks(wanted, others):
    first, second = others
    blocks = [(0, 3, first), (8, 3, second), (16, 3, HIGHATOMIC), (24, 3, ISOLATE)]
    machine = made_of(*blocks, types=[first, second, HIGHATOMIC, ISOLATE])
    assert machine.alloc_pages(3, GFP[wanted]) == 0
    assert machine.alloc_pages(3, GFP[wanted]) == 8
    with pytest.raises(OutOfMemory):
        machine.alloc_pages(3, GFP[wanted])


def test_the_largest_foreign_block_is_taken_of_whatever_type():
    machine = made_of((0, 1, RECLAIMABLE), (8, 2, MOVABLE), types=[RECLAIMABLE, MOVABLE])
    assert machine.alloc_pages(0, KERNEL) == 8
    assert theft(machine) == [(2, MOVABLE, 1)]


def test_a_request_for_movable_memory_takes_the_smallest_unless_a_large_block_is_there():
    """Below half a pageblock's order, which is 1, it would leave little pieces of itself everywhere."""
    machine = made_of((0, 0, UNMOVABLE), (8, 0, RECLAIMABLE), pageblock_order=3, types=[UNMOVABLE, RECLAIMABLE])
    assert machine.alloc_pages(0, USER) == 8
    assert free_lists(machine) == {(0, UNMOVABLE): [0]}
    big = {"pageblock_order": 5, "frames": 64}
    machine = made_of((0, 1, UNMOVABLE), (4, 0, RECLAIMABLE), (6, 0, UNMOVABLE), **big)
    assert machine.alloc_pages(0, USER) == 4
    machine = made_of((0, 2, UNMOVABLE), (32, 0, RECLAIMABLE), **big)
    assert machine.alloc_pages(0, USER) == 0  # order 2 is half of 5: the larger one it may take whole


def test_all_free_blocks_of_the_pageblock_move_ascending_to_the_tails():
    blocks = [(6, 0, MOVABLE), (4, 0, MOVABLE), (0, 1, MOVABLE), (10, 0, UNMOVABLE)]
    machine = made_of(*blocks, types=[MOVABLE, UNMOVABLE])
    assert machine.alloc_pages(1, KERNEL) == 0
    assert theft(machine) == [(1, MOVABLE, 1)]  # four of eight are free
    assert free_lists(machine) == {(0, UNMOVABLE): [10, 4, 6]}
    assert machine.pageblock_types.tolist()[:2] == [UNMOVABLE, UNMOVABLE]


def test_a_pageblock_with_too_little_free_keeps_its_type_but_loses_the_blocks():
    machine = made_of((0, 1, MOVABLE), (4, 0, MOVABLE), types=[MOVABLE] * 8)
    for pfn in (2, 3, 5, 6, 7):
        machine.core.memmap.mark_allocated(pfn, 0, 2 << LANE_SHIFT | MOVABLE, 0)
    assert machine.alloc_pages(1, KERNEL) == 0
    assert theft(machine) == [(1, MOVABLE, 0)]
    assert free_lists(machine) == {(0, UNMOVABLE): [4]}
    assert machine.pageblock_types[0] == MOVABLE


def test_used_frames_of_a_like_purpose_count():
    """Three free and one used for no movable purpose are half of eight, if the thief is not movable either."""
    machine = made_of((0, 1, MOVABLE), (4, 0, MOVABLE), types=[MOVABLE] * 8)
    for pfn, mt in ((2, MOVABLE), (3, MOVABLE), (5, MOVABLE), (6, MOVABLE), (7, UNMOVABLE)):
        machine.core.memmap.mark_allocated(pfn, 0, 2 << LANE_SHIFT | mt, 0)
    machine.alloc_pages(1, KERNEL)
    assert (theft(machine), machine.pageblock_types[0]) == ([(1, MOVABLE, 1)], UNMOVABLE)


def test_a_whole_pageblock_changes_hands_with_its_type():
    machine = made_of((0, 5, MOVABLE), (32, 5, MOVABLE))
    assert machine.alloc_pages(0, KERNEL) == 0
    assert machine.pageblock_types.tolist() == [UNMOVABLE] * 4 + [MOVABLE] * 4
    assert free_lists(machine) == {(5, MOVABLE): [32]} | {(order, UNMOVABLE): [1 << order] for order in range(5)}


def test_a_block_on_a_foreign_list_in_a_reserved_pageblock_is_taken_alone():
    machine = made_of((0, 1, MOVABLE), (4, 0, MOVABLE), types=[HIGHATOMIC])
    assert machine.alloc_pages(1, KERNEL) == 0
    assert free_lists(machine) == {(0, MOVABLE): [4]}
    assert machine.pageblock_types[0] == HIGHATOMIC


def test_a_reserved_pageblock_keeps_its_type_whatever_is_taken():
    machine = made_of((0, 3, MOVABLE), types=[HIGHATOMIC])
    assert machine.alloc_pages(3, KERNEL) == 0
    assert (theft(machine), machine.pageblock_types[0]) == ([(3, MOVABLE, 0)], HIGHATOMIC)


def test_a_theft_boosts_the_watermarks():
    machine = made_of((0, 2, MOVABLE), types=[MOVABLE])
    machine.set_zone("Normal", min=0, low=0, high=20)
    machine.alloc_pages(0, KERNEL)
    assert machine.zone_table["boost"] == 8  # a pageblock
    assert machine.words("zone_rows").reshape(-1, ZONE_ROW)[2, BOOSTED] == 0  # kswapd was woken


def test_a_theft_of_a_whole_pageblock_does_not():
    machine = made_of((0, 3, MOVABLE), types=[MOVABLE])
    machine.set_zone("Normal", high=20)
    machine.alloc_pages(0, KERNEL)
    assert machine.zone_table["boost"] == 0


def test_balancing_takes_away_the_boost_that_it_saw():
    machine = small()
    machine.set_zone("Normal", boost=30)
    with machine.balance():
        machine.set_zone("Normal", boost=45)
    assert machine.zone_table["boost"] == 15


ZONES = [Zone("DMA32", 0, 64), Zone("Normal", 64, 128)]


def test_lower_zones_are_used_before_pageblocks_are_broken_up():
    """Normal memory preferred: no theft below a pageblock there while DMA32 has something."""
    machine = small(128, zones=ZONES, batch=1, high=1)
    assert machine.alloc_pages(0, KERNEL) == 64  # a whole block is stolen at once
    for _ in range(31):
        machine.alloc_pages(0, KERNEL)
    assert machine.alloc_pages(5, USER) == 96
    machine.free_pages(64)
    machine.drain()
    for _ in range(2):
        machine.alloc_pages(0, USER)
    machine.check()
    assert machine.free_list(0, zone="Normal", migratetype=UNMOVABLE) == [64]
    assert machine.zone_table["free"].tolist() == [62, 1]
    assert [machine.alloc_pages(0, USER) for _ in range(62)][-1] < 64
    assert machine.alloc_pages(0, USER) == 64  # and in the end there as well


def test_rather_is_a_pageblock_broken_up_than_another_node_used():
    zones = [Zone("DMA32", 0, 8), Zone("Normal", 64, 128), Zone("Normal", 128, 192, 1)]
    machine = small(192, zones=zones, batch=1, high=1)
    for _ in range(64):
        machine.alloc_pages(0, KERNEL)
    machine.alloc_pages(3, USER)  # all of DMA32
    machine.free_pages(70)
    machine.drain()
    assert machine.alloc_pages(0, USER) == 70
    assert machine.alloc_pages(0, USER) == 128


def test_one_zone_alone_is_not_spared_if_it_is_not_normal_memory():
    machine = small(64, zones=[Zone("DMA32", 0, 64)], batch=1, high=1)
    for _ in range(32):
        machine.alloc_pages(0, KERNEL)
    machine.alloc_pages(5, USER)
    machine.free_pages(0)
    machine.drain()
    assert machine.alloc_pages(0, USER) == 0


def test_what_is_known_of_thefts_to_come_decides():
    machine = made_of((0, 1, MOVABLE), (8, 1, MOVABLE), types=[MOVABLE] * 8)
    hint = machine.machine.percpu.zone_lists.hint
    pfns = []
    for known in (0b10, 0b11):
        machine.machine.percpu.zone_lists.trace.clear()
        hint[0] = known
        pfns.append(machine.machine.alloc(1, 0xCC0, 0, 0, 0))
        assert hint[0] == 1
    assert pfns == [0, 8]
    assert machine.pageblock_types.tolist()[:2] == [MOVABLE, UNMOVABLE]
    assert hint[1] == 2


def test_cma_memory_is_used_first_while_it_is_most_of_what_is_free():
    from structpage.core.words import CMA

    machine = small(64, cma=True, batch=1, high=1)
    blocks = machine.machine.percpu.zone_lists.blocks
    for pfn in range(32, 64, 8):
        blocks.set_type(pfn, 2, CMA)
    blocks.move_to_list(32, 5, 2, CMA)
    machine.words("zone_rows").reshape(-1, ZONE_ROW)[2, 13] = 32
    machine.check()
    assert machine.alloc_pages(0, USER) == 0  # just half
    machine.alloc_pages(0, KERNEL)
    assert machine.alloc_pages(0, USER) == 32
    machine.check()
