"""`bench`: the rows, how they come about, and what is left out."""

from __future__ import annotations

import json
import shutil
import sys
import types

import numpy as np
import pytest
from helpers import COMPILED, IN_ORDER, says

import structpage as sp
from structpage.engines import ENGINES
from structpage.errors import InvalidArgument, MissingExtra, UnknownName
from structpage.experiments import bench, trials
from structpage.experiments.bench import ROW, Bench, Effort

FRAMES = 1 << 10
SMALL = Effort(300, runs=3)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(bench, "EFFORTS", dict.fromkeys([*ENGINES, trials.TWIN], SMALL))
    monkeypatch.setattr(bench, "PEER", SMALL)


def small(**options):
    return bench.plan(**{"frames": [FRAMES], "placements": ["in-words"], "stamps": ["head"]} | options)


def engines_of(plan):
    return {one.engine for cell in plan.cells for one in cell.contestants}


def needs(name):
    if name == "compiled":
        pytest.importorskip("numba")
    if name == trials.TWIN and shutil.which("gcc") is None:
        pytest.skip("needs gcc")


@pytest.mark.parametrize("engine", [*ENGINES, trials.TWIN])
def test_a_row_per_engine_and_workload(engine):
    needs(engine)
    rows = small(engines=[engine]).run().as_dict()["rows"]
    placement = "side-table" if engine == trials.TWIN else "in-words"
    assert [row["workload"] for row in rows] == ["a", "b", "c"]
    for row in rows:
        assert set(row) == set(ROW.names)
        assert (row["engine"], row["placement"], row["stamp"]) == (engine, placement, "head")
        assert (row["frames"], row["operations"]) == (FRAMES, 300)
        assert 0 < row["min_ns"] <= row["median_ns"] <= row["max_ns"]


def test_a_plain_plan_has_every_engine_placement_workload_and_stamp():
    needs("compiled")
    needs(trials.TWIN)
    plan = bench.plan()
    there = {(one.engine, one.placement, one.stamp) for one in plan.cells[0].contestants}
    assert there == {
        *((name, placement, stamp) for name in ENGINES for placement in sp.placement_names() for stamp in bench.STAMPS),
        *((trials.TWIN, "side-table", stamp) for stamp in bench.STAMPS),
    }
    assert [(cell.workload, cell.frames) for cell in plan.cells] == [("a", 1 << 18), ("b", 1 << 18), ("c", 1 << 18)]
    assert plan.left_out == []


def test_full_adds_sizes_and_peers(monkeypatch):
    monkeypatch.setitem(trials.PEERS, "somebody", lambda: lambda requests, memory: lambda: None)
    plan = bench.plan(full=True, placements=["in-words"])
    assert [cell.frames for cell in plan.cells[::3]] == [1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22]
    assert "somebody" in engines_of(plan)
    assert "somebody" not in engines_of(bench.plan(placements=["in-words"]))


def test_every_run_is_on_fresh_state_and_all_run_in_turn(monkeypatch):
    order = []

    def peer(name):
        def prepare(requests, memory):
            order.append(f"ready {name}")
            return lambda: order.append(f"run {name}")

        return lambda: prepare

    for name in "xy":
        monkeypatch.setitem(trials.PEERS, name, peer(name))
    plan = small(engines=["x", "y"], workloads=["a"])
    told = []
    result = plan.run(told.append)
    assert order == ["ready x", "run x", "ready y", "run y"] * 4  # one that is not counted, and three that are
    assert len(told) == plan.steps == 8
    assert told[0] == "a, 1024 frames: x"
    assert len(result.rows) == 2


def test_all_contestants_hand_out_the_same_frames(monkeypatch):
    """A time is worth nothing if the work was another."""
    needs("compiled")
    needs(trials.TWIN)
    written, full = [], np.full

    def noted(*arguments):
        written.append(full(*arguments))
        return written[-1]

    monkeypatch.setattr(trials.np, "full", noted)
    plan = bench.plan(frames=[FRAMES], workloads=["c"], placements=COMPILED)
    requests = bench.SCRIPTS["c"](300, FRAMES)
    memory = sp.FrameMemory(FRAMES)
    wheres: dict[str, list[list[int]]] = {}
    for contestant in plan.cells[0].contestants:
        written.clear()
        contestant.prepare(requests, memory)()
        alike = "kept" if contestant.placement in IN_ORDER else contestant.placement
        where = next(where.tolist() for where in written if len(where) == requests.slots)
        wheres.setdefault(alike, []).append(where)
    assert sum(map(len, wheres.values())) == 2 * (1 + len(ENGINES) * len(COMPILED))
    assert all(where == of_one[0] for of_one in wheres.values() for where in of_one)


def test_a_placement_whose_removals_walk_runs_short_scripts():
    for engine, (operations, _) in {name: effort.at(1 << 20) for name, effort in bench.EFFORTS.items()}.items():
        plan = bench.plan(engines=["plain"], placements=["singly-linked", "side-table"], frames=[FRAMES])
        walks, other = (
            bench._effort(one._replace(engine=engine)) for one in plan.cells[0].contestants if one.stamp == "head"
        )
        assert walks.at(1 << 20)[0] == min(operations, bench.WALKED)
        assert other.at(1 << 20)[0] == operations


def test_effort_grows_with_the_frames_for_what_is_fast():
    assert Effort(100, runs=12, grows=True).at(1 << 14) == (100, 12)
    assert Effort(100, runs=12, grows=True).at(1 << 19) == (200, 6)
    assert Effort(100, runs=12, grows=True).at(1 << 22) == (1600, 3)
    assert Effort(100, runs=3).at(1 << 22) == (100, 3)


def test_ratios_are_to_the_twin_of_the_same_cell():
    rows = [
        (trials.TWIN, "side-table", "a", 8, 10, "head", 1.0, 2.0, 3.0),
        (trials.TWIN, "side-table", "a", 8, 10, "every", 1.0, 4.0, 9.0),
        ("plain", "in-page", "a", 8, 10, "every", 5.0, 6.0, 9.0),
        ("plain", "in-page", "a", 8, 10, "head", 5.0, 6.0, 9.0),
        ("plain", "in-page", "b", 8, 10, "head", 5.0, 6.0, 9.0),
    ]
    result = Bench({"cpu": "a cpu", "caches": {"L1": "32K", "L2": "1M"}}, np.array(rows, ROW))
    assert result.ratios[:4].tolist() == [1.0, 1.0, 1.5, 3.0]
    assert np.isnan(result.ratios[4])
    head, table = repr(result).split("\n\n")
    assert head == "cpu: a cpu\ncaches: L1 32K, L2 1M"
    assert table.splitlines()[4].split() == ["plain", "in-page", "a", "8", "10", "head", "5.0", "6.0", "9.0", "3.00"]
    assert table.splitlines()[5].split()[-1] == "-"


def test_the_machine_is_described_and_all_is_json():
    report = small(engines=["plain"], workloads=["a"]).run().as_dict()
    assert json.loads(json.dumps(report)) == report
    machine = report["machine"]
    assert set(machine) == {"cpu", "cores", "caches", "memory", "os", "python", "numpy", "numba", "gcc", "date"}
    assert machine["numpy"] == np.__version__
    assert machine["python"] == sys.version.split()[0]


def test_what_is_not_there_is_left_out_with_a_word_and_refused_by_name(tmp_path):
    nowhere = tmp_path / "c_twin.py"
    message = f"C twin must be a Python file of a checkout, not {nowhere}"
    plan = small(twin=nowhere)
    assert f"c-twin is left out: {message}" in plan.left_out
    assert trials.TWIN not in engines_of(plan)
    with pytest.raises(MissingExtra, match=says(message)):
        small(engines=[trials.TWIN], twin=nowhere)


def test_no_compiler_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "c-twin is left out: gcc must be installed for the C twin, not missing" in small().left_out


def test_a_peer_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cocotbext.axi.buddy_allocator", None)
    message = "cocotbext-axi must be installed to be timed, not missing"
    with pytest.raises(MissingExtra, match=says(message)):
        small(engines=["cocotbext-axi"])
    assert f"cocotbext-axi is left out: {message}" in small(full=True).left_out


def test_a_peer_is_called_as_its_users_call_it(monkeypatch):
    calls = []

    class Peer:
        def __init__(self, size):
            calls.append(("made", size))

        def alloc(self, size):
            calls.append(("alloc", size))
            if size > FRAMES:
                raise Exception("out of memory")
            return len(calls)

        def free(self, address):
            calls.append(("free", address))

    module = types.ModuleType("cocotbext.axi.buddy_allocator")
    module.BuddyAllocator = Peer
    for name in ("cocotbext", "cocotbext.axi"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (peer,) = small(engines=["cocotbext-axi"]).cells[0].contestants
    peer.prepare(sp.requests([0, 0, 1, 1], [2, 11, 2, 11], [0, 1, 0, 1]), sp.FrameMemory(FRAMES))()
    assert calls == [("made", FRAMES), ("alloc", 4), ("alloc", 2048), ("free", 2)]


def test_in_page_is_left_out_where_the_machine_is_too_small(monkeypatch):
    monkeypatch.setattr(bench.host, "memory_bytes", lambda: 4096 * FRAMES)
    plan = small(engines=["plain"], placements=["in-page", "in-words"], workloads=["a"])
    assert set(plan.run().rows["placement"]) == {"in-words"}
    message = "its memory must be below 80% of the machine's 4194304 bytes, not 4194304"
    assert plan.left_out == [f"in-page at 1024 frames is left out: {message}"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engines": ["fast"]}, UnknownName, "engine must be one of {}, not 'fast'"),
        ({"workloads": ["d"]}, UnknownName, "workload must be one of a, b, c, not 'd'"),
        ({"stamps": ["tail"]}, UnknownName, "stamp must be one of every, head, not 'tail'"),
        ({"frames": [0]}, InvalidArgument, "frames must be at least 1, not 0"),
    ],
)
def test_bad_options_say_subject_rule_and_value(options, error, message):
    with pytest.raises(error, match=says(message.format(", ".join(trials.names())))):
        small(**{"engines": ["plain"]} | options)


def test_an_unknown_placement_is_refused():
    with pytest.raises(UnknownName, match=r"^placement must be one of side-table, .*, not 'tree'$"):
        small(engines=["plain"], placements=["tree"])
