"""Recorded call scripts: ours here, other people's from a folder beside the repository when it is there."""

import json
import os
from pathlib import Path

import pytest

from structpage.core.buddy import Buddy
from structpage.errors import TraceError
from structpage.experiments import conformance

SHARED = Path(os.environ.get("STRUCTPAGE_CONFORMANCE", Path(__file__).parents[3] / "shared" / "conformance"))
PLACEMENTS = ["side-table", "in-page", "in-words", "one-word"]


def scenario(*ops, frames=16, max_order=4, init="free", name="ours"):
    return {"name": name, "frames": frames, "max_order": max_order, "init": init, "ops": list(ops)}


def run(*ops, placements=PLACEMENTS, **options):
    return conformance.run([scenario(*ops, **options)], placements)


EVERY_OP = (
    {"op": "alloc", "order": 2, "as": "a0", "expect": "ok", "pfn": 0},
    {"op": "alloc", "order": 0, "align_order": 2, "as": "a1", "expect": "ok"},
    {"op": "alloc_at", "pfn": 15, "order": 0, "as": "a2", "expect": "ok"},
    {"op": "alloc_at", "pfn": 15, "order": 0, "expect": "fail"},
    {"op": "alloc_within", "start": 8, "end": 12, "order": 1, "as": "a3", "expect": "ok"},
    {"op": "alloc_within", "start": 8, "end": 12, "order": 3, "expect": "fail"},
    {"op": "alloc_contig", "count": 3, "as": "a4", "expect": "ok"},
    {"op": "alloc_range", "start": 0, "count": 2, "expect": "fail"},
    {"op": "free_invalid", "ref": "a0", "order": 1, "why": "order", "expect": "error"},
    {"op": "free", "ref": "a0", "expect": "ok"},
    {"op": "free_invalid", "ref": "a0", "order": 2, "why": "double free", "expect": "error"},
    {"op": "free", "ref": "a1", "expect": "ok", "repeat": 4},
    {"op": "check", "free": 16, "free_blocks": [0, 0, 0, 0, 1]},
    {"op": "reserve", "start": 3, "count": 5, "expect": "ok"},
    {"op": "check", "free": 11},
    {"op": "release", "start": 3, "count": 1, "expect": "ok", "repeat": 5},
    {"op": "check", "free": 16, "free_blocks": [0, 0, 0, 0, 1]},
)


def test_every_operation_of_the_format():
    outcome = run(*EVERY_OP)
    assert outcome.failures == []
    assert outcome[:4] == (4, 0, 0, 0)


def test_arena_of_frames_that_nobody_owns():
    outcome = run(
        {"op": "alloc", "order": 0, "expect": "fail"},
        {"op": "release", "start": 0, "count": 16, "expect": "ok"},
        {"op": "check", "free": 16, "free_blocks": [0, 0, 0, 0, 1]},
        init="allocated",
    )
    assert outcome[:4] == (4, 0, 0, 0)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ({"op": "alloc", "order": 1, "pfn": 2}, "Mismatch: PFN must be 2, not 0"),
        ({"op": "alloc", "order": 1, "expect": "fail"}, "Mismatch: alloc must be refused, not done"),
        ({"op": "alloc", "order": 9, "expect": "ok"}, "InvalidArgument: order must be between 0 and 4, not 9"),
        ({"op": "check", "free": 15}, "Mismatch: free frames must be 15, not 16"),
        ({"op": "check", "free_blocks": [16]}, "Mismatch: free blocks per order must be [16], not [0, 0, 0, 0, 1]"),
        ({"op": "defrag"}, "Mismatch: op must be one of the format's, not 'defrag'"),
        ({"op": "free", "ref": "z9"}, "KeyError: 'z9'"),
    ],
)
def test_what_differs_is_a_failure_with_its_reason(op, reason):
    outcome = run(op, placements=["in-words"])
    assert outcome[:4] == (0, 1, 0, 0)
    assert outcome.failures[0].reason == reason
    assert outcome.failures[0].step == 0


def test_beyond_a_stated_limit_is_counted_apart():
    outcome = run({"op": "check", "free": 16}, max_order=16)
    assert outcome[:4] == (3, 0, 0, 1)


def test_a_broken_allocator_fails(monkeypatch, fresh_adoption):
    monkeypatch.setattr(Buddy, "merge_likely", lambda *_: True)
    assert run(*EVERY_OP).failed == 0  # where a block is parked is nobody's business here
    fresh_adoption()
    monkeypatch.setattr(Buddy, "free_block", lambda self, pfn, order, lane, where, top: self.place(pfn, order, lane) or 0)
    assert run(*EVERY_OP).failed == 4


@pytest.fixture
def fresh_adoption():
    from structpage.engines import plain

    plain._slotted.cache_clear()
    yield plain._slotted.cache_clear
    plain._slotted.cache_clear()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "script .* must be JSON of format buddy-conformance/1, not Expecting value.*"),
        ("[]", "format of .* must be 'buddy-conformance/1', not 'list'"),
        ('{"format": "x/1"}', "format of .* must be 'buddy-conformance/1', not 'x/1'"),
        ('{"format": "buddy-conformance/1", "scenarios": [{}]}', "scenarios of .* must be a list of objects with .*"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "script.json"
    path.write_text(content)
    with pytest.raises(TraceError, match=f"^{message}$"):
        conformance.load(path)


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "script.json"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(TraceError, match="must be JSON of format buddy-conformance/1"):
        conformance.load(path)


def test_files_are_read(tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"format": "buddy-conformance/1", "scenarios": [scenario(*EVERY_OP)]}))
    assert conformance.run(conformance.load(path), PLACEMENTS).passed == 4


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded scripts are not beside the repository")
@pytest.mark.parametrize("name", ["buddy_drm.json", "buddy_llfree.json"])
def test_scripts_of_other_allocators(name):
    outcome = conformance.run(conformance.load(SHARED / name), PLACEMENTS)
    assert outcome.failures == []
    assert outcome.passed > 60
    assert outcome.skipped == 0
