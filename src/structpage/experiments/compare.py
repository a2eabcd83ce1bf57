"""`compare`: one workload, every placement, one table.

Each row comes from runs of its own: plain ones of the first requests for the time, a probed one for the touches, and
one per consumer for its verdict. Metadata lies outside the workload's memory, so every placement serves the same
frames.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage import placing, registry
from structpage.allocator import BuddyAllocator
from structpage.arguments import at_least
from structpage.consumers import BUILTIN as CONSUMERS
from structpage.consumers import Verdict, consumer_class, consumer_names
from structpage.core.placements import BUILTIN
from structpage.core.script import ALLOC, FREE, RELEASE
from structpage.engines import ProbedEngine
from structpage.experiments import workload as workloads
from structpage.experiments.jobs import Task, run_tasks
from structpage.experiments.verdict import observe
from structpage.traces import Capture, Events

DEFAULT_REQUESTS = 100_000
TIMED_REQUESTS, TIMED_RUNS = 25_000, 3
"""The first requests, which are timed, and how often: the least time counts."""

ROW = np.dtype(
    [
        ("placement", "U32"),
        ("list_order", "U10"),
        ("frees_without_allocating", np.bool_),
        ("pfn_digest", "U64"),
        ("metadata_bytes_per_frame", np.float64),
        ("boot_bytes", np.int64),
        ("reads_per_op", np.float64),
        ("writes_per_op", np.float64),
        ("lines_per_op", np.float64),
        ("steps_per_op", np.float64),
        ("free_page_bytes_per_op", np.float64),
        ("ns_per_op", np.float64),
    ]
)
"""A row of what is declared and what was found; verdicts are in `Comparison.verdicts`.

`list_order` is one of `LIST_ORDERS`; PFNs are to be compared between rows where it is kept.
"""

LIST_ORDERS = ("kept", "by address", "none")

Step = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found: `rows`, a structured array of `ROW`, and `verdicts` by placement and consumer."""

    workload: dict[str, Any]
    rows: npt.NDArray[np.void]
    verdicts: dict[str, dict[str, Verdict]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values: `{"workload": ..., "rows": [...]}`, each row with its verdicts."""
        names = ROW.names or ()
        rows = [dict(zip(names, row, strict=True)) for row in self.rows.tolist()]
        for row in rows:
            verdicts = self.verdicts[row["placement"]]
            row["verdicts"] = {consumer: verdict._asdict() for consumer, verdict in verdicts.items()}
        return {"workload": self.workload, "rows": rows}

    def __repr__(self) -> str:
        from structpage.display import comparison_text

        return comparison_text(self)

    def _repr_html_(self) -> str:
        from structpage.display import comparison_html

        return comparison_html(self)


def compare(
    source: str | os.PathLike[str] | Capture | Events | workloads.Workload = workloads.DEFAULT,
    *,
    placements: Sequence[str | type] | None = None,
    consumers: Sequence[str | type] | None = None,
    memory: str | int | None = None,
    full: bool = False,
    requests: int = DEFAULT_REQUESTS,
    stamp: str = "every",
    jobs: int = 1,
    step: Step | None = None,
) -> Comparison:
    """Run one workload over placements, by default all, and return what each costs and what breaks each.

    `source` is a shipped capture's name, a path, or what the readers return; its first `requests` requests are run,
    with `full` all of them. `memory` sizes the machine of a bare trace. `stamp` says which frames of an allocation
    name its owner, `"every"` one or the `"head"`: the difference is what memory that describes itself costs.
    `jobs` processes share the work, but for the times, which are taken alone and first. `step` is called with the name
    of each part of the work.

    Raises what the readers raise, `UnknownName` for a placement or consumer, `LimitExceeded` for a machine beyond a
    placement's stated limit. Cost: about 4 s a placement on the shipped capture, less with `jobs`.
    """
    chosen = [
        placing.placement_class(name) for name in (placing.placement_names() if placements is None else placements)
    ]
    claims = consumer_names() if consumers is None else list(consumers)
    for claim in claims:
        consumer_class(claim)
    at_least("requests", requests, 0)
    tell = step or (lambda _: None)
    work = source
    if not isinstance(work, workloads.Workload):
        tell("reading the workload")
        work = workloads.Workload.load(work, limit=None if full else requests, memory=memory)
    names = [registry.name_of(BUILTIN, cls) for cls in chosen]
    rows = np.zeros(len(chosen), ROW)
    for row, name, cls in zip(rows, names, chosen, strict=True):
        tell(f"{name}: time")
        _fill(row, {"placement": name} | _declared(cls) | _time(work, cls, stamp))
    tasks = [
        task
        for name, cls in zip(names, chosen, strict=True)
        for task in (
            Task(f"{name}: touches", _touches, (cls, stamp)),
            *(Task(f"{name}: {_title(claim)}", observe, (cls, claim)) for claim in claims),
        )
    ]
    results = run_tasks(work, tasks, at_least("jobs", jobs, 1), tell)
    verdicts: dict[str, dict[str, Verdict]] = {}
    for row, name in zip(rows, names, strict=True):
        _fill(row, next(results))
        verdicts[name] = {_title(claim): next(results) for claim in claims}
    return Comparison({**_described(work), "stamp": stamp}, rows, verdicts)


def steps(placements: int, consumers: int) -> int:
    """Return how often `compare` calls its `step`."""
    return 1 + placements * (2 + consumers)


def _title(claim: str | type) -> str:
    return claim if isinstance(claim, str) else registry.name_of(CONSUMERS, claim)


def _fill(row: np.void, figures: dict[str, Any]) -> None:
    for name, figure in figures.items():
        row[name] = figure


def _declared(cls: type) -> dict[str, Any]:
    says = placing.declared(cls)
    order = LIST_ORDERS[0 if says.keeps_order else 1 if says.by_address else 2]
    return {"list_order": order, "frees_without_allocating": says.frees_without_allocating}


def _steps(buddy: BuddyAllocator) -> int:
    walked: Callable[[], int] = getattr(buddy.lists, "steps_walked", lambda: 0)
    return walked()


def _time(work: workloads.Workload, cls: type, stamp: str) -> dict[str, Any]:
    timed = work.requests[:TIMED_REQUESTS]
    spent = []
    for _ in range(TIMED_RUNS):
        buddy = work.allocator(cls, engine="plain", stamp=stamp)
        begin = time.perf_counter_ns()
        buddy.replay(timed)
        spent.append(time.perf_counter_ns() - begin)
    return {"ns_per_op": min(spent) / max(len(timed), 1)}


def _touches(work: workloads.Workload, cls: type, stamp: str) -> dict[str, Any]:
    probe = ProbedEngine()
    buddy = work.allocator(cls, engine=probe, stamp=stamp)
    probe.reset()
    steps = _steps(buddy)
    result = buddy.replay(work.requests)
    operations = max(probe.operations, 1)
    counts = probe.counts()
    memory = probe.counts("memory")
    return {
        "pfn_digest": result.pfn_digest,
        "metadata_bytes_per_frame": buddy.metadata_bytes / buddy.pages.frames,
        "boot_bytes": buddy.metadata_bytes,
        "reads_per_op": counts.reads / operations,
        "writes_per_op": counts.writes / operations,
        "lines_per_op": probe.lines_per_operation,
        "steps_per_op": (_steps(buddy) - steps) / operations,
        "free_page_bytes_per_op": 8 * (memory.reads + memory.writes) / operations,
    }


def _described(work: workloads.Workload) -> dict[str, Any]:
    kinds = work.requests.kind
    ran = {"allocations": ALLOC, "frees": FREE, "releases": RELEASE}
    return {
        "name": work.name,
        "frames": work.frames,
        "zones": [zone.name for zone in work.zones],
        "requests": len(kinds),
        **work.counts,
        **{name: int((kinds == kind).sum()) for name, kind in ran.items()},
    }
