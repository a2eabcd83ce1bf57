"""The pairing loop against a model that recurses over halves, in every engine, and with the output full at any row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structpage.request import ALLOC, FREE, RELEASE, SPLIT
from structpage.traces.pairing import PageEvents, Pairing


class Model:
    """Live blocks in a dict, held frames in a set; `rows` are kind, order, slot, offset, migratetype, zone, event."""

    def __init__(self, held):
        self.held = set(held)
        self.live = {}  # head -> slot, order
        self.first, self.wanted = [], []  # of each slot
        self.rows = []
        self.foreign = self.failed = self.reallocated = self.misaligned = 0

    def run(self, event, kind, pfn, order, wanted):
        if pfn < 0:
            self.failed += 1
        elif pfn % (1 << order):
            self.misaligned += 1
        elif kind == ALLOC:
            self.make_way(pfn, order, event)
            self.live[pfn] = len(self.first), order
            self.rows.append((ALLOC, order, len(self.first), 0, *wanted, event))
            self.first.append(pfn)
            self.wanted.append(wanted)
        else:
            self.split(pfn, order, event)
            self.free(pfn, order, event)

    def cover(self, pfn, order):
        """The live block that is larger than the range, and holds it."""
        return next(
            (head for head, (_, size) in self.live.items() if size > order and head == pfn >> size << size), None
        )

    def make_way(self, pfn, order, event):
        before, foreign = len(self.rows), self.foreign
        whole = self.cover(pfn, order)
        self.free(*((pfn, order) if whole is None else (whole, self.live[whole][1])), event)
        self.reallocated += len(self.rows) - before
        self.foreign = foreign

    def split(self, pfn, order, event):
        whole = self.cover(pfn, order)
        if whole is not None:
            slot, size = self.live[whole]
            self.live |= dict.fromkeys(range(whole, whole + (1 << size), 1 << order), (slot, order))
            self.rows.append((SPLIT, order, slot, whole - self.first[slot], *self.wanted[slot], event))

    def free(self, pfn, order, event):
        frames = set(range(pfn, pfn + (1 << order)))
        if self.live.get(pfn, (0, -1))[1] == order:
            slot, _ = self.live.pop(pfn)
            self.rows.append((FREE, order, slot, pfn - self.first[slot], *self.wanted[slot], event))
        elif frames & self.live.keys() or (frames & self.held and not frames <= self.held):
            self.free(pfn, order - 1, event)
            self.free(pfn + (1 << order - 1), order - 1, event)
        elif frames <= self.held:
            self.held -= frames
            self.rows.append((RELEASE, order, -1, pfn, 0, 1, event))
        else:
            self.foreign += 1


def events_of(steps):
    kind, pfn, order, migratetype, gfp = zip(*steps, strict=True)
    return PageEvents(
        np.array(kind, np.uint8),
        np.array(pfn, np.int64),
        np.array(order, np.int8),
        np.array(migratetype, np.int8),
        np.array(gfp, np.uint32),
    )


def lists_of(held, frames):
    free = [pfn for pfn in range(frames) if pfn not in held]
    area = {"order": 0, "lists": {"Movable": free}}
    zone = {"name": "DMA", "idx": 1, "start_pfn": 0, "spanned": frames, "free_area": [area], "pcp": []}
    return {"nodes": [{"zones": [zone]}]}


def modelled(held, steps):
    model = Model(held)
    for event, (kind, pfn, order, migratetype, gfp) in enumerate(steps):
        if kind < 2:
            model.run(event, kind, pfn, order, (migratetype, 0 if gfp else 2))
    return model


def paired(pairing, parts):
    """The rows and the counters of all that a pairing gives."""
    rows, counters = [], np.zeros(4, np.int64)
    for part in pairing.requests(parts):
        rows += zip(*(column.tolist() for column in part.columns), strict=True)
        counters += part.counters
        assert len(part.columns[0]) <= pairing.at_once + 2
    return rows, counters.tolist()


FRAMES = 64


def step(kind, pfn, order, migratetype, gfp, aligned):
    return kind, pfn >> order << order if aligned and pfn > 0 else pfn, order, migratetype, gfp


steps = st.lists(
    st.builds(
        step,
        st.sampled_from([0, 1, 1, 2]),
        st.integers(-1, FRAMES - 1),
        st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6]),
        st.integers(-1, 5),
        st.integers(0, 1),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=60,
)
helds = st.one_of(st.just(frozenset()), st.frozensets(st.integers(0, FRAMES - 1), min_size=1))


def compare(steps, held, parts, **options):
    model = modelled(held, steps)
    rows, counters = paired(Pairing(lists_of(held, FRAMES) if held else None, **options), parts)
    assert rows == model.rows
    assert counters == [model.foreign, model.failed, model.reallocated, model.misaligned]


@settings(max_examples=200)
@given(steps, helds, st.integers(1, 70))
def test_requests_are_those_of_the_model(steps, held, at_once):
    compare(steps, held, [events_of(steps)], at_once=at_once, engine="plain")


@given(steps, helds, st.integers(0, 60))
def test_parts_of_a_trace_are_the_trace(steps, held, cut):
    parts = [events_of(part) for part in (steps[:cut], steps[cut:]) if part]
    compare(steps, held, parts, engine="plain")


@given(steps, helds)
def test_every_access_is_within_the_tables(steps, held):
    compare(steps, held, [events_of(steps)], at_once=7, engine="checked")


def long_script(rows, seed=3):
    rng = np.random.default_rng(seed)
    order = np.minimum(rng.geometric(0.6, rows) - 1, 6)
    pfn = rng.integers(0, FRAMES, rows) >> order << order
    columns = (rng.integers(0, 3, rows), pfn, order, rng.integers(0, 5, rows), rng.integers(0, 2, rows))
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("at_once", [3, 5000])
def test_compiled_requests_are_those_of_the_model(at_once):
    pytest.importorskip("numba")
    steps = long_script(4000)
    compare(steps, frozenset(range(3, 50)), [events_of(steps)], at_once=at_once, engine="compiled")


def names_of_live(rows):
    """Check that a slot names one allocation at a time, and return the most that were live at once."""
    left, most = {}, 0
    for kind, order, slot, *_ in rows:
        if kind == ALLOC:
            assert slot not in left
            left[slot] = 1 << order
            most = max(most, len(left))
        elif kind == FREE:
            left[slot] -= 1 << order
            if not left[slot]:
                del left[slot]
    return most


@given(steps, helds)
def test_recycled_slots_are_as_few_as_live_allocations(steps, held):
    lists = lists_of(held, FRAMES) if held else None
    rows, counters = paired(Pairing(lists, recycle=True, engine="plain"), [events_of(steps)])
    plain, same_counters = paired(Pairing(lists, engine="plain"), [events_of(steps)])
    assert counters == same_counters
    assert [row[:2] + row[3:] for row in rows] == [row[:2] + row[3:] for row in plain]
    assert max((row[2] for row in rows), default=-1) + 1 == names_of_live(rows) == names_of_live(plain)
    owner = {}  # recycled name -> the allocation's own, as both scripts have it
    for (kind, _, slot, *_), (_, _, own, *_) in zip(rows, plain, strict=True):
        if kind == ALLOC:
            owner[slot] = own
        elif kind != RELEASE:
            assert owner[slot] == own
