"""The recording that comes with the package: every frame, over every placement and engine."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from structpage import InvalidArgument
from structpage.core.linux import script
from structpage.core.placements import BUILTIN
from structpage.engines.compiled import is_installed
from structpage.fidelity import replay_capture
from structpage.placing import declared
from structpage.traces import open_workload

PREFIX = 60_000
"""Events at the beginning that everything is compared over."""

TYPES = {
    "capture": str,
    "kernel": str,
    "requests": int,
    "exact": int,
    "first_miss": type(None),
    "repairs": int,
    "ambiguous": int,
    "removals": dict,
    "fallbacks": dict,
    "final_lists_identical": bool,
    "final_pcp_identical": bool,
    "final_buddyinfo_identical": bool,
    "hints_used": dict,
    "seconds": float,
}


@pytest.fixture(scope="module")
def capture():
    return open_workload("mixed")


@pytest.fixture(scope="module")
def whole(capture):
    return replay_capture(capture, engine="plain")


@pytest.fixture(scope="module")
def prefix(capture):
    return replace(capture, events=capture.events[:PREFIX])


def recorded(events):
    """What the kernel answered."""
    answers = events.pfn[events.kind == events.code("mm_page_alloc")]
    return answers[answers >= 0]


def test_every_frame_and_list_is_the_kernels(capture, whole):
    assert (whole.predictions == recorded(capture.events)).all()
    assert whole.exact.all()
    assert whole.followed.misses == whole.followed.stories == []
    whole.machine.check()


def test_figures_have_the_names_and_types_that_were_agreed(capture, whole):
    figures = whole.as_dict()
    assert {name: type(value) for name, value in figures.items()} == TYPES
    assert list(figures) == list(TYPES)
    for name in ("removals", "fallbacks"):
        assert {key: type(value) for key, value in figures[name].items()} == {"total": int, "exact": int}
    assert json.loads(json.dumps(figures)) == figures


def test_figures(capture, whole):
    figures, counts = whole.as_dict(), capture.events.counts()
    assert figures.pop("seconds") > 0
    assert figures.pop("hints_used") == {
        "vmfold": counts["vmfold"],
        "bulk": counts["bulk"],
        "freeone": counts["freeone"],
    }
    total = len(recorded(capture.events))
    removals = counts["mm_page_alloc_zone_locked"]
    assert total == counts["mm_page_alloc"]
    assert figures == {
        "capture": "mixed",
        "kernel": "6.1.192",
        "requests": total,
        "exact": total,
        "first_miss": None,
        "repairs": 0,
        "ambiguous": 0,
        "removals": {"total": removals, "exact": removals},
        "fallbacks": {"total": 0, "exact": 0},
        "final_lists_identical": True,
        "final_pcp_identical": True,
        "final_buddyinfo_identical": True,
    }


def test_the_texts_of_proc_are_those_of_the_end(capture, whole):
    assert whole.machine.buddyinfo() == capture.proc["after/buddyinfo"]


def test_text_says_the_figures(capture, whole):
    said = str(whole).splitlines()
    total = len(recorded(capture.events))
    assert said[0] == f"mixed, Linux 6.1.192: {total:,} of {total:,} allocations exact"
    assert said[3:6] == [f"  final {what} identical" for what in ("free lists", "per-CPU lists", "buddyinfo")]
    assert said[6] == "  0 repairs, 0 allocations in an order not told"


def test_kmem_events_alone_use_no_hint_and_go_on_after_a_miss(prefix):
    figures = replay_capture(prefix, requests="kmem", engine="plain").as_dict()
    assert figures["hints_used"] == {}
    assert figures["first_miss"] == 36
    assert 0.99 * figures["requests"] < figures["exact"] < figures["requests"]


def test_an_end_that_is_another_is_not_identical(prefix):
    figures = replay_capture(prefix, engine="plain").as_dict()
    assert figures["exact"] == figures["requests"]
    assert not figures["final_lists_identical"]
    assert not figures["final_pcp_identical"]
    assert not figures["final_buddyinfo_identical"]


@pytest.mark.parametrize("placement", [name for name in BUILTIN if declared(BUILTIN[name]).keeps_order])
def test_every_placement_predicts_the_same_frames(prefix, placement):
    result = replay_capture(prefix, placement=placement, engine="plain")
    assert result.machine.placement == placement
    assert (result.predictions == recorded(prefix.events)).all()
    assert result.followed.misses == []


@pytest.mark.parametrize(
    ("engine", "events"),
    [
        ("probed", PREFIX // 4),
        pytest.param("compiled", PREFIX, marks=pytest.mark.skipif(not is_installed(), reason="numba is not installed")),
    ],
)
def test_every_engine_predicts_the_same_frames(capture, prefix, engine, events):
    part = replace(prefix, events=prefix.events[:events])
    result, plain = (replay_capture(part, engine=one) for one in (engine, "plain"))
    assert result.machine.engine.name == engine
    assert (result.predictions == recorded(part.events)).all()
    for name in ("answers", "made", "moved"):
        assert (getattr(result.followed, name) == getattr(plain.followed, name)).all()
    assert result.as_dict() | {"seconds": 0} == plain.as_dict() | {"seconds": 0}


def test_the_checked_engine_does_not_run_machines(prefix):
    with pytest.raises(InvalidArgument, match=r"^engine of a machine must be plain, probed or compiled, not checked$"):
        replay_capture(prefix, engine="checked")


def test_frees_name_what_they_undo(prefix):
    """Of all frees of the prefix few name a frame by its PFN: those of what was in use before, or not told of."""
    rows = replay_capture(prefix, engine="plain").asked.rows
    frees = np.isin(rows.kind, (script.FREE, script.PREPARE))
    assert np.count_nonzero(rows.slot[frees] >= 0) > 0.95 * np.count_nonzero(frees)
    made = dict(zip(rows.slot[rows.kind == script.ALLOC], rows.event[rows.kind == script.ALLOC], strict=True))
    told = frees & np.isin(rows.slot, list(made))
    assert all(made[slot] < event for slot, event in zip(rows.slot[told], rows.event[told], strict=True))
