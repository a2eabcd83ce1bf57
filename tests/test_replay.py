"""Scripts as arrays, calls one by one, and both engines: the same PFNs, the same words."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers import PLACEMENTS, says, state, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator
from structpage.core.script import ALLOC, FREE, RELEASE, SPLIT
from structpage.errors import CorruptionError, InvalidArgument, InvalidFree, OutOfMemory
from structpage.replay import replay
from structpage.request import requests
from structpage.testing import zone_from_picture
from structpage.testing.strategies import requests as scripts


def one_by_one(buddy, script):
    where, answers = {}, []
    for kind, order, slot, offset, mt, _ in zip(*(column.tolist() for column in script.columns()), strict=True):
        answer = 0
        if kind == ALLOC:
            try:
                where[slot] = answer = buddy.alloc(order, migratetype=mt)
            except OutOfMemory:
                answer = -1
        elif slot not in where:
            answer = -1
        elif kind == FREE:
            buddy.free(where[slot] + offset, order)
        else:
            buddy.ranges.split(where[slot] + offset, order)
        answers.append(answer)
    return answers


@pytest.mark.parametrize("placement", PLACEMENTS)
@given(script=scripts(), frames=st.integers(32, 80), stamp=st.sampled_from(("every", "head")))
def test_replay_calls_and_engines_agree(placement, script, frames, stamp):
    plain, single, probed = (
        BuddyAllocator(frames, placement, max_order=6, stamp=stamp, engine=engine)
        for engine in ("plain", "plain", "probed")
    )
    answers = plain.replay(script).answers.tolist()
    assert one_by_one(single, script) == answers
    assert probed.replay(script).answers.tolist() == answers
    assert state(plain) == state(single) == state(probed)
    plain.check()


def test_longer_than_a_chunk(monkeypatch):
    script = workload(500, frames=64)
    whole = BuddyAllocator(64, engine="plain").replay(script, every=10)
    monkeypatch.setattr("structpage.engines.plain.AT_ONCE", 7)
    cut = BuddyAllocator(64, engine="plain").replay(script, every=10)
    assert cut.answers.tolist() == whole.answers.tolist()
    assert cut.timeline.tobytes() == whole.timeline.tobytes()


def test_the_digest_is_over_little_endian_words():
    result = replay(BuddyAllocator(4), requests([ALLOC, ALLOC, FREE, ALLOC], [0, 5, 0, 1], [0, 1, 0, 2]))
    assert result.answers.tolist() == [0, -1, 0, 0]
    assert result.pfns.tolist() == [0, 0]
    assert result.pfns.dtype == np.uint64
    assert result.failures == 1
    assert result.pfn_digest == hashlib.sha256(bytes(16)).hexdigest()


def test_requests_are_columns():
    script = requests([ALLOC, FREE], 1, [0, 0])
    assert len(script) == 2
    assert script.slots == 1
    assert [column.tolist() for column in script.columns()] == [[0, 1], [1, 1], [0, 0], [0, 0], [1, 1], [2, 2]]
    assert script[1:].kind.tolist() == [FREE]
    assert requests([], [], []).slots == 0
    assert len(BuddyAllocator(4).replay(requests([], [], [])).answers) == 0
    with pytest.raises(InvalidArgument, match=says("columns must be of one length, not 2, 3, 1, 1, 1, 1")):
        requests([0, 0], [0, 0, 0], 0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([4], [0], [0]), "kind of request 0 must be between 0 and 3, not 4"),
        (([0, 0], [0, 4], [0, 1]), "order of request 1 must be between 0 and 3, not 4"),
        (([0], [-1], [0]), "order of request 0 must be between 0 and 3, not -1"),
        (([0], [0], [1]), "slot of request 0 must be between 0 and 0, not 1"),
        (([0], [0], [0], 0, 6), "migratetype of request 0 must be between 0 and 5, not 6"),
        (([3], [0], [0], 8), "offset of request 0 must be between 0 and 7, not 8"),
    ],
)
def test_a_row_that_no_allocator_could_run(columns, message):
    buddy = BuddyAllocator(8, max_order=3)
    before = state(buddy)
    with pytest.raises(InvalidArgument, match=says(message)):
        buddy.replay(requests(*columns))
    assert state(buddy) == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((FREE, 0, 0, 0), "order must be 1, as PFN 0 was allocated, not 0"),
        ((FREE, 1, 0, 1),
         "PFN 1 must be the head of an allocated block, not inside the allocated block of order 1 at PFN 0"),
        ((SPLIT, 2, 0, 2), "PFN 2 must be the head of an allocated block, not free, order 1"),
        ((RELEASE, 1, 0, 0), "range [0, 2) must be of reserved frames only, not PFN 0, allocated, order 1"),
    ],
)  # fmt: skip
def test_a_refused_row_is_named(row, message):
    buddy = BuddyAllocator(8, max_order=3)
    kinds, orders, slots, offsets = zip((ALLOC, 1, 0, 0), row, (ALLOC, 0, 1, 0), strict=True)
    with pytest.raises(InvalidFree) as caught:
        buddy.replay(requests(kinds, orders, slots, offsets))
    assert str(caught.value) == message
    assert caught.value.request == 1
    (note,) = caught.value.__notes__
    assert note.startswith(f"request 1: {('ALLOC', 'FREE', 'SPLIT', 'RELEASE')[row[0]]} order {row[1]} ")
    assert buddy.free_frames == 6


def test_a_corruption_is_named():
    buddy = zone_from_picture("........")
    buddy.pages.allocator[0] = 0
    with pytest.raises(CorruptionError) as caught:
        buddy.replay(requests([ALLOC], [0], [0]))
    assert caught.value.request == 0
    assert (caught.value.field, caught.value.pfn) == ("state", 0)
