"""Running recorded call scripts of other allocators' tests: formats buddy-conformance/1 and memblock-conformance/1.

The second is told in `memblock_calls`; no placement has a part in it, so each of its scenarios runs once. Of the
first a *scenario* is an arena and a list of operations with their outcomes. Besides those, every step is held to what
any allocator must do: blocks are naturally aligned, no two live blocks overlap, free blocks add up, a refusal
changes nothing, and `check()` finds nothing.

Which of several blocks an allocation gets is told by the order of the free lists. A placement that does not keep it
may get another; from there on the recorded operations are no longer of the same memory, so the scenario ends, is held
to the rules of any allocator up to that step, and counts as one that needs the order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from structpage import placing
from structpage.allocator import BuddyAllocator
from structpage.boot import Memblock
from structpage.errors import CorruptionError, LimitExceeded, StructPageError, TraceError, must
from structpage.experiments import memblock_calls

FORMAT = "buddy-conformance/1"
Op = dict[str, Any]


class Failure(NamedTuple):
    """One operation that did not do what was recorded; for memblock, `placement` is that word."""

    scenario: str
    placement: str
    step: int
    op: Op
    reason: str


class Tally(NamedTuple):
    """How many scenarios of one placement passed, failed, and are beyond its limits; the latter in two kinds."""

    passed: int = 0
    failed: int = 0
    beyond_limit: int = 0
    """Those that do not fit: a size or an order that the placement declares it cannot have."""
    needs_order: int = 0
    """Those that tell which block of a list comes next, where the placement declares that it keeps no order."""


class Outcome(NamedTuple):
    """Counts per scenario and placement, and per scenario of memblock; `skipped` is always 0 and says so."""

    passed: int
    failed: int
    skipped: int
    beyond_limit: int
    """Scenarios beyond what a placement declares, for one reason or the other."""
    failures: list[Failure]
    placements: dict[str, Tally]
    """By placement, and for memblock's scenarios by that word."""


class Mismatch(Exception):
    """An operation's outcome is not the recorded one."""


class NeedsOrder(Exception):
    """An allocation got another block of a list than was recorded, of a placement that keeps no order."""


def load(path: str | Path) -> list[dict[str, Any]]:
    """Return the scenarios of a script file; raises `TraceError` for anything but the known formats."""
    known = " or ".join(repr(name) for name in FORMATS)
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TraceError(must(f"script {path}", f"JSON of format {known}", f"{error}")) from None
    if not isinstance(content, dict) or content.get("format") not in FORMATS:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise TraceError(must(f"format of {path}", known, repr(found)))
    is_scenario, rule = FORMATS[content["format"]]
    scenarios = content.get("scenarios")
    if not isinstance(scenarios, list) or not all(is_scenario(scenario) for scenario in scenarios):
        raise TraceError(must(f"scenarios of {path}", rule, "something else"))
    if content["format"] == FORMAT:
        return scenarios
    config = content.get("config")
    numa = not isinstance(config, dict) or bool(config.get("CONFIG_NUMA", True))
    return [{"name": scenario["test"], "numa": numa, "ops": scenario["ops"]} for scenario in scenarios]


def _is_scenario(scenario: object) -> bool:
    return (
        isinstance(scenario, dict)
        and isinstance(scenario.get("name"), str)
        and all(isinstance(scenario.get(key), int) for key in ("frames", "max_order"))
        and isinstance(scenario.get("ops"), list)
        and all(isinstance(op, dict) for op in scenario["ops"])
    )


FORMATS: dict[str, tuple[Callable[[object], bool], str]] = {
    FORMAT: (_is_scenario, "a list of objects with name, frames, max_order and ops"),
    memblock_calls.FORMAT: (memblock_calls.is_scenario, "a list of objects with test and ops"),
}
"""By their names, what a scenario of each must be."""


def run(
    scenarios: Iterable[dict[str, Any]],
    placements: Iterable[str | type],
    *,
    step: Callable[[str], None] = lambda name: None,
    **options: Any,
) -> Outcome:
    """Run every scenario on every placement, and those of memblock once.

    `options` go to `BuddyAllocator`, `step` is told each scenario's name. A scenario that is beyond what a placement
    declares is counted in `beyond_limit`, and nothing else is.
    """
    failures: list[Failure] = []
    chosen = {_name(placement): placement for placement in placements}
    tallies = defaultdict[str, Tally](Tally)
    for scenario in scenarios:
        step(scenario["name"])
        of_memblock = "numa" in scenario
        for name in ["memblock"] if of_memblock else chosen:
            try:
                failure = run_calls(scenario) if of_memblock else run_scenario(scenario, chosen[name], **options)
                counted = "passed" if failure is None else "failed"
                failures += [failure] if failure is not None else []
            except LimitExceeded:
                counted = "beyond_limit"
            except NeedsOrder:
                counted = "needs_order"
            tallies[name] = tallies[name]._replace(**{counted: getattr(tallies[name], counted) + 1})
    passed = sum(tally.passed for tally in tallies.values())
    beyond = sum(tally.beyond_limit + tally.needs_order for tally in tallies.values())
    return Outcome(passed, len(failures), 0, beyond, failures, dict(tallies))


def _name(placement: str | type) -> str:
    return placement if isinstance(placement, str) else placement.__name__


def run_scenario(
    scenario: dict[str, Any],
    placement: str | type,
    factory: Callable[..., Any] = BuddyAllocator,
    **options: Any,
) -> Failure | None:
    """Run one scenario on one placement and return the first failure; raises `LimitExceeded`, `NeedsOrder`."""
    start = "reserved" if scenario.get("init") == "allocated" else "free"
    buddy = factory(scenario["frames"], placement, max_order=scenario["max_order"], start=start, **options)
    keeps_order = placing.declared(placing.placement_class(placement)).keeps_order
    runner = _Runner(buddy, scenario, keeps_order=keeps_order)
    for index, op in enumerate(scenario["ops"]):
        try:
            for single in _repeated(op):
                runner.step(single)
        except (Mismatch, StructPageError, KeyError, TypeError, IndexError, RecursionError) as error:
            return Failure(scenario["name"], _name(placement), index, op, f"{type(error).__name__}: {error}")
    return None


def run_calls(scenario: dict[str, Any]) -> Failure | None:
    """Run one scenario of memblock and return the first failure."""
    memblock = Memblock(numa=scenario["numa"], max_nodes=memblock_calls.MAX_NODES)
    for index, op in enumerate(scenario["ops"]):
        try:
            memblock, reason = memblock_calls.difference(memblock, op)
        except (StructPageError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            return Failure(scenario["name"], "memblock", index, op, reason)
    return None


def _repeated(op: Op) -> Iterator[Op]:
    for i in range(op.get("repeat", 1)):
        single = dict(op)
        for key in ("as", "ref"):
            if isinstance(op.get(key), str):
                name = op[key].rstrip("0123456789")
                single[key] = f"{name}{int(op[key][len(name) :] or 0) + i}"
        if op["op"] == "alloc_at":
            single["pfn"] = op["pfn"] + i
        if op["op"] in ("release", "reserve"):
            single["start"] = op["start"] + i * (op["op"] == "release")
        yield single


class _Runner:
    def __init__(self, buddy: Any, scenario: dict[str, Any], *, keeps_order: bool) -> None:
        self.buddy, self.keeps_order = buddy, keeps_order
        self.frames, self.orders = scenario["frames"], scenario["max_order"] + 1
        self.named: dict[str, tuple[int, int, bool]] = {}
        self.owned = bytearray(self.frames)

    def step(self, op: Op) -> None:
        method = getattr(self, f"op_{op['op']}", None)
        if method is None:
            raise Mismatch(must("op", "one of the format's", repr(op["op"])))
        if op.get("expect", "ok") == "ok":
            method(op)
        else:
            self._refused(op, method)

    def _refused(self, op: Op, method: Callable[[Op], None]) -> None:
        before = self._state()
        try:
            method(op)
        except CorruptionError:
            raise
        except StructPageError:
            if self._state() != before:
                raise Mismatch("a refusal must leave everything as it was, not changed") from None
        else:
            raise Mismatch(f"{op['op']} must be refused, not done")

    def _state(self) -> tuple[bytes, list[int]]:
        return self.buddy.pages.words.tobytes(), [int(count) for count in self.buddy.free_counts]

    def op_alloc(self, op: Op) -> None:
        align = op.get("align_order", 0)
        pfn = self.buddy.alloc(op["order"], align_order=align)
        if not self.keeps_order and pfn != op.get("pfn", pfn):
            self._got({"op": "alloc"}, pfn, 1 << op["order"], align)
            self.buddy.check()
            raise NeedsOrder
        self._got(op, pfn, 1 << op["order"], align)

    def op_alloc_at(self, op: Op) -> None:
        self._got({"pfn": op["pfn"], **op}, self.buddy.alloc_at(op["pfn"], op["order"]), 1 << op["order"])

    def op_alloc_within(self, op: Op) -> None:
        pfn = self.buddy.alloc_within(op["start"], op["end"], op["order"])
        if not op["start"] <= pfn <= op["end"] - (1 << op["order"]):
            raise Mismatch(must("block", f"within [{op['start']}, {op['end']})", f"at {pfn}"))
        self._got(op, pfn, 1 << op["order"])

    def op_alloc_range(self, op: Op) -> None:
        pfn = self.buddy.alloc_range(op["start"], op["count"])
        self._got({"pfn": op["start"], **op}, pfn, op["count"], run=True)

    def op_alloc_contig(self, op: Op) -> None:
        self._got(op, self.buddy.alloc_contig(op["count"]), op["count"], run=True)

    def _got(self, op: Op, pfn: int, count: int, align: int = 0, *, run: bool = False) -> None:
        if "pfn" in op and pfn != op["pfn"]:
            raise Mismatch(must("PFN", str(op["pfn"]), pfn))
        if not run and pfn % max(count, 1 << align):
            raise Mismatch(must("PFN", f"a multiple of {max(count, 1 << align)}", pfn))
        if not 0 <= pfn <= self.frames - count:
            raise Mismatch(must("block", f"within the {self.frames} frames", f"[{pfn}, {pfn + count})"))
        if any(self.owned[pfn : pfn + count]):
            raise Mismatch(must("block", "of frames that nobody has", f"[{pfn}, {pfn + count})"))
        self.owned[pfn : pfn + count] = b"\1" * count
        if "as" in op:
            self.named[op["as"]] = (pfn, count, run)

    def op_free(self, op: Op) -> None:
        pfn, count, run = self.named[op["ref"]]
        if run:
            self.buddy.free_range(pfn, count)
        else:
            self.buddy.free(pfn, count.bit_length() - 1)
        self.owned[pfn : pfn + count] = bytes(count)

    def op_free_invalid(self, op: Op) -> None:
        pfn, count, _ = self.named[op["ref"]] if "ref" in op else (op["pfn"], 1, False)
        self.buddy.free(pfn, op.get("order", count.bit_length() - 1))

    def op_reserve(self, op: Op) -> None:
        self.buddy.reserve(op["start"], op["count"])
        if any(self.owned[op["start"] : op["start"] + op["count"]]):
            raise Mismatch(must("range", "of frames that nobody has", f"{op['count']} from {op['start']}"))

    def op_release(self, op: Op) -> None:
        self.buddy.release(op["start"], op["count"])

    def op_check(self, op: Op) -> None:
        self.buddy.check()
        counts = [int(count) for count in self.buddy.free_counts]
        free = sum(count << order for order, count in enumerate(counts))
        if free != op.get("free", free):
            raise Mismatch(must("free frames", str(op["free"]), free))
        if counts != op.get("free_blocks", counts):
            raise Mismatch(must("free blocks per order", str(op["free_blocks"]), counts))
