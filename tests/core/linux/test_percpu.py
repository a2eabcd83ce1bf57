"""Per-CPU lists: refills, drains and their amounts, by hand. Pageblocks of 8 frames, batch 4, high 16."""

from __future__ import annotations

import pytest
from machine_helpers import free_lists, small

from structpage.core.linux.percpu import SET_ROW
from structpage.core.words import ISOLATE, MOVABLE, UNMOVABLE

USER = "GFP_HIGHUSER_MOVABLE"


def waiting(machine, cpu=0):
    """The CPU's lists that have something, by their place."""
    return {place: pfns for place, pfns in enumerate(machine.percpu_lists(cpu)) if pfns}


def drained(machine):
    events = machine.events()
    return events["pfn"][events["kind"] == "mm_page_pcpu_drain"].tolist()


def factor(machine):
    return int(machine.percpu_table["free_factor"][0])


def test_an_empty_list_is_refilled_and_gives_its_head():
    machine = small()
    assert machine.alloc_pages(0, USER) == 0
    assert waiting(machine) == {1: [1, 2, 3]}
    events = machine.events()
    assert set(events["kind"].tolist()) == {"mm_page_alloc_zone_locked"}
    assert events["pfn"].tolist() == [0, 1, 2, 3]
    assert [machine.alloc_pages(0, USER) for _ in range(3)] == [1, 2, 3]
    assert len(machine.events()) == 0
    assert machine.alloc_pages(0, USER) == 4


@pytest.mark.parametrize(("order", "blocks"), [(0, 4), (1, 2), (2, 2), (3, 2)])
def test_refills_by_order(order, blocks):
    machine = small()
    machine.alloc_pages(order, USER)
    assert waiting(machine) == {3 * order + MOVABLE: [i << order for i in range(1, blocks)]}
    assert machine.percpu_table["count"] == (blocks - 1) << order


@pytest.mark.parametrize("order", [4, 5])
def test_large_blocks_do_not_wait(order):
    machine = small()
    pfn = machine.alloc_pages(order, USER)
    machine.free_pages(pfn)
    assert waiting(machine) == {}


def test_huge_pages_have_two_lists():
    machine = small(256, max_order=6, pageblock_order=5, high=200)
    huge, other = machine.alloc_pages(5, USER), machine.alloc_pages(5)
    assert waiting(machine) == {13: [32], 12: [96]}
    assert (huge, other) == (0, 64)
    machine.free_pages(other)
    assert waiting(machine)[12] == [64, 96]


def test_each_cpu_and_zone_has_lists_of_its_own():
    machine = small(cpus=2)
    assert (machine.alloc_pages(0, USER, 0), machine.alloc_pages(0, USER, 1)) == (0, 4)
    machine.free_pages(0, cpu=1)
    assert (waiting(machine, 0), waiting(machine, 1)) == ({1: [1, 2, 3]}, {1: [0, 5, 6, 7]})


def test_the_last_freed_comes_first():
    machine = small()
    pfns = [machine.alloc_pages(0, USER) for _ in range(4)]
    for pfn in pfns:
        machine.free_pages(pfn)
    assert [machine.alloc_pages(0, USER) for _ in range(4)] == pfns[::-1]


def test_the_type_is_that_of_the_pageblock_when_it_was_freed():
    machine = small()
    kernel = machine.alloc_pages()
    assert machine.pageblock_types.tolist()[:4] == [UNMOVABLE] * 4  # all of the stolen block
    machine.machine.percpu.zone_lists.blocks.set_type(kernel, 2, MOVABLE)
    machine.free_pages(kernel)
    assert waiting(machine)[1] == [kernel]
    machine.machine.percpu.zone_lists.blocks.set_type(kernel, 2, UNMOVABLE)
    machine.drain()
    assert machine.events()[["pfn", "migratetype"]].tolist()[-1] == (kernel, MOVABLE)


def test_a_full_set_is_drained_from_the_tail_by_a_batch():
    machine = small(high=8)
    pfns = [machine.alloc_pages(0, USER) for _ in range(8)]
    for pfn in pfns[:7]:
        machine.free_pages(pfn)
        assert drained(machine) == []
    machine.free_pages(pfns[7])
    assert drained(machine) == [0, 1, 2, 3]
    assert waiting(machine) == {1: [7, 6, 5, 4]}


def test_drains_in_a_row_double_up_to_all_but_a_batch():
    machine = small(256, high=40)
    machine.set_zone("Normal", batch=4)
    pfns = [machine.alloc_pages(0, USER) for _ in range(160)]
    machine.drain()
    amounts = []
    for pfn in pfns:
        machine.free_pages(pfn)
        if len(drained(machine)):
            amounts.append(len(drained(machine)))
    assert amounts == [4, 8, 16, 32, 36, 36]
    assert factor(machine) == 4  # 64 is more than all but a batch


def test_an_allocation_halves_the_factor():
    machine = small(256, high=40)
    pfns = [machine.alloc_pages(0, USER) for _ in range(120)]
    for pfn in pfns[:80]:
        machine.free_pages(pfn)
    before = factor(machine)
    machine.alloc_pages(0, USER)
    assert (before > 0, factor(machine)) == (True, before >> 1)


def test_a_block_freed_after_a_drain_drains_all():
    machine = small(256, high=8)
    pair = machine.alloc_pages(1, USER)
    pfns = [machine.alloc_pages(0, USER) for _ in range(20)]
    machine.free_pages(pair)
    assert factor(machine) == 0
    assert waiting(machine)[4] == [pair, 2]
    for pfn in pfns[:16]:
        machine.free_pages(pfn)
    assert factor(machine) == 0  # batch 4 is all but a batch of 8
    machine.set_zone("Normal", pcp_high=16)
    for pfn in pfns[16:]:
        machine.free_pages(pfn)
    last = machine.alloc_pages(1, USER)
    machine.words("percpu").reshape(-1, SET_ROW)[2, 3] = 1
    machine.free_pages(last)
    assert waiting(machine) == {}
    assert machine.percpu_table["count"] == 0


def test_a_drain_starts_at_the_list_that_was_freed_to_and_goes_round():
    machine = small(256, high=100)
    pfns = {place: [] for place in (0, 1, 2, 4)}
    for gfp, place, order in ((USER, 1, 0), ("GFP_KERNEL", 0, 0), ("GFP_KERNEL|__GFP_RECLAIMABLE", 2, 0), (USER, 4, 1)):
        pfns[place] = [machine.alloc_pages(order, gfp) for _ in range(2)]
    machine.drain()
    for place in pfns:
        for pfn in pfns[place]:
            machine.free_pages(pfn)
    assert waiting(machine) == {place: found[::-1] for place, found in pfns.items()}
    machine.set_zone("Normal", batch=7, pcp_high=14)
    extra = machine.alloc_pages(0, "GFP_KERNEL|__GFP_RECLAIMABLE")
    machine.words("percpu").reshape(-1, SET_ROW)[2, 3] = 0
    machine.set_zone("Normal", pcp_high=10)
    machine.set_zone("Normal", batch=3)
    machine.words("percpu").reshape(-1, SET_ROW)[2, 3] = 1
    machine.free_pages(extra)
    # Six frames: those of list 2, oldest first, then list 4, which has pairs.
    assert drained(machine) == [pfns[2][0], extra, *pfns[4]]


def test_kswapd_keeps_lists_short():
    machine = small(256, high=100)
    pfns = [machine.alloc_pages(0, USER) for _ in range(40)]
    with machine.balance():
        for pfn in pfns:
            machine.free_pages(pfn)
            assert machine.percpu_table["count"] < 16
    assert machine.percpu_table["count"] > 0


def test_what_is_isolated_meanwhile_goes_to_the_isolated_lists():
    machine = small()
    pfn = machine.alloc_pages(0, USER)
    machine.free_pages(pfn)
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(0, 2, ISOLATE)
    moved = blocks.move_block(0, 2, ISOLATE)
    blocks.zones.add_free(2, 0, -moved, MOVABLE)
    machine.drain()
    assert free_lists(machine)[3, ISOLATE] == [0]
    machine.check()


def test_frames_of_isolated_pageblocks_do_not_wait():
    machine = small()
    pfn = machine.alloc_pages(0, USER)
    machine.drain()
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(0, 2, ISOLATE)
    moved = blocks.move_block(0, 2, ISOLATE)
    blocks.zones.add_free(2, 0, -moved, MOVABLE)
    machine.free_pages(pfn)
    assert waiting(machine) == {}
    assert free_lists(machine)[3, ISOLATE] == [0]
    machine.check()


def test_the_types_of_a_list_are_recorded_before_any_is_put_anywhere():
    """What the first frames' drain does to pageblocks is too late for the last ones."""
    machine = small(high=8)
    pfns = [machine.alloc_pages(0, USER) for _ in range(10)]
    machine.drain()
    machine.free_pages_list(pfns)
    assert waiting(machine) == {1: [9, 8, 7, 6, 5, 4]}
    assert drained(machine) == [0, 1, 2, 3]
    machine.check()


def test_a_drain_by_another_cpu_is_counted_there():
    machine = small(cpus=2, threshold=50)
    pfns = [machine.alloc_pages(0, USER) for _ in range(4)]
    machine.fold()
    machine.free_pages_list(pfns)
    machine.drain(0, caller=1)
    assert machine.percpu_table["drift"].tolist() == [0, 4]
