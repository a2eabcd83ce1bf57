"""`structpage replay`: a recorded kernel, page frame by page frame."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fidelity"))
from recorded_kernel import kernel
from recorded_slabs import SlabKernel

from structpage.cli import main
from structpage.traces import open_workload

TRACE = (
    "            init-1       [000] .....     8.819272: mm_page_alloc: page=(____ptrval____) pfn=0x10 order=1 "
    "migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO\n"
)


def run(capsys, *arguments):
    status = main(["replay", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def folder(tmp_path):
    """A capture as a folder, of what a small machine did."""
    recorder = kernel(7)
    for _ in range(120):
        recorder.act()
    capture = recorder.capture()
    path = tmp_path / "small"
    path.mkdir()
    mark = "  init-1 [000] .....     {}: tracing_mark_write: ORACLE STOP{}\n"
    (path / "trace.txt").write_text(mark.format("0.000001", 0) + "".join(recorder.lines) + mark.format("99.000001", 1))
    (path / "freelists_before.json").write_text(json.dumps(capture.before))
    (path / "freelists_after.json").write_text(json.dumps(capture.after))
    (path / "meta.json").write_text(json.dumps({"kernel": "6.1.192"}))
    (path / "before").mkdir()
    (path / "before" / "zoneinfo").write_text(capture.proc["before/zoneinfo"])
    return path


def test_text_and_json_of_a_folder(capsys, folder):
    status, out, err = run(capsys, folder)
    assert (status, err) == (0, "")
    figures = json.loads(run(capsys, folder, "--json")[1])
    total = figures["requests"]
    assert total > 30
    assert out.startswith(f"small, Linux 6.1.192: {total} of {total} allocations exact\n")
    assert out.count(" identical\n") == 3
    assert figures["exact"] == total
    assert figures["first_miss"] is None
    assert figures["final_lists_identical"] is figures["final_pcp_identical"] is True
    assert set(figures["hints_used"]) > {"bulk"}


def test_kmem_uses_no_hint(capsys, folder):
    status, out, _ = run(capsys, folder, "--requests", "kmem", "--json")
    assert status == 0
    assert set(json.loads(out)["hints_used"]) <= {"retype"}


@pytest.mark.parametrize("options", [["--placement", "in-words"], ["--placement", "in-page", "--engine", "probed"]])
def test_placement_and_engine_change_no_figure(capsys, folder, options):
    figures = [json.loads(run(capsys, folder, "--json", *more)[1]) | {"seconds": 0} for more in ([], options)]
    assert figures[0] == figures[1]


def test_the_shipped_capture_is_the_default(capsys, monkeypatch):
    asked = []
    whole = open_workload("mixed")

    def opened(name, *, strict):
        asked.append(name)
        return replace(whole, events=whole.events[:5000])

    monkeypatch.setattr("structpage.cli.source.opened", opened)
    status, out, _ = run(capsys)
    assert (status, asked) == (0, ["mixed"])
    assert out.startswith("mixed, Linux 6.1.192: ")


def test_a_bare_trace_is_status_2(capsys, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(TRACE)
    status, out, err = run(capsys, path)
    assert (status, out) == (2, "")
    assert err == f"structpage replay: capture {path} must be a recording with free lists, not a bare trace\n"


def test_an_empty_folder_is_status_2(capsys, tmp_path):
    status, _, err = run(capsys, tmp_path)
    assert status == 2
    assert (
        err == f"structpage replay: capture {tmp_path.name} must be a folder with meta.json, not one that has nothing\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "quick"], "engine must be one of plain, compiled, probed, checked, not 'quick'"),
        (["--engine", "checked"], "engine of a machine must be plain, probed or compiled, not checked"),
        (
            ["--placement", "tree"],
            "placement must be one of side-table, in-page, in-words, one-word, singly-linked, per-order-table, bitmap, "
            "array-index, slab-nodes, radix-tree, a class, or module:Class, not 'tree'",
        ),
    ],
)
def test_names_that_do_not_exist_are_status_2(capsys, folder, options, message):
    status, _, err = run(capsys, folder, *options)
    assert (status, err) == (2, f"structpage replay: {message}\n")


def test_a_capture_without_percpu_lists_or_of_another_kernel_is_status_2(capsys, folder):
    (folder / "meta.json").write_text(json.dumps({"kernel": "5.10.3"}))
    status, _, err = run(capsys, folder)
    assert status == 2
    assert err.startswith("structpage replay: kernel must be one of ")
    assert err.endswith(", not '5.10'\n")
    lists = json.loads((folder / "freelists_before.json").read_text())
    del lists["nodes"][0]["zones"][0]["pcp"]
    (folder / "freelists_before.json").write_text(json.dumps(lists))
    status, _, err = run(capsys, folder)
    assert status == 2
    assert err == (
        "structpage replay: file small/freelists_before.json must be free lists: nodes > zones > free_area and pcp, "
        "not one with KeyError 'pcp'\n"
    )


def test_an_unknown_source_of_requests_is_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["replay", "--requests", "all"])
    assert ended.value.code == 2
    assert "--requests" in capsys.readouterr().err


def slab_folder(tmp_path, mark="  init-1 [000] .....     {}: tracing_mark_write: ORACLE STOP{}\n"):
    played = SlabKernel(3)
    played.act(300)
    played.lines.clear()
    (tmp_path / "slab_before.json").write_text(json.dumps(played.told()))
    played.act(200)
    (tmp_path / "slab_after.json").write_text(json.dumps(played.told()))
    (tmp_path / "trace.txt").write_text(mark.format("0.000001", 0) + played.text() + mark.format("99.000001", 1))
    for name in ("freelists_before.json", "freelists_after.json"):
        (tmp_path / name).write_text(json.dumps({"nodes": []}))
    (tmp_path / "meta.json").write_text(json.dumps({"kernel": "6.1.192"}))
    return tmp_path


def test_slab_events_of_a_folder(capsys, tmp_path):
    folder = slab_folder(tmp_path)
    status, out, err = run(capsys, folder, "--slab")
    assert (status, err) == (0, "")
    figures = json.loads(run(capsys, folder, "--slab", "--json")[1])
    assert figures["exact"] + figures["told"] == figures["allocations"] > 50
    assert figures["caches"] == {"total": 3, "counts_identical": 3, "lists_identical": 3}
    assert out.startswith(f"{folder.name}, Linux 6.1.192: {figures['events']} slab events\n")


def test_slab_events_of_a_bare_trace(capsys, tmp_path):
    folder = slab_folder(tmp_path)
    figures = json.loads(run(capsys, folder / "trace.txt", "--slab", "--json")[1])
    assert (figures["capture"], figures["exact"]) == ("trace.txt", None)
    assert {row["name"] for row in figures["by_cache"]} == {"dentry", "kmalloc-64", "sock"}


def test_slab_events_that_are_not_there(capsys, tmp_path):
    (tmp_path / "bare.txt").write_text(TRACE)
    status, _, err = run(capsys, tmp_path / "bare.txt", "--slab")
    rule = "one with slab events (kmalloc, kmem_cache_alloc, ...)"
    assert (status, err) == (2, f"structpage replay: trace bare.txt must be {rule}, not without\n")
