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
    """A free block is taken by its address, and later freed by somebody who has it."""
    machine = recorder.machine
    recorder.quiet = True
    blocks = [
        (pfn, order)
        for zone in machine.zones
        for (order, _), pfns in free_lists(machine, zone.name).items()
        for pfn in pfns
        if order < 9
    ]
    pfn, order = recorder.rng.choice(blocks)
    if recorder.isolate(pfn) >= 0:
        recorder.live[pfn] = order
    recorder.quiet = False


def untold_drain(recorder):
    """A drain of which only the drained pages are told, so that they are put down to a free before it."""
    recorder.drain(recorder.rng.choice(recorder.machine.zones))
    recorder.lines = [line for line in recorder.lines if "drainz:" not in line]


DAMAGES = (hidden_bulk, turned_list, hidden_isolation, untold_drain)


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
    """A recorder that did something no line tells, and then went on until its lists had been used again."""
    recorder = kernel(seed, watermarks=damage is not turned_list)
    for _ in range(80):
        recorder.act()
    damage(recorder)
    for _ in range(250):
        recorder.act()
    return recorder


@given(seed=SEEDS, damage=st.sampled_from(DAMAGES))
def test_after_a_miss_the_machine_is_the_kernel_again(seed, damage):
    recorder = damaged(seed, damage)
    result = replay_capture(recorder.capture(), engine="plain")
    assert waiting(result.machine) == waiting(recorder.machine)
    assert free_frames(result.machine) == free_frames(recorder.machine)
    assert np.count_nonzero(~result.exact) <= len(result.exact) // 5
    result.machine.check()


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_noticed(damage):
    results = [replay_capture(damaged(seed, damage).capture(), engine="plain") for seed in range(6)]
    assert any(result.followed.misses for result in results)
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
def test_a_miss_counts_itself_and_later_ones_are_predicted_anew(seed):
    """Without resynchronisation what was hidden once is missed for ever."""
    capture = damaged(seed, hidden_bulk).capture()
    followed = replay_capture(capture, engine="plain")
    left = replay_capture(capture, engine="plain", resynchronise=False)
    assert np.count_nonzero(followed.exact) >= np.count_nonzero(left.exact)
    assert left.followed.misses == left.followed.stories == []
    assert left.as_dict()["repairs"] == 0
    allocations = followed.asked.rows.kind == script.ALLOC
    until = np.searchsorted(np.flatnonzero(allocations), followed.followed.misses[:1] or [len(allocations)], "right")[0]
    assert (followed.predictions[:until] == left.predictions[:until]).all()


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
