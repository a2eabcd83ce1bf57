"""`structpage bench`: its options, its output, and where it is written."""

from __future__ import annotations

import json

import pytest

from structpage.cli import main
from structpage.experiments import bench
from structpage.experiments.bench import ROW, Effort

CHOSEN = ["bench", "--engine", "plain", "--placement", "in-words", "--placement", "one-word", "--workload", "c"]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setitem(bench.EFFORTS, "plain", Effort(200))


def test_json_has_the_machine_and_rows(capsys):
    assert main([*CHOSEN, "--frames", "512", "--frames", "1024", "--stamp", "head", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err == ""
    assert list(report) == ["machine", "rows"]
    assert [list(row) for row in report["rows"]] == [list(ROW.names)] * 4
    assert [(row["placement"], row["frames"]) for row in report["rows"]] == [
        ("in-words", 512), ("one-word", 512), ("in-words", 1024), ("one-word", 1024),
    ]  # fmt: skip


def test_a_table_otherwise(capsys):
    assert main([*CHOSEN, "--frames", "512"]) == 0
    machine, table = capsys.readouterr().out.split("\n\n")
    assert machine.startswith("cpu: ")
    header, *rows = table.splitlines()
    assert header.split() == [*ROW.names, "x", "c-twin"]
    assert [row.split()[:2] for row in rows] == [["plain", "in-words"]] * 2 + [["plain", "one-word"]] * 2


def test_what_is_left_out_is_told_on_stderr(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "names", lambda: ["c-twin", "plain"])
    arguments = ["--placement", "in-words", "--workload", "a", "--frames", "64", "--twin", str(tmp_path / "none.py")]
    assert main(["bench", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("c-twin is left out: C twin must be a Python file of a checkout, not ")
    assert "c-twin  " not in captured.out


def test_bad_names_are_status_2(capsys):
    assert main(["bench", "--workload", "d"]) == 2
    assert capsys.readouterr().err == "structpage bench: workload must be one of a, b, c, not 'd'\n"


def test_objects_beside_pages(capsys, monkeypatch):
    from structpage.experiments import slab_bench

    monkeypatch.setattr(slab_bench.slab_bench, "__kwdefaults__", {"operations": 400, "runs": 1})
    assert main(["bench", "--slab", "--engine", "plain", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in report["rows"]] == ["object", "page", "page, mixed"]
