"""Recorded call scripts: ours here, other people's from a folder beside the repository when it is there."""

import json
import os
from pathlib import Path

import pytest
from helpers import IN_ORDER, PLACEMENTS

from structpage import BuddyAllocator
from structpage.core.buddy import Buddy
from structpage.errors import TraceError
from structpage.experiments import conformance
from structpage.experiments.conformance import Tally

SHARED = Path(os.environ.get("STRUCTPAGE_CONFORMANCE", Path(__file__).parents[3] / "shared" / "conformance"))
KNOWN = "'buddy-conformance/1' or 'memblock-conformance/1'"
ALL = len(PLACEMENTS)


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
    assert outcome[:4] == (ALL, 0, 0, 0)


def test_arena_of_frames_that_nobody_owns():
    outcome = run(
        {"op": "alloc", "order": 0, "expect": "fail"},
        {"op": "release", "start": 0, "count": 16, "expect": "ok"},
        {"op": "check", "free": 16, "free_blocks": [0, 0, 0, 0, 1]},
        init="allocated",
    )
    assert outcome[:4] == (ALL, 0, 0, 0)


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
    assert outcome[:4] == (ALL - 1, 0, 0, 1)


PARKED = (
    {"op": "alloc_at", "pfn": 0, "order": 4, "expect": "ok"},
    *({"op": "alloc_at", "pfn": pfn, "order": 0, "as": f"a{pfn}", "expect": "ok"} for pfn in (16, 17, 20, 21, 24, 25)),
    *({"op": "free", "ref": f"a{pfn}", "expect": "ok"} for pfn in (20, 24, 16)),
)
"""Three single frames that park at the tail of their list, one after the other: it is 20, 24, 16."""


@pytest.mark.parametrize(
    ("pfn", "failed", "needs_order"),
    [
        (20, [], ["bitmap", "array-index", "radix-tree"]),
        (16, IN_ORDER, ["array-index", "radix-tree"]),
        (24, IN_ORDER, ["bitmap"]),
    ],
)
def test_a_script_that_needs_the_order_of_a_list_is_beyond_those_that_keep_none(pfn, failed, needs_order):
    outcome = run(
        *PARKED, {"op": "alloc", "order": 0, "pfn": pfn, "expect": "ok"}, {"op": "check", "free": 12}, frames=32
    )
    assert outcome[:4] == (ALL - len(failed) - len(needs_order), len(failed), 0, len(needs_order))
    assert [failure.placement for failure in outcome.failures] == failed
    for name, tally in outcome.placements.items():
        assert tally == Tally(name not in (*failed, *needs_order), name in failed, 0, name in needs_order)


@pytest.mark.parametrize("op", [{"op": "check", "free": 12}, {"op": "alloc", "order": 1, "expect": "fail"}])
def test_what_else_is_wrong_is_a_failure_of_theirs_too(op):
    assert run(*PARKED, op, frames=32, placements=["bitmap", "array-index"])[:4] == (0, 2, 0, 0)


def test_a_block_that_was_not_free_is_no_question_of_order(monkeypatch):
    monkeypatch.setattr(BuddyAllocator, "alloc", lambda self, order, align_order=0: 21)
    wrong = {"op": "alloc", "order": 0, "pfn": 20, "expect": "ok"}
    outcome = run(*PARKED, wrong, frames=32, placements=["bitmap"])
    assert outcome.failures[0].reason == "Mismatch: block must be of frames that nobody has, not [21, 22)"


def test_a_broken_allocator_fails(monkeypatch, fresh_adoption):
    monkeypatch.setattr(Buddy, "merge_likely", lambda *_: True)
    assert run(*EVERY_OP).failed == 0  # where a block is parked is nobody's business here
    fresh_adoption()
    monkeypatch.setattr(
        Buddy, "free_block", lambda self, pfn, order, lane, where, top: self.place(pfn, order, lane) or 0
    )
    assert run(*EVERY_OP).failed == ALL


@pytest.fixture
def fresh_adoption():
    from structpage.engines import plain

    plain._slotted.cache_clear()
    yield plain._slotted.cache_clear
    plain._slotted.cache_clear()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", f"script .* must be JSON of format {KNOWN}, not Expecting value.*"),
        ("[]", f"format of .* must be {KNOWN}, not 'list'"),
        ('{"format": "x/1"}', f"format of .* must be {KNOWN}, not 'x/1'"),
        ('{"format": "memblock-conformance/1"}', "scenarios of .* must be a list of objects with test and ops, not .*"),
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
    with pytest.raises(TraceError, match=f"must be JSON of format {KNOWN}"):
        conformance.load(path)


def test_files_are_read(tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"format": "buddy-conformance/1", "scenarios": [scenario(*EVERY_OP)]}))
    assert conformance.run(conformance.load(path), PLACEMENTS).passed == ALL


def memblock_file(tmp_path, *ops, numa=True):
    path = tmp_path / "memblock.json"
    scenario = {"test": "ours", "ops": list(ops)}
    told = {"format": "memblock-conformance/1", "config": {"CONFIG_NUMA": numa}, "scenarios": [scenario]}
    path.write_text(json.dumps(told))
    return path


def call(name, *, ret=0, memory=(), reserved=(), bottom_up=False, **arguments):
    return {"op": name, **arguments, "bottom_up": bottom_up, "ret": ret, "memory": memory, "reserved": reserved}


NODES = [[0x10000, 0x4000, 0, 0], [0x14000, 0x4000, 1, 0]]
TAKEN = [[0x17000, 0x1000, 16, 0]]
ALLOC = {"size": 0x1000, "align": 64, "min_addr": 0, "max_addr": 0}


def test_calls_of_memblock_are_counted_once_whatever_the_placements(tmp_path):
    path = memblock_file(
        tmp_path,
        {"op": "state", "memory": NODES[:1], "reserved": []},
        call("memblock_add_node", base=0x14000, size=0x4000, nid=1, flags=0, memory=NODES),
        call("memblock_alloc_try_nid", nid=0, ret=0x13000, memory=NODES, reserved=[[0x13000, 0x1000, 16, 0]], **ALLOC),
        call("memblock_free", base=0x13000, size=0x1000, memory=NODES),
        call("memblock_alloc_exact_nid_raw", nid=2, ret=None, memory=NODES, **ALLOC),
        call("memblock_alloc_node", nid=2, ret=0x17000, memory=NODES, reserved=TAKEN, **ALLOC),
        call("memblock_set_node", base=0, size=1 << 20, nid=3, memory=[[0x10000, 0x8000, 3, 0]], reserved=TAKEN),
    )
    outcome = conformance.run(conformance.load(path), PLACEMENTS)
    assert outcome.failures == []
    assert outcome[:4] == (1, 0, 0, 0)


def test_without_numa_all_memory_is_of_node_0(tmp_path):
    op = call("memblock_add_node", base=0, size=4096, nid=1, flags=1, memory=[[0, 4096, 0, 1]])
    assert conformance.run(conformance.load(memblock_file(tmp_path, op, numa=False)), []).passed == 1
    assert conformance.run(conformance.load(memblock_file(tmp_path, op)), []).failed == 1


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (call("memblock_add", base=0, size=16), "memory must be [], not [[0, 16, 16, 0]]"),
        (call("memblock_alloc_try_nid", nid=-1, ret=64, **ALLOC), "ret must be 64, not None"),
        (call("memblock_dance", base=0), "op must be one of the format's, not 'memblock_dance'"),
        (call("memblock_add", base=0), "KeyError: 'size'"),
        (call("memblock_add", base=-1, size=1), f"InvalidArgument: base must be between 0 and {2**64 - 1}, not -1"),
    ],
)
def test_what_a_call_of_memblock_did_otherwise(tmp_path, op, reason):
    outcome = conformance.run(conformance.load(memblock_file(tmp_path, op)), PLACEMENTS)
    assert outcome[:4] == (0, 1, 0, 0)
    assert outcome.failures[0] == ("ours", "memblock", 0, json.loads(json.dumps(op)), reason)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded scripts are not beside the repository")
def test_calls_of_the_kernels_own_tests():
    scenarios = conformance.load(SHARED / "memblock_flat.json")
    outcome = conformance.run(scenarios, PLACEMENTS)
    assert outcome.failures == []
    assert outcome[:4] == (len(scenarios), 0, 0, 0)
    assert outcome.passed == 147


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded scripts are not beside the repository")
@pytest.mark.parametrize("name", ["buddy_drm.json", "buddy_llfree.json"])
def test_scripts_of_other_allocators(name):
    outcome = conformance.run(conformance.load(SHARED / name), PLACEMENTS)
    assert outcome.failures == []
    assert outcome.passed > 60
    assert outcome.skipped == 0
