"""The bench of objects beside pages: what its rows are. No test asserts a time."""

from __future__ import annotations

import pytest
from helpers import says

from structpage import InvalidArgument, UnknownName
from structpage.experiments.slab_bench import slab_bench

TIMES = ["min_ns", "median_ns", "max_ns"]


@pytest.mark.parametrize("operations", [100, 70_001])
def test_rows_say_who_ran_what(operations):
    found = slab_bench(["plain"], operations=10 * operations, runs=1)
    assert found.rows["what"].tolist() == ["object", "page", "page, mixed"]
    assert set(found.rows["engine"].tolist()) == {"plain"}
    assert set(found.rows["operations"].tolist()) == {operations // 2 * 2}
    assert (found.rows["min_ns"] > 0).all()
    assert (found.rows["min_ns"] <= found.rows["median_ns"]).all()
    assert found.share("page") == found.rows["median_ns"][0] / found.rows["median_ns"][1]
    assert found.as_dict()["rows"][0]["what"] == "object"
    assert repr(found).split("\n")[0].split() == ["what", "engine", "placement", "operations", *TIMES]


def test_bad_numbers():
    with pytest.raises(InvalidArgument, match=says("operations must be at least 20, not 1")):
        slab_bench(["plain"], operations=1)
    with pytest.raises(UnknownName):
        slab_bench(["fastest"])
