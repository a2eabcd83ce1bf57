"""The probed engine: touches counted, against counts made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import PLACEMENTS, workload

from structpage import BuddyAllocator
from structpage.engines import ProbedEngine
from structpage.engines.probe import Counts


def test_a_hand_computed_case():
    engine = ProbedEngine(trace=True)
    words = np.zeros(32, np.uint64)
    buffer = engine.buffer("words", words)
    fill = engine.fill("words", words)
    engine.begin()
    buffer[0] = 5  # line 0
    assert buffer[7] + buffer[8] == 0  # lines 0 and 1
    engine.begin()
    fill.fill(16, 22, 2, -1)  # line 2, three times
    assert buffer[0] == 5  # line 0 again
    assert engine.counts() == engine.counts("words") == Counts(reads=3, writes=4, lines=3)
    assert engine.operations == 2
    assert engine.lines_per_operation == (2 + 2) / 2
    base = int(engine.address_trace["address"][0])
    assert (engine.address_trace["address"].astype(np.int64) - base).tolist() == [0, 56, 64, 128, 144, 160, 0]
    assert engine.address_trace["write"].tolist() == [True, False, False, True, True, True, False]
    assert words[[16, 17, 18]].tolist() == [(1 << 64) - 1, 0, (1 << 64) - 1]
    engine.reset()
    assert engine.counts() == Counts(0, 0, 0)
    assert (engine.operations, engine.lines_per_operation, len(engine.address_trace)) == (0, 0.0, 0)


def test_a_whole_allocation_and_free_of_a_single_frame():
    """One zone of one frame: the only block is unlinked and listed again."""
    buddy = BuddyAllocator(1, "side-table", max_order=0, engine="probed")
    engine = buddy.engine
    engine.reset()
    buddy.core.alloc(0, 1, 2, 0)
    link = engine.counts("link")
    # first: 1 read; remove: 2 reads, 2 writes.
    assert link == Counts(reads=3, writes=2, lines=len({0, 2 * (1 + (2 << 3 | 1)) >> 3}))
    assert engine.counts("nr_free") == Counts(reads=2, writes=1, lines=1)
    # words: the head verified, the two words written.
    assert engine.counts("words") == Counts(reads=1, writes=2, lines=1)
    engine.reset()
    buddy.core.free(0, 0, 1)
    # push_front or push_back: 1 read, 4 writes; nothing to merge at max_order 0.
    assert engine.counts("link") == Counts(reads=1, writes=4, lines=2)
    assert engine.counts("nr_free") == Counts(reads=1, writes=1, lines=1)
    assert engine.counts("words").writes == 2


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_free_pages_are_touched_by_in_page_alone(placement):
    buddy = BuddyAllocator(256, placement, engine="probed")
    buddy.replay(workload(300, frames=256))
    assert (buddy.engine.free_pages_touched > 0) is (placement == "in-page")
    assert "memory" not in buddy.engine.buffers or buddy.engine.buffers["memory"].base == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_trace_is_the_counts(placement):
    engine = ProbedEngine(trace=True)
    buddy = BuddyAllocator(128, placement, max_order=5, engine=engine)
    engine.reset()
    script = workload(200, frames=128)
    buddy.replay(script)
    trace, counts = engine.address_trace, engine.counts()
    assert len(trace) == counts.reads + counts.writes
    assert int(trace["write"].sum()) == counts.writes
    assert len(np.unique(trace["address"] >> np.uint64(6))) == counts.lines
    assert counts == Counts(*np.sum([engine.counts(name) for name in engine.buffers], axis=0).tolist())
    assert engine.operations == len(script)
    assert engine.lines_per_operation <= (counts.reads + counts.writes) / len(script)
    assert (trace["address"] % 8 == 0).all()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_operations_begin_where_they_say(placement):
    engine = ProbedEngine(trace=True)
    buddy = BuddyAllocator(128, placement, max_order=5, engine=engine)
    engine.reset()
    script = workload(60, frames=128)
    buddy.replay(script)
    starts, lines = engine.operation_starts, engine.address_trace["address"] >> np.uint64(6)
    assert len(starts) == len(script)
    assert starts[0] == 0
    distinct = [len(np.unique(part)) for part in np.split(lines, starts[1:])]
    assert sum(distinct) / len(script) == engine.lines_per_operation
    engine.reset()
    assert len(engine.operation_starts) == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_buffers_lie_one_after_another_from_a_line_of_their_own_on(placement):
    buddy = BuddyAllocator(100, placement, max_order=5, engine="probed")
    buffers = [buffer for name, buffer in buddy.engine.buffers.items() if name != "memory"]
    assert buffers[0].base == 1 << 46
    for one, other in itertools.pairwise(buffers):
        assert other.base % 64 == 0
        assert 0 <= other.base - (one.base + 8 * len(one)) < 64


def test_without_a_trace_there_is_none():
    buddy = BuddyAllocator(16, engine="probed")
    buddy.alloc()
    assert len(buddy.engine.address_trace) == 0
    assert len(buddy.engine.operation_starts) == 0
    assert buddy.engine.counts().reads


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_probe_sees_every_word_that_changed(placement):
    buddy = BuddyAllocator(128, placement, max_order=5, engine=ProbedEngine(trace=True))
    before = {name: words.copy() for name, words in buddy.buffers.items()}
    buddy.engine.reset()
    buddy.replay(workload(50, frames=128))
    trace = buddy.engine.address_trace
    written = set(trace["address"][trace["write"]].tolist())
    for name, words in buddy.buffers.items():
        base = buddy.engine.buffers[name].base
        changed = {base + 8 * int(index) for index in np.flatnonzero(words != before[name])}
        assert changed <= written
