from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_archive import CAPTURE
from trace_text import PREFIX, capture_folder, read

from structpage.errors import InvalidArgument, TraceError
from structpage.gfp import zones_wanted
from structpage.request import ALLOC, FREE, RELEASE, SPLIT
from structpage.traces import read_capture, requests_from
from structpage.traces.held import held_frames

NAMES = ("ALLOC", "FREE", "SPLIT", "RELEASE")


def line(what, pfn, order):
    rest = " migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE" if what == "alloc" else ""
    return PREFIX + f"mm_page_{what}: page=1 pfn={pfn:#x} order={order}{rest}\n"


def trace(*steps):
    return read("".join(line(*step) for step in steps))


def rows(requests):
    columns = (requests.kind, requests.order, requests.slot, requests.offset)
    return [(NAMES[kind], *rest) for kind, *rest in zip(*(column.tolist() for column in columns), strict=True)]


def test_allocations_and_frees():
    found = requests_from(
        trace(("alloc", 8, 2), ("alloc", 1, 0), ("free", 8, 2), ("free_batched", 8, 2), ("alloc", 8, 3))
    )
    assert rows(found) == [("ALLOC", 2, 0, 0), ("ALLOC", 0, 1, 0), ("FREE", 2, 0, 0), ("ALLOC", 3, 2, 0)]
    assert found.event.tolist() == [0, 1, 2, 4]
    assert (found.slots, found.allocations, found.frees, found.memory_frames) == (3, 3, 1, 1024)
    assert found.migratetype.tolist() == [1] * 4
    assert found.zone.tolist() == [4] * 4
    assert repr(found) == "<TracedRequests: 3 allocations, 1 frees, 0 splits, 0 releases>"


def test_a_partial_free_splits_what_holds_the_part():
    found = requests_from(trace(("alloc", 8, 3), ("free", 12, 1), ("free", 9, 0), ("free", 12, 2)))
    assert rows(found) == [
        ("ALLOC", 3, 0, 0),
        ("SPLIT", 1, 0, 0),
        ("FREE", 1, 0, 4),
        ("SPLIT", 0, 0, 0),
        ("FREE", 0, 0, 1),
        ("FREE", 1, 0, 6),
    ]
    assert (found.foreign, found.splits) == (1, 2)


def test_an_oversized_free_frees_each_block_it_covers():
    found = requests_from(trace(("alloc", 8, 1), ("alloc", 11, 0), ("free", 8, 3)))
    assert rows(found)[2:] == [("FREE", 1, 0, 0), ("FREE", 0, 1, 0)]
    assert found.foreign == 2


@pytest.mark.parametrize("first", [("alloc", 8, 3), ("alloc", 10, 0), ("alloc", 10, 1)])
def test_a_free_that_was_not_traced_is_made_up(first):
    found = requests_from(trace(first, ("alloc", 10, 1), ("free", 10, 1)))
    assert rows(found)[1:] == [("FREE", first[2], 0, 0), ("ALLOC", 1, 1, 0), ("FREE", 1, 1, 0)]
    assert (found.reallocated, found.foreign) == (1, 0)


def test_foreign_failed_and_misaligned_are_counted():
    found = requests_from(trace(("free", 5, 0), ("alloc", 0, 0), ("alloc", 5, 1), ("free", 5, 1)))
    assert len(found) == 0
    assert (found.foreign, found.failed, found.misaligned) == (1, 1, 2)


def test_zones_from_flags():
    gfp = np.array([0xCC0, 0xCC1, 0xCC4, 0xCC8, 0xCC2, 0xCCA, 0x9], np.uint32)
    assert zones_wanted(gfp).tolist() == [2, 0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("limit", range(7))
def test_limit(limit):
    events = trace(("alloc", 8, 3), ("free", 12, 1), ("free", 9, 0), ("alloc", 16, 0), ("free", 16, 4))
    whole, part = rows(requests_from(events)), rows(requests_from(events, limit=limit))
    assert part == whole[: len(part)]
    assert sum(row[0] != "SPLIT" for row in part) == min(limit, 5)
    assert not part or part[-1][0] != "SPLIT"


def test_limit_is_no_negative_number():
    with pytest.raises(InvalidArgument, match=r"^limit must be at least 0, not -1$"):
        requests_from(trace(("free", 1, 0)), limit=-1)


def capture(*steps):
    return replace(CAPTURE, events=trace(*steps))


def test_held_frames_are_those_of_a_zone_on_no_list():
    free = {1030, 1031, 1032, 1033, *range(1536, 2048), *range(2048, 3072)}
    assert [pfn for pfn, held in enumerate(held_frames(CAPTURE.before)) if held] == sorted({*range(1024, 3072)} - free)


def test_a_free_of_held_frames_is_a_release():
    found = requests_from(capture(("free", 1026, 1), ("free", 1026, 0), ("free", 1028, 2), ("free", 1280, 1)))
    assert rows(found) == [("RELEASE", 1, -1, 1026), ("RELEASE", 1, -1, 1028), ("RELEASE", 1, -1, 1280)]
    assert (found.foreign, found.releases, found.memory_frames) == (2, 3, 3072)
    assert found.migratetype.tolist() == [0, 0, 0]
    assert found.zone.tolist() == [1, 1, 1]


def test_an_allocation_of_held_frames_releases_them_first():
    found = requests_from(capture(("alloc", 1028, 2), ("free", 1028, 2)))
    assert rows(found) == [("RELEASE", 1, -1, 1028), ("ALLOC", 2, 0, 0), ("FREE", 2, 0, 0)]
    assert found.reallocated == 1


def test_absurd_memory_is_refused():
    lists = {"nodes": [{"zones": [{"name": "X", "start_pfn": 0, "spanned": 1 << 40, "free_area": [], "pcp": []}]}]}
    with pytest.raises(
        TraceError, match=r"^memory of the capture must be of at most 1073741824 frames, not 1099511627776$"
    ):
        requests_from(replace(CAPTURE, before=lists))


class Model:
    """What the trace says, frame by frame: who owns it, as (head, order); and the frames held from before."""

    def __init__(self, held):
        self.owner = {}
        self.held = {pfn for pfn, byte in enumerate(held) if byte}

    def alloc(self, pfn, order):
        frames = range(pfn, pfn + (1 << order))
        for head, size in {self.owner[frame] for frame in frames if frame in self.owner}:
            for frame in range(head, head + (1 << size)):
                del self.owner[frame]
        self.held -= set(frames)
        self.owner |= dict.fromkeys(frames, (pfn, order))

    def free(self, pfn, order):
        frames = range(pfn, pfn + (1 << order))
        head, size = self.owner.get(pfn, (0, -1))
        if size > order:
            for frame in range(head, head + (1 << size)):
                self.owner[frame] = (frame >> order << order, order)
        for frame in frames:
            self.owner.pop(frame, None)
        self.held -= set(frames)


class Replayer:
    """What the requests say: exact blocks, at the PFNs that the kernel chose."""

    def __init__(self, held, events):
        self.blocks, self.first = {}, []
        self.held = {pfn for pfn, byte in enumerate(held) if byte}
        self.pfn = events.pfn.tolist()

    def run(self, kind, order, slot, offset, event):
        if kind == ALLOC:
            assert slot == len(self.first)
            assert offset == 0
            self.first.append(self.pfn[event])
            frames = set(range(self.pfn[event], self.pfn[event] + (1 << order)))
            assert not frames & self.live()
            self.blocks[self.pfn[event]] = order
        elif kind == RELEASE:
            frames = set(range(offset, offset + (1 << order)))
            assert slot == -1
            assert frames <= self.held
            self.held -= frames
        elif kind == FREE:
            assert self.blocks.pop(self.first[slot] + offset) == order
        else:
            assert kind == SPLIT
            head = self.first[slot] + offset
            size = self.blocks.pop(head)
            assert size > order
            self.blocks |= dict.fromkeys(range(head, head + (1 << size), 1 << order), order)

    def live(self):
        return {frame for head, order in self.blocks.items() for frame in range(head, head + (1 << order))} | self.held


steps = st.lists(
    st.tuples(st.sampled_from(["alloc", "free", "free"]), st.integers(0, 31), st.integers(0, 4)).map(
        lambda step: (step[0], step[1] >> step[2] << step[2], step[2])
    ),
    min_size=1,
    max_size=40,
)


def check(source, events, held):
    found = requests_from(source)
    model, replayer = Model(held), Replayer(held, events)
    table = list(zip(*(getattr(found, n).tolist() for n in ("kind", "order", "slot", "offset", "event")), strict=True))
    for event, (kind, pfn, order) in enumerate(
        zip(events.kind.tolist(), events.pfn.tolist(), events.order.tolist(), strict=True)
    ):
        if pfn >= 0:
            (model.alloc if kind == 0 else model.free)(pfn, order)
        for row in [row for row in table if row[4] == event]:
            replayer.run(*row)
        assert replayer.live() == set(model.owner) | model.held
        assert all(replayer.blocks[head] == order for head, order in model.owner.values())
    assert found.slots == len(replayer.first)
    assert found.failed == int((events.pfn < 0).sum())
    for name in ("kind", "order", "slot", "offset", "migratetype", "zone", "event"):
        column = getattr(found, name)
        assert (column.dtype, len(column)) == (np.int64, len(found))
    return found


@settings(max_examples=400, deadline=None)
@given(steps)
def test_requests_of_a_trace_follow_it_frame_by_frame(steps):
    events = trace(*steps)
    check(events, events, bytearray())


@settings(max_examples=400, deadline=None)
@given(steps, st.sets(st.integers(0, 31)))
def test_requests_of_a_capture_follow_it_frame_by_frame(steps, free):
    area = {"order": 0, "lists": {"Movable": sorted(free)}}
    zone = {"name": "DMA", "start_pfn": 1, "spanned": 30, "free_area": [area], "pcp": []}
    lists = {"nodes": [{"zones": [zone]}]}
    source = replace(CAPTURE, events=trace(*steps), before=lists)
    check(source, source.events, held_frames(lists))


def test_requests_of_a_recorded_capture():
    found = requests_from(read_capture(capture_folder("slab")))
    assert (found.allocations, found.failed, found.reallocated, found.misaligned) == (325, 0, 0, 0)
    assert found.frees + found.releases + found.foreign == 232
