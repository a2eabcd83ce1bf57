"""`structpage cache`: what it prints, and that its defaults are those of `cache_misses`."""

from __future__ import annotations

import inspect
import json
import sys

import pytest

from structpage.cli import main, parser
from structpage.experiments.cache_misses import cache_misses
from structpage.experiments.caches import OWNERS

TRACE = "".join(
    f"  init-1 [000] .....     8.81{i:04}: mm_page_alloc: page=(____ptrval____) pfn={i:#x} order=0 "
    "migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO\n"
    for i in range(16, 48)
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(TRACE)
    return str(path)


def test_it_prints_a_table_or_json(capsys, trace):
    pytest.importorskip("cachesim.hierarchy")
    chosen = ["cache", trace, "--placement", "in-page", "--placement", "one-word", "--counted", "20", "--warm-up", "10"]
    assert main(chosen) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{trace}: misses per operation, 20 operations after 10 that warm the caches\n")
    assert [line.split()[0] for line in captured.out.splitlines()[4:]] == ["in-page", "one-word"]
    assert main([*chosen, "--json", "--owner", "fills", "--requests", "25", "--memory", "16M"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["owner"], report["warm_up"]) == ("fills", 5)
    assert [row["operations"] for row in report["rows"]] == [20, 20]


def test_without_the_extra_it_says_so(capsys, trace, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cachesim"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    assert main(["cache", trace]) == 2
    rule = "installed (pip install 'structpage[cache]')"
    message = f"structpage cache: pyCacheSimulator, which cache_misses needs, must be {rule}, not missing\n"
    assert capsys.readouterr().err == message


def test_the_defaults_are_those_of_the_function(capsys):
    options, parameters = parser().parse_args(["cache"]), inspect.signature(cache_misses).parameters
    for name in ("requests", "counted", "warm_up", "owner"):
        assert getattr(options, name) == parameters[name].default
    with pytest.raises(SystemExit):
        parser().parse_args(["cache", "--help"])
    assert f"{{{','.join(OWNERS)}}}" in capsys.readouterr().out
