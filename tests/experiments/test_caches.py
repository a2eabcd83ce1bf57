"""A hierarchy of caches: what goes in against a slow merge, what comes out against a small model of one."""

from __future__ import annotations

import sys
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest
from helpers import says, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, ProbedEngine
from structpage.errors import InvalidArgument, MissingExtra
from structpage.experiments.caches import HIERARCHY, OWNERS, CacheLevel, Touches, simulate, touches_of, validate
from structpage.request import ALLOC, FREE, SPLIT, requests

try:
    import cachesim.hierarchy as simulator
except ImportError:
    simulator = None
simulated = pytest.mark.skipif(simulator is None, reason="needs the extra cache")


def touches(lines, writes=None):
    count = len(lines)
    written = np.zeros(count, np.bool_) if writes is None else np.array(writes, np.bool_)
    return Touches(np.array(lines, np.int64), written, np.zeros(count, np.bool_), np.zeros(count, np.int64))


# From a trace to touches


def recorded(script, placement="in-page", frames=64):
    engine = ProbedEngine(trace=True)
    buddy = BuddyAllocator(frames, placement, max_order=5, engine=engine)
    engine.reset()
    replay = buddy.replay(script)
    return engine.address_trace, engine.operation_starts, replay


def merged(trace, starts, replay, owner):
    """The same as a list of tuples, request by request."""
    rows, where = [], {}
    ends = [*starts.tolist(), len(trace)]
    columns = [column.tolist() for column in replay.requests.columns()]
    for row, (kind, order, slot, offset, _, _) in enumerate(zip(*columns, strict=True)):
        if kind == FREE and owner == "fills-and-reads" and where[slot] >= 0:
            first = (where[slot] + offset) * 64
            rows += [(line, False, True, row) for line in range(first, first + (64 << order))]
        for address, write in trace[ends[row] : ends[row + 1]].tolist():
            rows.append((address // 64, write, False, row))
        if kind == ALLOC:
            pfn = where[slot] = replay.answers[row]
            if pfn >= 0 and owner != "idle":
                rows += [(line, True, True, row) for line in range(pfn * 64, (pfn + (1 << order)) * 64)]
    return rows


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("first", [0, 1, 41, 120])
def test_touches_are_the_trace_with_the_owners_in_between(owner, first):
    script = workload(120, frames=64)
    assert {ALLOC, FREE, SPLIT} == set(script.kind.tolist())
    run = recorded(script)
    assert (run[2].answers[script.kind == ALLOC] < 0).any()
    found = touches_of(*run, owner, first)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        row for row in merged(*run, owner) if row[3] >= first
    ]


def test_an_owner_fills_its_block_when_it_has_it_and_reads_it_while_it_has_it():
    run = recorded(requests([ALLOC, FREE], [1, 1], [0, 0]))
    (pfn,) = run[2].pfns.tolist()
    found = touches_of(*run, "fills-and-reads")
    theirs = np.flatnonzero(found.owners)
    assert found.line[theirs].tolist() == 2 * list(range(64 * pfn, 64 * (pfn + 2)))
    assert found.write[theirs].tolist() == [True] * 128 + [False] * 128
    assert np.diff(theirs).tolist() == [1] * 255  # the end of the allocation, the beginning of the free
    assert found.request[theirs].tolist() == [0] * 128 + [1] * 128


def test_a_free_of_what_was_never_allocated_is_nobodys():
    run = recorded(requests([FREE, ALLOC], [0, 0], [0, 1]))
    assert touches_of(*run, "fills-and-reads").owners.sum() == 64


def test_nothing_is_nothing():
    run = recorded(requests([], [], []))
    assert [len(column) for column in touches_of(*run, "fills")] == [0, 0, 0, 0]


def test_lines_of_pages_are_those_of_frame_memory():
    run = recorded(workload(50, frames=64))
    line = touches_of(*run).line
    heads = np.unique(line[line < 64 * 64])
    assert len(heads)
    assert (heads % 64 == 0).all()  # links of in-page lie in the first line of a page


# Against a model


class Model:
    """A level: sets of lines, the one used longest ago first; each with whether it was written."""

    def __init__(self, sets, ways, lower):
        self.sets, self.ways, self.lower = [OrderedDict() for _ in range(sets)], ways, lower

    def depth(self, line, write):
        here = self.sets[line % len(self.sets)]
        if line in here:
            here[line] |= write
            here.move_to_end(line)
            return 0
        if len(here) == self.ways:
            gone, written = here.popitem(last=False)
            if written and self.lower:
                self.lower.depth(gone, True)
        deeper = self.lower.depth(line, False) if self.lower else 0
        here[line] = write
        return 1 + deeper


def modelled(hierarchy, lines, writes):
    level = None
    for _, size, ways in reversed(hierarchy):
        level = Model(size // 64 // ways, ways, level)
    return [level.depth(line, write) for line, write in zip(lines, writes, strict=True)]


SMALL = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda sizes: CacheLevel("L", 64 << sum(sizes), 1 << sizes[0])
)


@simulated
@given(
    hierarchy=st.lists(SMALL, min_size=1, max_size=3),
    rows=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=200),
)
def test_depths_are_those_of_the_model(hierarchy, rows):
    lines, writes = [line for line, _ in rows], [write for _, write in rows]
    assert simulate(touches(lines, writes), hierarchy).tolist() == modelled(hierarchy, lines, writes)


@simulated
@pytest.mark.parametrize("placement", ["in-page", "in-words"])
def test_depths_of_a_replay_are_those_of_the_model(placement):
    found = touches_of(*recorded(workload(150, frames=64), placement), "fills")
    hierarchy = [CacheLevel("L1", 1 << 10, 2), CacheLevel("L2", 4 << 10, 4), CacheLevel("L3", 64 << 10, 8)]
    assert simulate(found, hierarchy).tolist() == modelled(hierarchy, found.line.tolist(), found.write.tolist())


@simulated
def test_a_scan_misses_once_in_eight_words():
    words = np.arange(8 * 3000)
    depth = simulate(touches(words >> 3), HIERARCHY)
    assert depth[::8].tolist() == [3] * 3000
    assert depth.sum() == 3 * 3000
    again = simulate(touches(np.tile(words >> 3, 2)), HIERARCHY)[len(words) :]
    # 3000 lines are more than the 512 of L1, and less than the 4096 of L2.
    assert again[::8].tolist() == [1] * 3000
    assert again.sum() == 3000


@simulated
@pytest.mark.parametrize(("pages", "misses"), [(8, 0), (9, 9)])
def test_the_first_lines_of_pages_share_one_set_of_l1(pages, misses):
    first_lines = np.arange(pages) * 64
    depth = simulate(touches(np.tile(first_lines, 2)), HIERARCHY)
    assert depth[:pages].tolist() == [3] * pages
    assert (depth[pages:] > 0).sum() == misses


@simulated
def test_touches_in_a_row_are_one_reference_that_writes_if_any_does():
    hierarchy = [CacheLevel("L1", 128, 2), CacheLevel("L2", 128, 1), CacheLevel("L3", 256, 1)]
    # Line 2 throws line 0 out of L2; when line 1 throws it out of L1, it comes back to L2 if it is dirty.
    assert simulate(touches([0, 0, 2, 1, 0], [False, True, False, False, False]), hierarchy).tolist() == [3, 0, 3, 3, 1]
    assert simulate(touches([0, 0, 2, 1, 0]), hierarchy).tolist() == [3, 0, 3, 3, 2]


# What cannot be built


@simulated
@pytest.mark.parametrize(
    ("size", "ways"), [(32 << 10, 0), (32 << 10, 3), (3 << 10, 4), (256, 8), (100, 1), (0, 1), (-64, 1)]
)
def test_a_cache_is_powers_of_two(size, ways):
    message = (
        f"cache L2 must be a power of two of ways, each a power of two of 64-byte lines, "
        f"not {ways} ways of {size} bytes in all"
    )
    with pytest.raises(InvalidArgument, match=says(message)):
        validate([HIERARCHY[0], CacheLevel("L2", size, ways)])


@simulated
def test_a_hierarchy_has_a_level():
    with pytest.raises(InvalidArgument, match=says("hierarchy must be of at least one level, not empty")):
        validate([])


NAMED = "pyCacheSimulator, which cache_misses needs, must be installed (pip install 'structpage[cache]'), not"


@pytest.fixture
def unimported(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cachesim"]:
        monkeypatch.delitem(sys.modules, name)


def test_without_the_simulator_the_extra_is_named(unimported, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingExtra, match=says(f"{NAMED} missing")):
        validate(HIERARCHY)


def test_another_package_of_that_name_is_not_the_simulator(unimported, monkeypatch):
    monkeypatch.setitem(sys.modules, "cachesim", ModuleType("cachesim"))
    with pytest.raises(MissingExtra, match=says(f"{NAMED} hidden by another package called cachesim")):
        validate(HIERARCHY)
