"""A script in chunks against the script as a whole: the same answers, words, time line and errors."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers import PLACEMENTS, says, state, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator
from structpage.errors import InvalidArgument, InvalidFree
from structpage.request import ALLOC, FREE, requests
from structpage.streaming import replay_stream
from structpage.testing.strategies import requests as scripts
from structpage.traces import open_workload, requests_from, stream_requests


def chunks_of(script, sizes):
    start = 0
    for size in sizes:
        yield script[start : start + size]
        start += size
    yield script[start:]


@pytest.mark.parametrize("placement", PLACEMENTS)
@given(
    script=scripts(),
    frames=st.integers(32, 80),
    sizes=st.lists(st.integers(0, 9), max_size=12),
    every=st.integers(0, 5),
)
def test_chunks_of_a_script_are_the_script(placement, script, frames, sizes, every):
    whole, parts = (BuddyAllocator(frames, placement, max_order=6, engine="plain") for _ in range(2))
    expected = whole.replay(script, every=every)
    found = list(replay_stream(parts, chunks_of(script, sizes), every=every))
    assert [answer for part in found for answer in part.answers.tolist()] == expected.answers.tolist()
    assert b"".join(part.timeline.tobytes() for part in found) == expected.timeline.tobytes()
    assert state(parts) == state(whole)


@pytest.mark.parametrize("size", [100, 1999, 60_000])
def test_compiled_chunks_are_the_plain_script(size):
    pytest.importorskip("numba")
    script = workload(4000, frames=512)
    whole, parts = BuddyAllocator(512, engine="plain"), BuddyAllocator(512, engine="compiled")
    found = list(replay_stream(parts, chunks_of(script, [size] * (len(script) // size))))
    assert np.concatenate([part.answers for part in found]).tolist() == whole.replay(script).answers.tolist()
    assert state(parts) == state(whole)


@pytest.mark.parametrize("at_once", [50, 3000])
def test_a_streamed_trace_is_the_trace(at_once):
    events = open_workload("mixed").events[20_000:30_000]
    traced = requests_from(events, engine="plain")
    whole, parts = (BuddyAllocator(traced.memory_frames, engine="plain") for _ in range(2))
    expected = whole.replay(traced.of_type(1))
    chunks = (chunk.of_type(1) for chunk in stream_requests(events, at_once=at_once, engine="plain"))
    found = list(replay_stream(parts, chunks))
    assert np.concatenate([part.pfns for part in found]).tolist() == expected.pfns.tolist()
    assert sum(part.failures for part in found) == expected.failures
    assert max(part.requests.slots for part in found) < traced.slots
    assert state(parts) == state(whole)


def test_a_chunk_is_asked_for_when_the_one_before_was_run():
    buddy = BuddyAllocator(8, engine="plain")
    script = requests([ALLOC, ALLOC, FREE], 0, [0, 1, 0])
    free = []

    def chunks():
        for row in range(3):
            free.append(buddy.free_frames)
            yield script[row : row + 1]

    stream = replay_stream(buddy, chunks())
    assert free == []
    assert next(stream).answers.tolist() == [0]
    assert free == [8]
    assert [part.answers.tolist() for part in stream] == [[1], [0]]
    assert free == [8, 7, 6]


def test_an_error_tells_the_row_from_the_first_of_all():
    buddy = BuddyAllocator(8, engine="plain")
    script = requests([ALLOC, ALLOC, FREE, FREE, ALLOC], 0, [0, 1, 0, 0, 2])
    stream = replay_stream(buddy, [script[:2], script[2:]])
    next(stream)
    with pytest.raises(InvalidFree) as caught:
        next(stream)
    assert caught.value.request == 3
    assert caught.value.__notes__ == ["request 3: FREE order 0 slot 0 offset 0"]
    assert buddy.free_frames == 7


@pytest.mark.parametrize("slot", [3, 1 << 50, -1])
def test_a_slot_that_nobody_can_have_named(slot):
    script = requests([ALLOC, FREE, ALLOC], 0, [0, slot, 1])
    with pytest.raises(InvalidArgument, match=rf"^slot of request 1 must be between 0 and [12], not {slot}$"):
        list(replay_stream(BuddyAllocator(8), [script]))


def test_every_is_no_negative_number():
    with pytest.raises(InvalidArgument, match=says("every must be at least 0, not -1")):
        replay_stream(BuddyAllocator(8), [], every=-1)


def peak(buddy, chunks):
    """Most bytes in use while so many chunks are run, beyond those in use before."""
    script = requests([ALLOC, FREE] * 250, 0, np.repeat(np.arange(250), 2))
    tracemalloc.start()
    try:
        rows = sum(len(part.answers) for part in replay_stream(buddy, (script[:] for _ in range(chunks))))
        return rows, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_chunks():
    buddy = BuddyAllocator(64, engine="plain")
    peak(buddy, 1)
    (few, small), (many, large) = peak(buddy, 8), peak(buddy, 32)
    assert (few, many) == (4000, 16_000)
    assert large < small + 2 * (many - few)  # an answer takes 8 bytes
