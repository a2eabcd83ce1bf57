"""What an object costs beside a page: nanoseconds per operation of the slab's layer per CPU, and of the page allocator.

The contestants, each of which allocates and frees in turn, so that it finds everything at hand:

==================  =====================================================================
`object`            an object from the free list of its CPU, and back
`page`              a frame of a free memory: a large block is split, and merged again
`page, mixed`       blocks of the orders of script `c`, in a memory that is 60 % in use
==================  =====================================================================

They run in turn, round after round, so that what else the machine does hits all alike. The first round is not counted:
it compiles, and touches the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage.allocator import BuddyAllocator
from structpage.arguments import at_least
from structpage.core.script import replay
from structpage.core.slab.script import ALLOC, FREE, run
from structpage.engines import Engine, engine_of
from structpage.engines.compiled import is_installed
from structpage.engines.plain import Words64
from structpage.experiments.scripts import SCRIPTS
from structpage.placing import placement_class, title
from structpage.request import Requests, requests
from structpage.slab import SlabCache
from structpage.tables import text_table

ROW = np.dtype(
    [("what", "U16"), ("engine", "U16"), ("placement", "U32"), ("operations", np.int64)]
    + [(name, np.float64) for name in ("min_ns", "median_ns", "max_ns")]
)
"""A row: what ran where, over which placement, how many operations, and the least, median and greatest ns of one."""
FRAMES = 1 << 14
SIZE = 192
"""Bytes of the object, those of a dentry."""


@dataclass(frozen=True, eq=False)
class SlabBench:
    """What was found: `rows`, a structured array of `ROW`."""

    rows: npt.NDArray[np.void]

    def share(self, of: str = "page, mixed", engine: str | None = None) -> float:
        """Return the median cost of an object over that of a page, on the first engine or another."""
        engine = engine or str(self.rows["engine"][0])
        rows = self.rows[self.rows["engine"] == engine]
        median = dict(zip(rows["what"].tolist(), rows["median_ns"].tolist(), strict=True))
        return float(median["object"] / median[of])

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values: the rows."""
        names = ROW.names or ()
        return {"rows": [dict(zip(names, row, strict=True)) for row in self.rows.tolist()]}

    def __repr__(self) -> str:
        cells = [[f"{cell:.1f}" if isinstance(cell, float) else cell for cell in row] for row in self.rows.tolist()]
        return text_table(ROW.names or (), cells)


def slab_bench(
    engines: Sequence[str | Engine] | None = None,
    placements: Sequence[str | type] | None = None,
    *,
    operations: int = 200_000,
    runs: int = 15,
) -> SlabBench:
    """Time objects and pages on engines, by default plain and compiled, where numba is installed, over `side-table`.

    Plain runs a tenth of the operations. O(operations x runs).
    """
    operations, runs = at_least("operations", operations, 20), at_least("runs", runs, 1)
    default = ("plain", "compiled") if is_installed() else ("plain",)
    rows = []
    for engine in default if engines is None else engines:
        count = operations if engine_of(engine).name == "compiled" else operations // 10
        for placement in ("side-table",) if placements is None else placements:
            rows += _timed(engine_of(engine), placement_class(placement), count // 2 * 2, runs)
    return SlabBench(np.array(rows, ROW))


def _timed(engine: Engine, placement: type, operations: int, runs: int) -> list[tuple[Any, ...]]:
    contestants = {
        "object": _objects(engine, placement, operations),
        "page": _pages(engine, placement, _in_turn(operations)),
        "page, mixed": _pages(engine, placement, SCRIPTS["c"](operations, FRAMES)),
    }
    times: dict[str, list[float]] = {what: [] for what in contestants}
    for _ in range(runs + 1):
        for what, prepare in contestants.items():
            timed = prepare()
            start = time.perf_counter_ns()
            timed()
            times[what].append((time.perf_counter_ns() - start) / operations)
    who = engine.name, title(placement), operations
    return [(what, *who, min(ns), float(np.median(ns)), max(ns)) for what, (_, *ns) in times.items()]


Prepared = Callable[[], Callable[[], Any]]


def _in_turn(operations: int) -> Requests:
    return requests(np.tile([0, 1], operations // 2), 0, np.repeat(np.arange(operations // 2), 2))


def _objects(engine: Engine, placement: type, operations: int) -> Prepared:
    cache = SlabCache(BuddyAllocator(FRAMES, placement, engine=engine), "object", SIZE)
    slot = np.zeros(operations, np.int64)
    rows = [np.tile(np.array([ALLOC, FREE], np.int64), operations // 2), slot + cache.number, slot, slot, slot - 1]
    where = np.zeros(1, np.int64)
    return lambda: lambda: _whole(engine, run, cache.layer.slub, rows, where)


def _pages(engine: Engine, placement: type, script: Requests) -> Prepared:
    where, samples = np.zeros(script.slots, np.int64), np.zeros(1, np.int64)

    def prepare() -> Callable[[], Any]:
        buddy = BuddyAllocator(FRAMES, placement, engine=engine_of(engine.name))
        return lambda: _whole(engine, replay, buddy.ranges, script.columns(), where, [samples], (-1, 0))

    return prepare


def _whole(
    engine: Engine,
    loop: Callable[..., int],
    state: Any,
    rows: Sequence[Words64],
    where: Words64,
    samples: Sequence[Words64] = (),
    numbers: Sequence[int] = (),
) -> None:
    # All rows, in as many parts as the engine runs them.
    answer = np.zeros(len(rows[0]), np.int64)
    done = 0
    while done < len(answer):
        part = [column[done:] for column in rows]
        done += engine.run(loop, state, part, [where, answer[done:], *samples], *numbers)
