"""`bench`: nanoseconds per operation, of every engine and placement, beside a twin in C.

Terminology: a *cell* is a workload at a number of frames; its contestants run in turn, round after round, so that what
else the machine does hits all alike. Every run is on fresh state. The first of each contestant is not counted: it
compiles, and touches the frames.

What is fast runs a long script often; what is slow runs a shorter one fewer times, and its rows say how long it was.
The longer the script, the longer the free lists, so a placement whose removals walk always runs a short one, and its
time is that of lists of that length.
Above 2^18 frames the scripts of the fast ones grow with the frames, so that the memory fills as far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage import placing
from structpage.arguments import at_least, named
from structpage.errors import MissingExtra, must
from structpage.experiments import host
from structpage.experiments.scripts import SCRIPTS
from structpage.experiments.trials import PEERS, TWIN, TWIN_FILE, Contestant, contestants, names
from structpage.frames import PAGE_SIZE, FrameMemory
from structpage.request import Requests
from structpage.state import STAMPS
from structpage.tables import text_table

ROW = np.dtype(
    [
        ("engine", "U32"),
        ("placement", "U32"),
        ("workload", "U8"),
        ("frames", np.int64),
        ("operations", np.int64),
        ("stamp", "U8"),
        ("min_ns", np.float64),
        ("median_ns", np.float64),
        ("max_ns", np.float64),
    ]
)
"""A row: who ran what on what, and the least, median and greatest nanoseconds per operation of its runs."""

SHIFT = 18
FRAMES = (1 << SHIFT,)
FULL_FRAMES = tuple(1 << shift for shift in range(14, 23, 2))
MOST = 0.8
"""The share of the machine's memory that a placement which touches frames may fill."""


class Effort(NamedTuple):
    """How much of a script is run at 2^18 frames or fewer: operations, and how often; and whether it grows above."""

    operations: int
    runs: int = 3
    grows: bool = False

    def at(self, frames: int) -> tuple[int, int]:
        """Return operations and runs at a number of frames."""
        times = max(frames >> SHIFT, 1) if self.grows else 1
        return self.operations * times, max(self.runs // times, 3)


FAST = Effort(300_000, runs=9, grows=True)
EFFORTS = {"compiled": FAST, TWIN: FAST, "plain": Effort(10_000), "probed": Effort(1_000), "checked": Effort(300)}
PEER = Effort(10_000)
WALKED = 10_000
"""Operations of a script for a placement whose removals walk, at most."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What a bench found: the `machine`, and `rows`, a structured array of `ROW`."""

    machine: dict[str, Any]
    rows: npt.NDArray[np.void]

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values: `{"machine": {...}, "rows": [{...}]}`."""
        return {
            "machine": self.machine,
            "rows": [dict(zip(ROW.names or (), row, strict=True)) for row in self.rows.tolist()],
        }

    @property
    def ratios(self) -> npt.NDArray[np.float64]:
        """Median of each row over that of the C twin with the same workload, frames and stamp; NaN without one."""
        cells = [tuple(row) for row in self.rows[["workload", "frames", "stamp"]].tolist()]
        twins = {cell: row["median_ns"] for cell, row in zip(cells, self.rows, strict=True) if row["engine"] == TWIN}
        return np.array(
            [row["median_ns"] / twins.get(cell, np.nan) for cell, row in zip(cells, self.rows, strict=True)]
        )

    def __repr__(self) -> str:
        header = (*(ROW.names or ()), f"x {TWIN}")
        rows = [
            (*(f"{value:.1f}" if isinstance(value, float) else value for value in row), _ratio(ratio))
            for row, ratio in zip(self.rows.tolist(), self.ratios, strict=True)
        ]
        machine = "\n".join(f"{name}: {_said(value)}" for name, value in self.machine.items())
        return f"{machine}\n\n{text_table(header, rows)}"


def _said(value: object) -> str:
    return ", ".join(f"{name} {size}" for name, size in value.items()) if isinstance(value, dict) else str(value)


def _ratio(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


Step = Callable[[str], None]


class Cell(NamedTuple):
    """A workload at a number of frames, and who meets in it."""

    workload: str
    frames: int
    contestants: list[Contestant]


class Plan(NamedTuple):
    """What is to be run, and what was left out and why."""

    cells: list[Cell]
    left_out: list[str]

    @property
    def steps(self) -> int:
        """How often `run` calls its `step`."""
        return sum(1 + _effort(one).at(cell.frames)[1] for cell in self.cells for one in cell.contestants)

    def run(self, step: Step | None = None) -> Bench:
        """Run it all and return the rows; `step` is called with the name of each run before it."""
        rows = [row for cell in self.cells for row in _timed(cell, step or (lambda _: None))]
        return Bench(host.describe(), np.array(rows, ROW))


def plan(
    *,
    engines: Sequence[str] | None = None,
    placements: Sequence[str | type] | None = None,
    workloads: Sequence[str] | None = None,
    frames: Sequence[int] | None = None,
    stamps: Sequence[str] | None = None,
    full: bool = False,
    twin: str | os.PathLike[str] | None = None,
) -> Plan:
    """Return what to run: by default every engine and placement, and the C twin, on all workloads at 2^18 frames.

    With `full` the sizes are 2^14 to 2^22, and peers run too. Of the engines that are named all must be there; of the
    others those that are not are left out. `twin` is the twin's file, by default the one of the checkout that the
    package is run from. Raises `UnknownName`, `MissingExtra`, `InvalidArgument`.
    """
    titles = [named("workload", workload, SCRIPTS) for workload in workloads or SCRIPTS]
    sizes = [at_least("frames", size, 1) for size in frames or (FULL_FRAMES if full else FRAMES)]
    chosen_placements = placing.placement_names() if placements is None else placements
    chosen_stamps = [named("stamp", stamp, STAMPS) for stamp in stamps or STAMPS]
    found: list[Contestant] = []
    left_out: list[str] = []
    for name in engines or (name for name in names() if full or name not in PEERS):
        try:
            found += contestants(
                named("engine", name, names()), chosen_placements, chosen_stamps, Path(twin or TWIN_FILE)
            )
        except MissingExtra as error:
            if engines:
                raise
            left_out.append(f"{name} is left out: {error}")
    cells = []
    for size in sizes:
        fit = _fitting(found, size, left_out)
        cells += [Cell(workload, size, fit) for workload in titles]
    return Plan(cells, left_out)


def _fitting(contestants: Sequence[Contestant], frames: int, left_out: list[str]) -> list[Contestant]:
    memory = host.memory_bytes()
    if memory is None or PAGE_SIZE * frames < MOST * memory:
        return list(contestants)
    for placement in dict.fromkeys(one.placement for one in contestants if one.touches_frames):
        rule = must("its memory", f"below {MOST:.0%} of the machine's {memory} bytes", PAGE_SIZE * frames)
        left_out.append(f"{placement} at {frames} frames is left out: {rule}")
    return [one for one in contestants if not one.touches_frames]


def _effort(contestant: Contestant) -> Effort:
    effort = EFFORTS.get(contestant.engine, PEER)
    return Effort(min(effort.operations, WALKED), effort.runs) if contestant.walks else effort


def _timed(cell: Cell, step: Step) -> Iterator[tuple[Any, ...]]:
    workload, frames, contestants = cell
    memory = FrameMemory(frames)
    efforts = [_effort(contestant).at(frames) for contestant in contestants]
    scripts = {operations: SCRIPTS[workload](operations, frames) for operations, _ in efforts}
    spent: list[list[float]] = [[] for _ in contestants]
    for turn in range(1 + max((runs for _, runs in efforts), default=0)):
        for contestant, (operations, runs), times in zip(contestants, efforts, spent, strict=True):
            if turn <= runs:
                step(f"{workload}, {frames} frames: {contestant.engine} {contestant.placement}".rstrip())
                times.append(_time(contestant, scripts[operations], memory))
    for contestant, (operations, _), (_, *times) in zip(contestants, efforts, spent, strict=True):
        who = contestant.engine, contestant.placement, workload, frames, len(scripts[operations]), contestant.stamp
        yield (*who, min(times), float(np.median(times)), max(times))


def _time(contestant: Contestant, requests: Requests, memory: FrameMemory) -> float:
    run = contestant.prepare(requests, memory)
    begin = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - begin) / max(len(requests), 1)
