"""Captures that do not tell all: after a miss the machine is the kernel again, and later requests are predicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_helpers import free_lists
from recorded_kernel import GFPS, kernel

from structpage.core.linux import script
from structpage.core.linux.compaction import rotate_to
from structpage.core.linux.tracepoints import (
    CHANGED_AT,
    FELL_BACK,
    FOUND_ORDER_AT,
    FOUND_TYPE_AT,
    ORDER_AT,
    REMOVED,
    TYPE_AT,
)
from structpage.core.words import TAGS
from structpage.fidelity import follow, replay_capture
from structpage.fidelity.resync import Resync

SEEDS = st.integers(0, 10**6)


def hidden_bulk(recorder):
    """Frames leave the per-CPU lists, and perhaps a refill was made for them, without a line."""
    recorder.quiet = True
    recorder.bulk(recorder.rng.randint(2, 9), recorder.rng.choice(GFPS))
    recorder.quiet = False


def turned_list(recorder):
    """A list begins with another of its blocks."""
    machine = recorder.machine
    lists = [
        (order, mt, pfns)
        for zone in machine.zones
        for (order, mt), pfns in free_lists(machine, zone.name).items()
        if len(pfns) > 1
    ]
    if lists:
        order, mt, pfns = recorder.rng.choice(lists)
        assert rotate_to(machine.machine, recorder.rng.choice(pfns[1:]), order, mt) == 0


def hidden_isolation(recorder):
    """A free block is taken by its address, and later freed by somebody who has it.

    Half a pageblock or more would be retyped by it, which nothing tells.
    """
    machine = recorder.machine
    recorder.quiet = True
    blocks = [
        (pfn, order)
        for zone in machine.zones
        for (order, _), pfns in free_lists(machine, zone.name).items()
        for pfn in pfns
        if order < 8
    ]
    pfn, order = recorder.rng.choice(blocks)
    if recorder.isolate(pfn) >= 0:
        recorder.live[pfn] = order
    recorder.quiet = False


def untold_drain(recorder):
    """A drain of which only the drained pages are told, so that they are put down to the free before it."""
    recorder.free(recorder.alloc(0, "GFP_KERNEL"))
    begun = len(recorder.lines)
    recorder.drain(recorder.rng.choice(recorder.machine.zones))
    del recorder.lines[begun]


FOUND = (turned_list, hidden_isolation, untold_drain)
DAMAGES = (hidden_bulk, *FOUND)


def free_frames(machine):
    """The free frames of each zone."""
    return {
        zone: sorted(
            frame
            for (order, _), pfns in free_lists(machine, zone.name, zone.node).items()
            for pfn in pfns
            for frame in range(pfn, pfn + (1 << order))
        )
        for zone in machine.zones
    }


def waiting(machine):
    return [machine.percpu_lists(cpu, z.name, z.node) for z in machine.zones for cpu in range(machine.cpus)]


def damaged(seed, damage):
    """A recorder that did something no line tells, went on until its lists had been used again, and freed all."""
    recorder = kernel(seed, watermarks=damage is not turned_list)
    for _ in range(80):
        recorder.act()
    damage(recorder)
    for _ in range(250):
        recorder.act()
    for pfn in list(recorder.live):
        recorder.free(pfn)
    return recorder


@given(seed=SEEDS, damage=st.sampled_from(FOUND))
def test_after_a_miss_the_machine_is_the_kernel_again(seed, damage):
    the_same_after(seed, damage)


@pytest.mark.parametrize("seed", range(12))
def test_after_a_bulk_that_no_line_tells_too(seed):
    """But for one run in a few hundred, in which a block of which nothing is told waits at a CPU to the end."""
    the_same_after(seed, hidden_bulk)


def the_same_after(seed, damage):
    recorder = damaged(seed, damage)
    result = replay_capture(recorder.capture(), engine="plain")
    assert waiting(result.machine) == waiting(recorder.machine)
    assert free_frames(result.machine) == free_frames(recorder.machine)
    result.machine.check()


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_noticed(damage):
    results = [replay_capture(damaged(seed, damage).capture(), engine="plain") for seed in range(6)]
    wrong = sum(np.count_nonzero(~result.exact) for result in results)
    assert any(result.followed.misses for result in results)
    assert wrong <= sum(len(result.exact) for result in results) // 20
    for result in results:
        assert len(result.followed.misses) == result.as_dict()["repairs"]
        assert len(result.followed.stories) in ((1, 2) if result.followed.misses else (0,))


@given(seed=SEEDS, damage=st.sampled_from(DAMAGES))
def test_every_single_repair_leaves_a_sound_machine(seed, damage):
    capture = damaged(seed, damage).capture()
    act, repairs = Resync.act, []

    def checked(self, row, records, answer):
        act(self, row, records, answer)
        repairs.append(row)
        machines[0].check()

    machines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resync, "act", checked)
        patch.setattr(follow, "Resync", lambda machine, where: machines.append(machine) or Resync(machine, where))
        result = replay_capture(capture, engine="plain")
    assert len(repairs) == result.as_dict()["repairs"]


@given(seed=SEEDS)
def test_up_to_the_first_miss_resynchronising_changes_nothing(seed):
    capture = damaged(seed, hidden_bulk).capture()
    followed, left = (replay_capture(capture, engine="plain", resynchronise=again) for again in (True, False))
    assert left.followed.misses == left.followed.stories == []
    allocations = followed.asked.rows.kind == script.ALLOC
    until = np.searchsorted(np.flatnonzero(allocations), followed.followed.misses[:1] or [len(allocations)], "right")[0]
    assert (followed.predictions[:until] == left.predictions[:until]).all()


def test_after_a_miss_later_ones_are_predicted_anew():
    """What was hidden once is mostly missed for ever, if the machine is not put right."""
    wrong = {True: 0, False: 0}
    for seed in range(10):
        capture = damaged(seed, hidden_bulk).capture()
        for again in wrong:
            wrong[again] += np.count_nonzero(~replay_capture(capture, engine="plain", resynchronise=again).exact)
    assert 0 < wrong[True] < wrong[False] // 2


@given(seed=SEEDS)
def test_what_is_hidden_from_kmem_is_found_out(seed):
    """Everything at once: bulk allocations, drains, direct frees and folds are not told; the machine stays sound."""
    recorder = kernel(seed)
    for _ in range(200):
        recorder.act()
    result = replay_capture(recorder.capture(), requests="kmem", engine="plain")
    assert np.count_nonzero(~result.exact) <= len(result.exact) // 2
    assert set(result.as_dict()["hints_used"]) <= {"retype"}
    result.machine.check()


def test_what_is_right_of_a_wrong_refill_is_counted():
    recorder = kernel(2, watermarks=False, batch=6, high=100, warm=0)
    pfns = [recorder.alloc(0, "GFP_KERNEL") for _ in range(60)]
    for pfn in pfns[::2]:
        recorder.free_directly(pfn)
    recorder.drain(recorder.zone_of(pfns[0]))
    recorder.lines.clear()
    recorder.begin()
    recorder.alloc(0, "GFP_KERNEL")
    capture = recorder.capture()
    zone = next(zone for zone in capture.before["nodes"][0]["zones"] if zone["name"] == "Normal")
    singles = zone["free_area"][0]["lists"]["Unmovable"]
    singles[:2] = singles[1::-1]
    figures = replay_capture(capture, engine="plain").as_dict()
    assert (figures["exact"], figures["first_miss"], figures["repairs"]) == (0, 0, 1)
    assert figures["removals"] == {"total": 6, "exact": 4}


def waiting_frames():
    """A recorder whose CPU has some frames waiting, after a drain that raised its factor."""
    recorder = kernel(2, watermarks=False, batch=4, high=12, warm=0)
    pfns = [recorder.alloc(0, "GFP_KERNEL") for _ in range(30)]
    for pfn in pfns:
        recorder.free(pfn)
    recorder.begin()
    return recorder


def repaired(machine, records, answer):
    """Do an allocation of one frame as recorded; the CPU's lists of order 0 and its factor afterwards."""
    where = np.full(1, -1)
    Resync(machine, where.data).act((script.ALLOC, 0, 0, 0xCC0, 0, 0, 0), records, answer)
    machine.check()
    assert where[0] == answer
    assert machine.pages[answer].order == 0
    assert machine.pages.tag[answer] == TAGS["allocated"]
    return machine.percpu_lists(0, "Normal")[0]


def test_frames_before_the_one_that_was_given_were_taken_out_of_sight():
    machine = waiting_frames().machine
    first, second, third, *others = machine.percpu_lists(0, "Normal")[0]
    assert repaired(machine, [], third) == others
    assert [machine.pages.tag[pfn] for pfn in (first, second)] == [TAGS["allocated"]] * 2


def test_a_refill_found_its_list_empty():
    machine = waiting_frames().machine
    old = machine.percpu_lists(0, "Normal")[0]
    taken = next(pfns[0] for (order, _), pfns in free_lists(machine, "Normal").items() if order >= 2)
    records = [(pfn, REMOVED | 0 << ORDER_AT | 0 << TYPE_AT) for pfn in range(taken, taken + 4)]
    assert repaired(machine, records, taken) == [taken + 1, taken + 2, taken + 3]
    assert {int(machine.pages.tag[pfn]) for pfn in old} == {TAGS["allocated"]}


def test_a_theft_that_was_not_predicted_moves_its_pageblock():
    """Of a free block of order 4 or more all of the pageblock goes to the thief's lists."""
    machine = waiting_frames().machine
    found, pfn = next(
        (order, pfns[0]) for (order, mt), pfns in free_lists(machine, "Normal").items() if mt == 1 and 4 <= order < 9
    )
    stolen = FELL_BACK | found << FOUND_ORDER_AT | 1 << FOUND_TYPE_AT | 1 << CHANGED_AT
    repaired(machine, [(pfn, stolen), (pfn, REMOVED)], pfn)
    left = [one for (_, mt), pfns in free_lists(machine, "Normal").items() for one in pfns if mt == 1]
    assert not any(one >> 9 == pfn >> 9 for one in left)
    assert machine.pageblock_types[pfn >> 9] == 0


def test_an_allocation_that_is_repaired_halves_the_factor_as_any():
    machine = waiting_frames().machine
    row = next(row for row in machine.percpu_table if row["zone"] == "Normal")
    assert row["free_factor"] > 0
    repaired(machine, [], machine.percpu_lists(0, "Normal")[0][1])
    after = next(row for row in machine.percpu_table if row["zone"] == "Normal")
    assert after["free_factor"] == row["free_factor"] >> 1


@given(seed=SEEDS)
def test_where_only_a_list_was_turned_all_that_is_counted_stays_the_kernels(seed):
    recorder = damaged(seed, turned_list)
    result = replay_capture(recorder.capture(), engine="plain")
    assert result.machine.percpu_table.tolist() == recorder.machine.percpu_table.tolist()
