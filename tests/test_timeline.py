"""The time line: at regular times, what the lists and counts say, and what the kernel would make of them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import PLACEMENTS, says, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, InvalidArgument, Zone, metrics
from structpage.core.words import TYPES
from structpage.replay import replay, resume, sample_times, slot_table
from structpage.request import Requests, requests

FRAMES, MAX_ORDER = 96, 4
ZONES = Zone("DMA", 0, 21), Zone("Normal", 21, 60), Zone("Normal", 60, FRAMES, node=1)


def fresh(placement="side-table"):
    return BuddyAllocator(FRAMES, placement, zones=ZONES, max_order=MAX_ORDER, engine="plain")


def mixed(rows, seed):
    """Requests of several types, so that no list is the only one of its order."""
    script = workload(rows, frames=FRAMES, max_order=MAX_ORDER, seed=seed, zone=10)
    types = np.random.default_rng(seed).integers(0, TYPES, rows)
    return Requests(*script.columns()[:4], np.where(script.kind == 1, types, 1), script.zone)


def listed(buddy):
    """Lengths of the free lists, walked one by one: zone by zone, by type and order."""
    return [
        [
            [
                len(buddy.free_list(order, zone=zone.name, node=zone.node, migratetype=mt))
                for order in range(MAX_ORDER + 1)
            ]
            for mt in range(TYPES)
        ]
        for zone in ZONES
    ]


@pytest.mark.parametrize("placement", PLACEMENTS)
@given(rows=st.integers(1, 60), every=st.integers(1, 25), seed=st.integers(0, 1 << 32))
def test_a_sample_is_what_the_lists_say_at_that_moment(placement, rows, every, seed):
    script = mixed(rows, seed)
    timeline = replay(fresh(placement), script, every=every).timeline
    assert timeline["request"].tolist() == [time for time in range(0, rows + 1, every) for _ in ZONES]
    stepped, where = fresh(placement), slot_table(script.slots)
    for row in range(rows + 1):
        if row % every == 0:
            here = timeline[timeline["request"] == row]
            assert here["free_blocks"].tolist() == listed(stepped)
            assert here["free_pages"].sum() == stepped.free_frames
        if row < rows:
            resume(stepped, script[row : row + 1], where, done=row)


def test_rows_name_the_zone_and_have_the_kernels_indices():
    timeline = replay(fresh(), mixed(200, 3), every=50).timeline
    assert timeline["zone"].tolist() == ["DMA", "Normal", "Normal"] * 5
    assert timeline["node"].tolist() == [0, 0, 1] * 5
    counts = timeline["free_blocks"].sum(axis=1)
    assert timeline["free_pages"].tolist() == metrics.free_pages(counts).tolist()
    assert timeline["unusable_index"].tolist() == metrics.unusable_index(counts).tolist()
    assert timeline["extfrag_index"].tolist() == metrics.extfrag_index(counts).tolist()
    assert len(np.unique(timeline["extfrag_index"])) > 2


def test_without_every_there_is_none():
    assert len(replay(fresh(), mixed(20, 1)).timeline) == 0
    with pytest.raises(InvalidArgument, match=says("every must be at least 0, not -1")):
        replay(fresh(), mixed(20, 1), every=-1)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(sum), every=st.integers(1, 20))
def test_a_replay_in_pieces_is_the_whole_replay(sizes, every):
    script = mixed(sum(sizes), 7)
    whole, subject, where, done, parts = fresh(), fresh(), slot_table(script.slots), 0, []
    expected = replay(whole, script, every=every)
    for size in sizes:
        parts.append(resume(subject, script[done : done + size], where, done=done, every=every))
        done += size
    assert np.concatenate([part.answers for part in parts]).tolist() == expected.answers.tolist()
    assert np.concatenate([part.timeline for part in parts]).tobytes() == expected.timeline.tobytes()


def test_when_samples_are_due():
    assert sample_times(3, 0, 7).tolist() == [0, 3, 6]
    assert sample_times(3, 6, 3).tolist() == [9]
    assert sample_times(3, 7, 1).tolist() == []
    assert sample_times(0, 0, 7).tolist() == sample_times(3, 0, 0).tolist() == []


def test_an_error_counts_from_the_first_of_all_requests():
    buddy, where = fresh(), slot_table(1)
    resume(buddy, requests([0], [0], [0]), where)
    with pytest.raises(ValueError, match="must be the head") as error:
        resume(buddy, requests([1, 1], [0, 0], [0, 0]), where, done=1)
    assert error.value.request == 2
