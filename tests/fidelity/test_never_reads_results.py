"""What the kernel answered is not read to predict it: other answers, and other records, change no prediction."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_kernel import BLOCK, GFPS, kernel

from structpage import OutOfMemory, Zone
from structpage.fidelity import replay_capture
from structpage.traces import open_workload

RESULTS = ("mm_page_alloc_zone_locked", "mm_page_pcpu_drain", "mm_page_alloc_extfrag")
PROBED_RESULTS = ("rmbulk", "pcpbulk", "steal", "mvblock", "setmt", "report")
FAR = 1 << 22
"""A frame above all memory: whatever is renamed gets a name from there on."""
SEEDS = st.integers(0, 10**6)
NODES = [Zone("Normal", 2 * BLOCK, 10 * BLOCK, 0), Zone("Normal", 16 * BLOCK, 24 * BLOCK, 1)]


@pytest.fixture(scope="module")
def prefix():
    capture = open_workload("mixed")
    return replace(capture, events=capture.events[:60_000])


def unguided(capture, **options):
    return replay_capture(capture, engine="plain", resynchronise=False, **options)


def names(frames, seed):
    """New names of frames: blocks of the highest order change places, so that what is aligned stays so."""
    order = np.random.default_rng(seed).permutation(-(-frames // 1024))
    frame = np.arange(len(order) * 1024)
    return FAR + order[frame >> 10] * 1024 + (frame & 1023)


def renamed(capture, new):
    """The capture with other names for what is allocated, there and where it is freed; what is older keeps its name."""
    events = capture.events
    kinds = {name: events.code(name) for name in ("mm_page_alloc", "mm_page_free", "mm_page_free_batched", "freeone")}
    pfns, details = events.pfn.copy(), {kind: table.copy() for kind, table in events.details.items()}
    direct = {int(row["event"]): row for row in details.get("freeone", ())}
    live, freed = np.zeros(len(new), bool), np.zeros(len(new), bool)
    order = np.maximum(events.order, 0).tolist()
    for row, (kind, pfn) in enumerate(zip(events.kind.tolist(), events.pfn.tolist(), strict=True)):
        frames = slice(pfn, pfn + (1 << order[row]))
        if kind == kinds["mm_page_alloc"] and pfn >= 0:
            live[frames] = True
            pfns[row] = new[pfn]
        elif kind == kinds["mm_page_free"]:
            freed[frames] = live[frames]
            live[frames] = False
            pfns[row] = new[pfn] if freed[pfn] else pfn
        elif kind == kinds["mm_page_free_batched"] and freed[pfn]:
            pfns[row] = new[pfn]
        elif row in direct and freed[direct[row]["pfn"]]:
            direct[row]["pfn"] = new[direct[row]["pfn"]]
    return replace(capture, events=replace(events, pfn=pfns, details=details))


def without(capture, kinds):
    """The capture without these events."""
    events = capture.events
    keep = ~np.isin(events.kind, [events.code(kind) for kind in kinds])
    place = np.cumsum(keep) - 1
    columns = {
        name: getattr(events, name)[keep]
        for name in ("kind", "time", "cpu", "pid", "context", "pfn", "order", "migratetype", "gfp")
    }
    details = {}
    for kind, table in events.details.items():
        if kind not in kinds:
            details[kind] = table.copy()
            details[kind]["event"] = place[table["event"]]
    return replace(capture, events=replace(events, **columns, details=details))


def garbled(capture, seed, kept=("change_ownership",)):
    """The capture with random numbers in all that it says of results."""
    events, rng = capture.events, np.random.default_rng(seed)
    pfns, order, mt = events.pfn.copy(), events.order.copy(), events.migratetype.copy()
    mine = np.isin(events.kind, [events.code(kind) for kind in RESULTS])
    pfns[mine] = rng.integers(1, 4000, mine.sum())
    order[mine], mt[mine] = rng.integers(0, 10, mine.sum()), rng.integers(0, 3, mine.sum())
    details = dict(events.details)
    for kind in (*RESULTS, *PROBED_RESULTS):
        if kind in details:
            details[kind] = table = details[kind].copy()
            for name in set(table.dtype.names) - {"event", "where", *kept}:
                table[name] = rng.integers(0, 10, len(table))
    return replace(capture, events=replace(events, pfn=pfns, order=order, migratetype=mt, details=details))


def flipped(capture):
    """The capture with the opposite of whether each fallback retyped its pageblock."""
    details = dict(capture.events.details)
    details["mm_page_alloc_extfrag"] = table = details["mm_page_alloc_extfrag"].copy()
    table["change_ownership"] ^= 1
    return replace(capture, events=replace(capture.events, details=details))


def stealing(seed):
    """A capture with fallbacks, of which some hang on what the frames of a pageblock are in use for."""
    recorder = kernel(seed, zones=[Zone("Normal", BLOCK, 4 * BLOCK)], watermarks=False, warm=0)
    rng = recorder.rng
    with contextlib.suppress(OutOfMemory):
        while True:
            recorder.alloc(rng.choice((0, 1, 2, 3)), rng.choice(("GFP_HIGHUSER_MOVABLE", *GFPS[:3])))
    for pfn in rng.sample(list(recorder.live), len(recorder.live) * 3 // 4):
        recorder.free(pfn)
    for _ in range(100):
        recorder.act(orders=(0, 0, 0, 1, 2, 3, 5))
    return recorder.capture()


def on_two_nodes(seed):
    recorder = kernel(seed, zones=NODES, cpus=2, watermarks=False, warm=0, holes=False)
    for _ in range(150):
        cpu = recorder.rng.randrange(2)
        recorder.act_openly(cpu, node=recorder.rng.randrange(2), gfps=[f"{gfp}|__GFP_THISNODE" for gfp in GFPS[:4]])
    return recorder.capture()


# Answers


@pytest.mark.parametrize("requests", ["hints", "kmem"])
def test_other_names_of_the_same_frames_change_nothing(prefix, requests):
    new = names(1 << 21, seed=1)
    plain, other = (unguided(one, requests=requests) for one in (prefix, renamed(prefix, new)))
    assert (other.predictions == plain.predictions).all()
    assert (plain.followed.made == other.followed.made).all()
    assert other.as_dict()["exact"] == 0
    assert (other.asked.rows.expected[other.asked.rows.expected >= 0] >= FAR).all()
    if requests == "hints":
        assert plain.exact.all()


@given(seed=SEEDS)
def test_other_names_change_nothing_of_any_kernel(seed):
    capture = stealing(seed)
    plain, other = unguided(capture), unguided(renamed(capture, names(8192, seed)))
    assert (other.predictions == plain.predictions).all()
    assert other.as_dict()["exact"] == 0
    assert other.as_dict()["removals"] == plain.as_dict()["removals"]


# Records


@pytest.mark.parametrize("requests", ["hints", "kmem"])
def test_without_any_record_the_predictions_are_the_same(prefix, requests):
    plain, other = (unguided(one, requests=requests) for one in (prefix, without(prefix, {*RESULTS, *PROBED_RESULTS})))
    assert (other.predictions == plain.predictions).all()
    assert plain.as_dict()["removals"]["total"] > 5000
    assert other.as_dict()["removals"] == {"total": 0, "exact": 0}


def test_records_of_something_else_change_no_prediction(prefix):
    plain, other = unguided(prefix), unguided(garbled(prefix, 1))
    assert (other.predictions == plain.predictions).all()
    assert other.exact.all()
    total = plain.as_dict()["removals"]["total"]
    assert plain.as_dict()["removals"] == {"total": total, "exact": total}
    assert other.as_dict()["removals"]["total"] == total
    assert other.as_dict()["removals"]["exact"] < total // 100


@given(seed=SEEDS)
def test_of_a_fallback_nothing_but_the_retyping_is_read(seed):
    capture = stealing(seed)
    plain, other = unguided(capture), unguided(garbled(capture, seed))
    assert (other.predictions == plain.predictions).all()
    assert other.as_dict()["hints_used"] == plain.as_dict()["hints_used"]


def test_whether_a_theft_retyped_its_pageblock_is_read_and_counted():
    captures = [stealing(seed) for seed in range(12)]
    plain = [unguided(capture) for capture in captures]
    used = [result.as_dict()["hints_used"].get("retype", 0) for result in plain]
    assert sum(used) > 0
    assert all(result.exact.all() for result in plain)
    changed = 0
    for capture, result, count in zip(captures, plain, used, strict=True):
        other = unguided(flipped(capture)) if "mm_page_alloc_extfrag" in capture.events.details else result
        same = (other.predictions == result.predictions).all()
        assert same or count
        changed += not same
    assert changed > 0


# The node


@given(seed=SEEDS)
def test_of_an_answer_nothing_but_its_node_is_read(seed):
    """All frames are free at first, so that any can have the name of any other of its node."""
    capture = on_two_nodes(seed)
    new = np.arange(NODES[-1].end)
    for zone in NODES:
        blocks = new[zone.start : zone.end].reshape(-1, 1024)
        blocks[:] = np.roll(blocks, 1 + seed % (len(blocks) - 1), axis=0)
    plain, other = unguided(capture), unguided(renamed(capture, new))
    assert (other.predictions == plain.predictions).all()
    assert other.as_dict()["exact"] < len(other.predictions) // 4
    assert other.as_dict()["hints_used"]["node"] == len(other.predictions)


def test_the_node_of_the_answer_is_read():
    """A name of the other node is another request."""
    capture = on_two_nodes(1)
    new = np.arange(NODES[-1].end)
    one, other = (new[zone.start : zone.end].copy() for zone in NODES)
    new[one], new[other] = other, one
    plain, swapped = unguided(capture), unguided(renamed(capture, new))
    rows = np.flatnonzero(plain.asked.rows.expected >= 0)
    assert set(plain.asked.rows.arg[rows].tolist()) == {0, 1}
    assert len(swapped.predictions) == len(plain.predictions)
    assert (swapped.predictions // NODES[1].start != plain.predictions // NODES[1].start).all()
