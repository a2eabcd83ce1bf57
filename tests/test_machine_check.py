"""What `check()` finds in a machine: every kind of damage beyond the free lists, named with its place."""

from __future__ import annotations

import pytest
from helpers import says
from machine_helpers import small

from structpage import CorruptionError, Zone
from structpage.core.linux.percpu import SET_ROW
from structpage.core.words import HIGHATOMIC, LANE_SHIFT
from structpage.machine.check import percpu_list_name

USER = "GFP_HIGHUSER_MOVABLE"
ZONE = "zone Normal of node 0"


@pytest.fixture
def machine():
    """Frames 0 to 3 of a refill: 0 is allocated, the others wait."""
    made = small(64, cpus=2, threshold=8)
    made.alloc_pages(0, USER)
    made.check()
    return made


def found(machine, message):
    with pytest.raises(CorruptionError, match=says(message)):
        machine.check()


def test_a_wrong_count(machine):
    machine.words("percpu")[2 * 2 * SET_ROW] += 1
    found(machine, f"{ZONE}, list CPU 0, count must be 3, not 4")


def test_a_block_that_waits_nowhere(machine):
    machine.lists.remove(2)
    machine.words("percpu")[2 * 2 * SET_ROW] -= 1
    found(machine, f"{ZONE}, PFN 2, list membership must be one per-CPU list, not none")


def test_a_block_on_the_lists_of_two_cpus(machine):
    base = machine.machine.percpu.base + (2 * 2 + 1) * 14
    machine.lists.push_back(base + 1, 1)
    with pytest.raises(CorruptionError, match=f"^{ZONE}, list CPU . order 0 Movable"):
        machine.check()


def test_a_block_on_the_list_of_another_type(machine):
    machine.lists.remove(3)
    machine.lists.push_back(machine.machine.percpu.base + 2 * 2 * 14 + 2, 3)
    found(machine, f"{ZONE}, list CPU 0 order 0 Reclaimable, PFN 3, migratetype must be one of this list, not Movable")


def test_a_block_of_another_order(machine):
    pfn = machine.alloc_pages(1, USER)
    machine.core.memmap.mark_pcp(pfn + 2, 0, 2 << LANE_SHIFT | 1)
    found(machine, f"{ZONE}, list CPU 0 order 1 Movable, PFN {pfn + 2}, order must be 1, not 0")


def test_a_block_in_another_state(machine):
    machine.core.memmap.mark_allocated(2, 0, 2 << LANE_SHIFT | 1, 0)
    found(machine, f"{ZONE}, list CPU 0 order 0 Movable, PFN 2, state must be pcp, not allocated")


def test_a_block_of_another_zone():
    machine = small(64, zones=[Zone("DMA32", 0, 32), Zone("Normal", 32, 64)])
    pfn = machine.alloc_pages(0, "GFP_DMA32|__GFP_MOVABLE")
    machine.lists.remove(pfn + 1)
    machine.lists.push_back(machine.machine.percpu.base + 2 * 14 + 1, pfn + 1)
    machine.words("percpu")[[1 * SET_ROW, 2 * SET_ROW]] += [-1, 1]
    found(machine, f"{ZONE}, list CPU 0 order 0 Movable, PFN 1, zone must be Normal of node 0, not DMA32")


def test_a_free_counter_that_is_off(machine):
    machine.words("drift")[2 * 2] += 1
    found(machine, f"{ZONE}, NR_FREE_PAGES must be 60, not 61")


def test_free_pages_of_cma(machine):
    machine.words("zone_rows")[2 * 24 + 13] = 4
    found(machine, f"{ZONE}, NR_FREE_CMA_PAGES must be 0, not 4")


def test_a_pageblock_that_was_retyped_behind_its_zone(machine):
    machine.words("pageblocks")[3] = HIGHATOMIC
    found(machine, f"{ZONE}, special pageblocks must be 1, not 0")
    machine.words("zone_rows")[2 * 24 + 8] = 1
    machine.check()
    machine.words("zone_rows")[2 * 24 + 7] = 1
    found(machine, f"{ZONE}, isolated pageblocks must be 0, not 1")


def test_a_type_that_there_is_not(machine):
    machine.words("pageblocks")[3] = 6
    found(machine, "PFN 24, pageblock type must be between -1 and 5, not 6")


def test_pageblocks_that_zones_share_may_be_counted_by_either():
    machine = small(64, zones=[Zone("DMA32", 0, 20), Zone("Normal", 20, 64)])
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(20, 2, HIGHATOMIC)
    machine.check()
    blocks.set_type(20, 2, 1)
    blocks.set_type(16, 1, HIGHATOMIC)
    machine.check()


def test_buddies_may_be_left_apart_from_a_pageblock_on(machine):
    small_one = small(64, start="reserved")
    for pfn in (0, 8):
        small_one.core.place(pfn, 3, 2 << LANE_SHIFT | 1)
    small_one.words("zone_rows")[2 * 24 + 5] = 16
    small_one.check()
    for pfn in (16, 20):
        small_one.core.place(pfn, 2, 2 << LANE_SHIFT | 1)
    small_one.words("zone_rows")[2 * 24 + 5] = 24
    found(
        small_one,
        f"{ZONE}, list order 2 Movable, PFN 16, buddy must be merged when both are free, not both it and PFN 20 free",
    )


def test_an_operation_that_meets_a_broken_list_says_what_check_finds(machine):
    machine.pages.allocator[32] = 0
    with pytest.raises(CorruptionError, match=f"^{ZONE}, list order 5 Movable, PFN 32, state must be free"):
        machine.alloc_pages(5, USER)


def test_names_of_lists(machine):
    names = [percpu_list_name(machine, 1, place) for place in (0, 4, 11, 12, 13)]
    assert names == [
        "CPU 1 order 0 Unmovable",
        "CPU 1 order 1 Movable",
        "CPU 1 order 3 Reclaimable",
        "CPU 1 order 3 not Movable",
        "CPU 1 order 3 Movable",
    ]
