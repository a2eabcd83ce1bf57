"""`replay_capture`: a recorded kernel and the simulator, side by side, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structpage import placing
from structpage.arguments import named
from structpage.core.linux import script
from structpage.core.linux.tracepoints import FELL_BACK, REMOVED
from structpage.engines import Engine
from structpage.errors import InvalidArgument, must
from structpage.fidelity.asked import SOURCES, Asked, asked_of
from structpage.fidelity.follow import Followed, follow
from structpage.fidelity.order import begun_order, count_ambiguous, is_counted
from structpage.fidelity.start import machine_of, same_counts, same_lists, same_percpu
from structpage.machine import Machine
from structpage.request import Column
from structpage.traces.capture import Capture

PASSES = 3
"""Most times that a trace of several CPUs is followed, to put its requests in order."""


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How a simulated machine compares with a recorded one."""

    capture: Capture
    asked: Asked
    """The requests, in the order in which they were run."""
    followed: Followed
    machine: Machine
    """The machine as it was at the end."""
    ambiguous: int
    """Allocations that depend on an order of CPUs that the trace does not fix."""
    seconds: float
    """Wall time of running and comparing the requests, as often as that was done; not of reading the trace, pairing
    its frees, or loading compiled code."""

    @property
    def exact(self) -> NDArray[np.bool_]:
        """For each successful allocation of the trace, in its order, whether it was predicted."""
        exact: NDArray[np.bool_] = self.predictions == self.asked.rows.expected[self._allocations()]
        return exact

    @property
    def predictions(self) -> Column:
        """The PFN predicted for each successful allocation of the trace, in its order; int64."""
        return self.followed.answers[self._allocations()]

    def _allocations(self) -> NDArray[np.intp]:
        # The rows of the allocations, in the order of the trace.
        rows = np.flatnonzero(self.asked.rows.kind == script.ALLOC)
        return rows[np.argsort(self.asked.rows.event[rows], kind="stable")]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, as `structpage replay --json` prints them."""
        exact, lists = self.exact, self.capture.after
        wrong = np.flatnonzero(~exact)
        return {
            "capture": self.capture.name,
            "kernel": self.capture.kernel,
            "requests": len(exact),
            "exact": int(exact.sum()),
            "first_miss": int(wrong[0]) if len(wrong) else None,
            "repairs": len(self.followed.misses),
            "ambiguous": self.ambiguous,
            "removals": {"total": self.asked.records.number(REMOVED), "exact": self.followed.removals},
            "fallbacks": {"total": self.asked.records.number(FELL_BACK), "exact": self.followed.fallbacks},
            "final_lists_identical": same_lists(self.machine, lists),
            "final_pcp_identical": same_percpu(self.machine, lists),
            "final_buddyinfo_identical": same_counts(self.machine, lists),
            "hints_used": {**self.asked.hints, **self._retyped()},
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        figures = self.as_dict()
        lines = [f"{figures['capture']}, Linux {figures['kernel']}: {self._share()}"]
        lines += [
            f"  {name}: {figures[name]['exact']:,} of {figures[name]['total']:,} as recorded"
            for name in ("removals", "fallbacks")
        ]
        same = {True: "identical", False: "not identical"}
        lines.append(f"  final free lists {same[figures['final_lists_identical']]}")
        lines.append(f"  final per-CPU lists {same[figures['final_pcp_identical']]}")
        lines.append(f"  final buddyinfo {same[figures['final_buddyinfo_identical']]}")
        lines.append(f"  {figures['repairs']} repairs, {figures['ambiguous']} allocations in an order not told")
        hints = ", ".join(f"{name} {count:,}" for name, count in figures["hints_used"].items())
        lines.append(f"  hints used: {hints or 'none'}")
        lines.append(f"  {figures['seconds']} s")
        titles = ("the first request that did not go as recorded:", "the first that was answered otherwise:")
        for title, story in zip(titles, self.followed.stories, strict=False):
            lines += [title, story]
        return "\n".join(lines)

    def _share(self) -> str:
        exact = self.exact
        wrong = np.flatnonzero(~exact)
        share = f"{exact.sum():,} of {len(exact):,} allocations exact"
        return f"{share}, the first miss at {wrong[0]:,}" if len(wrong) else share

    def _retyped(self) -> dict[str, int]:
        used = int(self.machine.words("hint")[1])
        return {"retype": used} if used else {}


def replay_capture(
    capture: Capture,
    *,
    requests: str = "hints",
    placement: str | type = "side-table",
    engine: str | Engine | None = None,
    resynchronise: bool = True,
) -> Fidelity:
    """Replay a capture: build its machine, ask what its kernel was asked, and compare what comes of it.

    Args:
        capture: the capture.
        requests: `"hints"`, or `"kmem"` for the standard events alone.
        placement: where the free lists live; any that keeps the order of its lists.
        engine: what runs the core.
        resynchronise: put the machine right after a wrong prediction. Without it predictions depend on nothing
            that the kernel answered.

    Raises:
        UnknownName: there is no such source of requests, placement, engine or kernel.
        InvalidArgument: the placement does not keep the order of its lists.
        TraceError: the capture lacks something.

    Cost: some 0.4 us per event compiled, 20 us plain; twice that for several CPUs.

    """
    named("requests", requests, SOURCES)
    if not placing.declared(placing.placement_class(placement)).keeps_order:
        raise InvalidArgument(must("placement", "one that keeps the order of its lists", repr(placement)))
    machine = machine_of(capture, placement, engine=engine)
    asked = asked_of(capture, requests, engine)
    followed = follow(machine, asked, capture.events, resynchronise=resynchronise)
    seconds = followed.seconds
    if is_counted(capture.events):
        for _ in range(PASSES - 1):
            order = begun_order(capture.events, asked.rows, followed.made)
            if (order == np.arange(len(order))).all():
                break
            asked = asked.take(order)
            machine = machine_of(capture, placement, engine=engine)
            followed = follow(machine, asked, capture.events, resynchronise=resynchronise)
            seconds += followed.seconds
    zone = _zones(machine, followed.moved)
    ambiguous = count_ambiguous(capture.events, asked.rows, followed.made, zone)
    return Fidelity(capture, asked, followed, machine, ambiguous, seconds)


def _zones(machine: Machine, pfn: Column) -> Column:
    # The zone of each frame, -1 where there is none.
    zones = np.full(len(pfn), -1, np.int64)
    for zone in machine.zones:
        zones[(pfn >= zone.start) & (pfn < zone.end)] = zone.number
    return zones
