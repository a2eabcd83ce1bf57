"""`cache_misses`: the address trace of each placement through a hierarchy of caches.

Terminology: a *miss* at a level is a line that an operation asks for and that neither this level nor one above has;
*in pages* are the misses on the frames' own memory, which for an allocator are links in free pages. Touches of
owners go through the same caches, and push other lines out, but are not counted. `structpage.experiments.caches` says
what is modelled and what is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage import placing, registry
from structpage.arguments import at_least, named
from structpage.core.placements import BUILTIN
from structpage.engines import ProbedEngine
from structpage.experiments import workload as workloads
from structpage.experiments.caches import (
    HIERARCHY,
    OWNERS,
    PAGE_LINES_SHIFT,
    CacheLevel,
    Touches,
    simulate,
    touches_of,
    validate,
)
from structpage.tables import html_table, text_table
from structpage.traces import Capture, Events

DEFAULT_REQUESTS = 20_000
DEFAULT_COUNTED = 2_000
FIGURES = ("hits", "misses", "misses_in_pages")


@dataclass(frozen=True, eq=False)
class CacheMisses:
    """What `cache_misses` found: `rows`, a structured array with a row per placement.

    Its fields are `placement`, `operations` (those that are counted), `touches_per_op`, and for each level of the
    hierarchy `NAME_hits_per_op`, `NAME_misses_per_op` and `NAME_misses_in_pages_per_op`, which are among the misses.
    """

    workload: str
    hierarchy: tuple[CacheLevel, ...]
    owner: str
    warm_up: int
    rows: npt.NDArray[np.void]

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        names = self.rows.dtype.names or ()
        return {
            "workload": self.workload,
            "hierarchy": [level._asdict() for level in self.hierarchy],
            "owner": self.owner,
            "warm_up": self.warm_up,
            "rows": [dict(zip(names, row, strict=True)) for row in self.rows.tolist()],
        }

    def _title(self) -> tuple[str, str]:
        operations = self.rows["operations"].max(initial=0)
        levels = ", ".join(f"{level.name} {_bytes(level.size)} {level.ways}-way" for level in self.hierarchy)
        return (
            f"{self.workload}: misses per operation, {operations} operations after {self.warm_up} that warm the caches",
            f"{levels}; owners: {self.owner}",
        )

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header, names = ["placement", "touches"], ["touches_per_op"]
        for level in self.hierarchy:
            header += [f"{level.name} misses", "in pages"]
            names += [f"{level.name}_misses_per_op", f"{level.name}_misses_in_pages_per_op"]
        return header, [[str(row["placement"]), *(f"{row[name]:.2f}" for name in names)] for row in self.rows]

    def __repr__(self) -> str:
        return "\n".join([*self._title(), "", text_table(*self._table())])

    def _repr_html_(self) -> str:
        return html_table("; ".join(self._title()), *self._table())


def cache_misses(
    source: str | os.PathLike[str] | Capture | Events | workloads.Workload = workloads.DEFAULT,
    *,
    placements: Sequence[str | type] | None = None,
    hierarchy: Sequence[CacheLevel] = HIERARCHY,
    owner: str = "idle",
    requests: int = DEFAULT_REQUESTS,
    counted: int = DEFAULT_COUNTED,
    warm_up: int = DEFAULT_COUNTED,
    stamp: str = "every",
    step: Callable[[str], None] | None = None,
) -> CacheMisses:
    """Run one workload over placements, by default all, and return their cache misses per operation.

    `source` and `stamp` are as for `compare`; of what is no `Workload`, the first `requests` requests are run. The
    last `counted` of them are counted. The caches are empty at first, and filled by the `warm_up` requests before
    those; 0 is a cold start. Requests before these, and the boot, run without caches. `owner` is one of `OWNERS`.

    Raises `MissingExtra` without the extra `cache`, `InvalidArgument` for a hierarchy that cannot be built, and what
    `compare` raises. Cost: 0.1 ms a request with caches, 2 ms when owners touch pages, and 50 us a request without.
    """
    chosen = [
        placing.placement_class(name) for name in (placing.placement_names() if placements is None else placements)
    ]
    named("owner", owner, OWNERS)
    at_least("requests", requests, 0)
    at_least("counted", counted, 1)
    at_least("warm_up", warm_up, 0)
    validate(hierarchy)
    tell = step or (lambda _: None)
    work = source
    if not isinstance(work, workloads.Workload):
        tell("reading the workload")
        work = workloads.Workload.load(work, limit=requests)
    begin = max(len(work.requests) - counted, 0)
    warm_up = min(warm_up, begin)
    rows = np.zeros(len(chosen), _row(hierarchy))
    for row, cls in zip(rows, chosen, strict=True):
        row["placement"] = registry.name_of(BUILTIN, cls)
        tell(f"{row['placement']}: owners {owner}")
        touches = _recorded(work, cls, stamp, owner, begin - warm_up)
        _count(row, work, hierarchy, touches, simulate(touches, hierarchy), begin)
    return CacheMisses(work.name, tuple(hierarchy), owner, warm_up, rows)


def steps(placements: int) -> int:
    """Return how often `cache_misses` calls its `step`."""
    return 1 + placements


def _row(hierarchy: Sequence[CacheLevel]) -> np.dtype[np.void]:
    figures = [f"{level.name}_{figure}_per_op" for level in hierarchy for figure in FIGURES]
    names = ["touches_per_op", *figures]
    return np.dtype([("placement", "U32"), ("operations", np.int64), *((name, np.float64) for name in names)])


def _recorded(work: workloads.Workload, cls: type, stamp: str, owner: str, first: int) -> Touches:
    probe = ProbedEngine(trace=True)
    buddy = work.allocator(cls, engine=probe, stamp=stamp)
    probe.reset()
    replay = buddy.replay(work.requests)
    return touches_of(probe.address_trace, probe.operation_starts, replay, owner, first)


def _count(
    row: np.void,
    work: workloads.Workload,
    hierarchy: Sequence[CacheLevel],
    touches: Touches,
    depth: npt.NDArray[np.int64],
    begin: int,
) -> None:
    asked = ~touches.owners & (touches.request >= begin)
    in_pages = touches.line < work.frames << PAGE_LINES_SHIFT
    row["operations"] = len(work.requests) - begin
    operations = max(row["operations"], 1)
    row["touches_per_op"] = asked.sum() / operations
    for place, level in enumerate(hierarchy):
        missed = asked & (depth > place)
        figures = (asked & ~missed, missed, missed & in_pages)
        for figure, chosen in zip(FIGURES, figures, strict=True):
            row[f"{level.name}_{figure}_per_op"] = chosen.sum() / operations
        asked = missed


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
