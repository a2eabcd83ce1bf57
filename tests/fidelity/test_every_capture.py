"""All recordings there are beside the repository, against what is claimed of them; in the long profile."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from structpage.engines.compiled import is_installed
from structpage.fidelity import replay_capture
from structpage.traces import open_workload

FOLDER = Path(os.environ.get("STRUCTPAGE_CAPTURES", Path(__file__).resolve().parents[3] / "shared" / "captures"))
CAPTURES = sorted(
    path.parent for path in FOLDER.glob("*/trace.txt*") if (path.parent / "freelists_before.json.xz").exists()
)
PRESSURE = 0.9999
"""Least share on the capture of a kernel that reclaims while its compaction searches the lists."""
ROWS_WRONG = {"pressure": 8, "frag": 10}
"""Most requests that do not go as recorded, where compaction's searches leave no event."""
FIRST_MISS = {"pressure": 87_877}
KMEM = {
    "anon": 1.0,
    "tmpfs": 1.0,
    "thp": 1.0,
    "fork": 0.974,
    "mixed": 0.988,
    "frag3z": 0.795,
    "mixed_smp2": 0.934,
}
"""Share of allocations that the standard events alone must give back."""

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("STRUCTPAGE_PROFILE") != "long", reason="half a minute each: in the long profile"
    ),
    pytest.mark.skipif(not CAPTURES, reason="the captures are not beside the repository; set STRUCTPAGE_CAPTURES"),
]


@functools.lru_cache(maxsize=1)
def capture_of(path):
    return open_workload(path)


def figures(path, requests):
    result = replay_capture(capture_of(path), requests=requests, engine="compiled" if is_installed() else "plain")
    result.machine.check()
    return result.as_dict()


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_hints_give_back_every_frame_and_every_list(path):
    found = figures(path, "hints")
    assert all(found[f"final_{name}_identical"] for name in ("lists", "pcp", "buddyinfo"))
    assert found["fallbacks"]["exact"] == found["fallbacks"]["total"]
    assert found["repairs"] <= ROWS_WRONG.get(path.name, 0)
    if path.name in FIRST_MISS:
        assert found["exact"] > PRESSURE * found["requests"]
        assert found["first_miss"] is None or found["first_miss"] >= FIRST_MISS[path.name]
    else:
        assert found["exact"] == found["requests"]
        assert found["first_miss"] is None
    if path.name not in ROWS_WRONG:
        assert found["removals"]["exact"] == found["removals"]["total"]


@pytest.mark.parametrize("path", [path for path in CAPTURES if path.name in KMEM], ids=lambda path: path.name)
def test_kmem_events_alone_give_back_what_is_claimed(path):
    found = figures(path, "kmem")
    assert set(found["hints_used"]) <= {"retype", "node"}
    if KMEM[path.name] == 1:
        assert found["exact"] == found["requests"]
        assert all(found[f"final_{name}_identical"] for name in ("lists", "pcp", "buddyinfo"))
    else:
        assert found["exact"] > KMEM[path.name] * found["requests"]
