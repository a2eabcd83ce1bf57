"""`cache_misses`: figures that add up, and pages that are cold or hot as their owners left them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import PLACEMENTS, says

import structpage as sp
from structpage.core.placements.side_table import SideTable
from structpage.errors import InvalidArgument, LimitExceeded, UnknownName
from structpage.experiments.cache_misses import cache_misses, steps
from structpage.experiments.caches import HIERARCHY, OWNERS, CacheLevel, simulate, touches_of
from structpage.request import ALLOC, FREE, requests

pytest.importorskip("cachesim.hierarchy")

TINY = (CacheLevel("small", 1 << 10, 2), CacheLevel("large", 16 << 10, 4))


def work_of(kinds, orders, slots, frames=1 << 10, name="made"):
    script = requests(kinds, orders, slots)
    times = np.zeros(len(script), np.int64)
    return sp.Workload(name, frames, (sp.Zone("Normal", 0, frames),), (), (), script, times, {}, {})


def all_then_none(blocks=300):
    """Single frames are allocated, and freed in another order, so that few merge at once."""
    order = np.random.default_rng(1).permutation(blocks)
    return work_of([ALLOC] * blocks + [FREE] * blocks, 0, [*range(blocks), *order])


@pytest.fixture(scope="module")
def mixed():
    return sp.Workload.load("mixed", limit=600)


@pytest.fixture(scope="module")
def result(mixed):
    return cache_misses(mixed, counted=300, warm_up=200)


def test_a_row_per_placement_and_fields_per_level(result):
    assert result.rows["placement"].tolist() == PLACEMENTS
    assert result.rows["operations"].tolist() == [300] * len(PLACEMENTS)
    assert (result.workload, result.owner, result.warm_up, result.hierarchy) == ("mixed", "idle", 200, HIERARCHY)
    figures = ("hits", "misses", "misses_in_pages")
    fields = [f"{level}_{figure}_per_op" for level in ("L1", "L2", "L3") for figure in figures]
    assert result.rows.dtype.names == ("placement", "operations", "touches_per_op", *fields)


def test_hits_and_misses_are_what_is_asked(result):
    rows, asked = result.rows, result.rows["touches_per_op"]
    for level in ("L1", "L2", "L3"):
        assert np.allclose(rows[f"{level}_hits_per_op"] + rows[f"{level}_misses_per_op"], asked)
        assert (rows[f"{level}_misses_in_pages_per_op"] <= rows[f"{level}_misses_per_op"]).all()
        asked = rows[f"{level}_misses_per_op"]
    assert (asked > 0).all()


def test_only_in_page_misses_in_pages(result):
    for row in result.rows:
        assert (row["L1_misses_in_pages_per_op"] > 0) is np.bool_(row["placement"] == "in-page")


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(("counted", "warm_up"), [(50, 30), (50, 0), (600, 5), (1000, 1000)])
def test_the_figures_are_counts_of_one_run_through_the_caches(owner, counted, warm_up):
    work = all_then_none(40)
    found = cache_misses(work, placements=["in-page"], hierarchy=TINY, owner=owner, counted=counted, warm_up=warm_up)
    engine = sp.ProbedEngine(trace=True)
    buddy = work.allocator("in-page", engine=engine)
    engine.reset()
    replay = buddy.replay(work.requests)
    begin = max(80 - counted, 0)
    assert found.warm_up == min(warm_up, begin)
    touches = touches_of(engine.address_trace, engine.operation_starts, replay, owner, begin - found.warm_up)
    depth = simulate(touches, TINY)
    mine = (touches.request >= begin) & ~touches.owners
    (row,) = found.rows
    assert row["operations"] == 80 - begin
    assert row["touches_per_op"] * (80 - begin) == pytest.approx(mine.sum())
    for place, level in enumerate(("small", "large")):
        missed = mine & (depth > place)
        assert row[f"{level}_misses_per_op"] * (80 - begin) == pytest.approx(missed.sum())
        in_pages = missed & (touches.line < 64 << 10)
        assert row[f"{level}_misses_in_pages_per_op"] * (80 - begin) == pytest.approx(in_pages.sum())


def test_the_touches_are_those_that_the_probe_counts():
    work = all_then_none(50)
    found = cache_misses(work, hierarchy=TINY, counted=100)
    for row in found.rows:
        engine = sp.ProbedEngine()
        buddy = work.allocator(row["placement"], engine=engine)
        engine.reset()
        buddy.replay(work.requests)
        counts = engine.counts()
        assert row["touches_per_op"] * 100 == pytest.approx(counts.reads + counts.writes)
        assert row["large_misses_per_op"] * 100 >= counts.lines - 1e-9


def test_a_cold_start_in_a_cache_that_holds_all_misses_each_line_once():
    work = all_then_none(50)
    huge = (CacheLevel("huge", 4 << 20, 1 << 12),)
    (row,) = cache_misses(work, placements=["in-words"], hierarchy=huge, counted=100).rows
    engine = sp.ProbedEngine()
    buddy = work.allocator("in-words", engine=engine)
    engine.reset()
    buddy.replay(work.requests)
    assert row["huge_misses_per_op"] * 100 == pytest.approx(engine.counts().lines)


def test_what_warms_the_caches_is_not_missed_again():
    work = all_then_none(100)
    cold, warm = (
        cache_misses(work, placements=["side-table"], counted=100, warm_up=warm_up).rows[0] for warm_up in (0, 100)
    )
    assert warm["L3_misses_per_op"] < cold["L3_misses_per_op"]
    assert warm["touches_per_op"] == cold["touches_per_op"]


def test_how_cold_a_freed_page_is_depends_on_its_owner():
    """Every second of 300 frames is freed, so none merges: a free writes its own page, and the one freed before."""
    work = work_of([ALLOC] * 300 + [FREE] * 150, 0, [*range(300), *range(0, 300, 2)])
    found = {
        owner: cache_misses(work, placements=["in-page", "side-table"], owner=owner, counted=150, warm_up=300).rows
        for owner in OWNERS
    }
    in_pages = {
        owner: [round(rows[0][f"{level}_misses_in_pages_per_op"], 9) for level in ("L1", "L2", "L3")]
        for owner, rows in found.items()
    }
    # A page had a link once, when the block around it was halved; since then as many were as L1 and L2 hold.
    assert in_pages["idle"] == [1, 1, 0]
    # Filled when they were allocated: 1200 KiB, of which L3 has all, and of the pages freed here L2 has none.
    assert in_pages["fills"] == [1, 1, 0]
    # Read just before: then the links are where the owner's lines are, and a table beside the pages is not.
    assert in_pages["fills-and-reads"] == [0, 0, 0]
    cold, hot = found["idle"]["L1_misses_per_op"], found["fills-and-reads"]["L1_misses_per_op"]
    assert cold[0] > cold[1]
    assert hot[0] < hot[1]


def test_owners_do_not_change_what_the_allocator_touches():
    work = all_then_none(60)
    runs = [cache_misses(work, hierarchy=TINY, owner=owner, counted=60, warm_up=60).rows for owner in OWNERS]
    for rows in runs[1:]:
        assert rows["touches_per_op"].tolist() == runs[0]["touches_per_op"].tolist()
    # But they push its lines out.
    assert (runs[1]["large_misses_per_op"] >= runs[0]["large_misses_per_op"]).all()


def test_it_runs_on_the_first_requests_of_a_name():
    found = cache_misses("mixed", placements=["one-word"], requests=50, counted=40, warm_up=30, hierarchy=TINY)
    assert (found.workload, found.warm_up, found.rows["operations"][0]) == ("mixed", 10, 40)


def test_no_requests_are_no_misses():
    found = cache_misses(work_of([], [], []), placements=["in-words"], hierarchy=TINY)
    assert found.rows[["operations", "touches_per_op", "small_misses_per_op"]].tolist() == [(0, 0.0, 0.0)]


def test_a_placement_of_ones_own_is_one_row_more():
    class Mine(SideTable):
        """The same by another name."""

    rows = cache_misses(all_then_none(20), placements=["side-table", Mine], hierarchy=TINY).rows
    assert rows["placement"].tolist() == ["side-table", "Mine"]
    assert rows[0].tolist()[1:] == rows[1].tolist()[1:]


def test_text_and_html_show_the_same_cells(result):
    text, page = repr(result), result._repr_html_()
    assert text.startswith("mixed: misses per operation, 300 operations after 200 that warm the caches\n")
    assert "\nL1 32 KiB 8-way, L2 256 KiB 4-way, L3 8 MiB 16-way; owners: idle\n" in text
    lines = text.splitlines()[3:]
    assert lines[0].split("  ")[0] == "placement"
    for line, row in zip(lines[1:], result.rows, strict=True):
        assert line.split()[0] == row["placement"]
        assert line.split()[2] == f"{row['L1_misses_per_op']:.2f}"
        assert f"<td>{row['L1_misses_per_op']:.2f}</td>" in page
    assert "<th>L3 misses</th><th>in pages</th>" in page


def test_it_is_json(result):
    found = json.loads(json.dumps(result.as_dict()))
    assert found["hierarchy"][1] == {"name": "L2", "size": 256 << 10, "ways": 4}
    assert [row["placement"] for row in found["rows"]] == PLACEMENTS
    assert (found["workload"], found["owner"], found["warm_up"]) == ("mixed", "idle", 200)


def test_steps_are_told_before_each_part():
    told = []
    cache_misses(
        "mixed", placements=["in-words", "one-word"], requests=9, owner="fills", hierarchy=TINY, step=told.append
    )
    assert told == ["reading the workload", "in-words: owners fills", "one-word: owners fills"]
    assert len(told) == steps(2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"owner": "busy"}, UnknownName, "owner must be one of idle, fills, fills-and-reads, not 'busy'"),
        ({"counted": 0}, InvalidArgument, "counted must be at least 1, not 0"),
        ({"warm_up": -1}, InvalidArgument, "warm_up must be at least 0, not -1"),
        ({"requests": -1}, InvalidArgument, "requests must be at least 0, not -1"),
        ({"hierarchy": ()}, InvalidArgument, "hierarchy must be of at least one level, not empty"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=says(message)):
        cache_misses(**arguments)


def test_what_a_placement_cannot_do_is_told():
    work = work_of([ALLOC], [0], [0], frames=1 << 10)

    class Small(SideTable):
        @staticmethod
        def declares():
            return sp.Declaration(max_nodes=100)

    with pytest.raises(LimitExceeded, match=r"^frames \+ list heads for placement Small must be at most 100, not "):
        cache_misses(work, placements=[Small], hierarchy=TINY)
