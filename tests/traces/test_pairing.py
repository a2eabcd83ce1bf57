import numpy as np
import pytest
from helpers import says
from test_capture import LISTS
from test_trace_owners import events_of, paired

from structpage.errors import TraceError
from structpage.request import ALLOC, FREE
from structpage.traces.pairing import MAX_FRAMES, Pairing

LAST = MAX_FRAMES - 1


def pairs(*steps, **options):
    pairing = Pairing(None, engine="plain", **options)
    events = events_of([(kind, pfn, order, 1, 0) for kind, pfn, order in steps])
    return pairing, *paired(pairing, [events])


def test_the_last_frame_that_a_trace_may_tell_of():
    pairing, rows, _ = pairs((0, LAST, 0), (1, LAST, 0), (0, LAST - 1, 1))
    assert [row[0] for row in rows] == [ALLOC, FREE, ALLOC]
    assert pairing.memory_frames == MAX_FRAMES


@pytest.mark.parametrize(("pfn", "order"), [(MAX_FRAMES, 0), (0, 21), (0, 62), (0, 63), (1 << 40, 40), (1 << 51, 3)])
def test_a_block_beyond_all_memory_is_refused(pfn, order):
    rule = f"of order 20 at most and below {MAX_FRAMES:#x}"
    message = f"block of event 1 must be {rule}, not of order {order} at {pfn:#x}"
    with pytest.raises(TraceError, match=says(message)):
        pairs((0, 5, 0), (1, pfn, order))


def test_a_block_of_the_highest_order():
    pairing, rows, _ = pairs((0, 1 << 20, 20), (1, 1 << 20, 20))
    assert [row[:2] for row in rows] == [(ALLOC, 20), (FREE, 20)]
    assert pairing.memory_frames == 2 << 20


@pytest.mark.parametrize("order", [40, 62, 63])
def test_a_misaligned_block_of_absurd_order_is_skipped(order):
    pairing, rows, counters = pairs((0, 4, 1), (1, 4, order), (1, 5, 0), (0, -1, order))
    assert [(row[0], row[1]) for row in rows] == [(0, 1), (2, 0), (1, 0)]
    assert counters == [0, 1, 0, 1]
    assert pairing.memory_frames == 1024


@pytest.mark.parametrize("steps", [(1 << 24, 1 << 30, MAX_FRAMES), (1 << 10, 1 << 14, 1 << 20)])
def test_tables_grow_with_what_they_have_kept(monkeypatch, steps):
    monkeypatch.setattr("structpage.traces.pairing._STEPS", steps)
    count = 40
    events = [(0, pfn << 12, 0) for pfn in range(count)] + [(1, pfn << 12, 0) for pfn in range(count)]
    pairing, rows, counters = pairs(*events, at_once=8)
    assert [row[2] for row in rows] == [*range(count), *range(count)]
    assert counters == [0, 0, 0, 0]
    assert pairing.memory_frames == ((count - 1) << 12) + 1024


def test_a_limit_stops_before_the_event_after():
    steps = [(0, pfn, 0) for pfn in range(6)]
    pairing, rows, _ = pairs(*steps, limit=4, at_once=3)
    assert len(rows) == 4
    assert pairing.memory_frames == 1024


def test_memory_of_a_capture_ends_with_its_last_zone():
    assert Pairing(LISTS, engine="plain").memory_frames == 3072


def test_events_of_other_kinds_are_passed_over():
    events = events_of([(2, 1, 0, 0, 0), (0, 1, 0, 0, 0), (5, 1, 0, 0, 0), (1, 1, 0, 0, 0)])
    rows, _ = paired(Pairing(None, engine="plain"), [events, events])
    assert [row[6] for row in rows] == [1, 3, 5, 7]


def test_nothing_gives_nothing():
    assert paired(Pairing(None), []) == ([], [0, 0, 0, 0])
    assert paired(Pairing(None), [events_of([(2, 1, 0, 0, 0)])]) == ([], [0, 0, 0, 0])


def test_columns_are_int64_of_their_own():
    pairing = Pairing(None, engine="plain", at_once=2)
    chunks = list(pairing.requests([events_of([(0, 1, 0, 1, 0), (0, 2, 0, 1, 0), (1, 1, 0, 1, 0)])]))
    assert {column.dtype for chunk in chunks for column in chunk.columns} == {np.dtype(np.int64)}
    assert [chunk.columns[2].tolist() for chunk in chunks] == [[0, 1], [0]]
