"""`SlabReplay`: what came of a replay of slab events, as objects, as arrays, as figures and as text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structpage.fidelity.slab_follow import EXACT, NOT_ASKED, OTHER, TOLD, Followed
from structpage.fidelity.slab_pages import PageCalls
from structpage.fidelity.slab_same import same_counts, same_lists
from structpage.fidelity.slab_state import Placed, Recorded
from structpage.procfs import parse_slabinfo
from structpage.slab.layer import Allocator
from structpage.slab.listing import slab_table
from structpage.slab.proc import slab_records
from structpage.tables import html_table
from structpage.traces.slab_requests import SlabRequests

CACHE_FIGURES = np.dtype(
    [("name", "U64")]
    + [(name, np.int64) for name in ("allocations", "exact", "told", "untraced", "slabs", "objects", "in_use")]
    + [(name, np.int64) for name in ("kernel_slabs", "kernel_objects")]
    + [("counts", np.bool_), ("lists", np.bool_)]
)
"""A row per cache: allocations; those predicted exactly, and those that were the first of a new slab; frees that were
not traced; slabs, objects and objects in use at the end; slabs and objects of the kernel, -1 where unknown; whether the
numbers of slabs and objects are the kernel's, and whether all that CPUs and nodes have is."""


@dataclass(frozen=True, eq=False, repr=False)
class SlabReplay:
    """How simulated slab caches compare with recorded ones."""

    name: str
    """What the trace is called."""
    kernel: str
    """Version of the recorded kernel, `""` if unknown."""
    requests: SlabRequests
    followed: Followed
    allocator: Allocator
    placed: Placed
    calls: PageCalls | None
    """Slabs that the kernel made and gave back, `None` if the trace does not have them."""
    after: Recorded | None
    """The kernel's caches at the end, `None` if unknown."""
    slabinfo: str | None
    """The kernel's /proc/slabinfo after the trace, `None` if unknown."""
    timeline: NDArray[np.void]
    """Rows of `SLAB_TIMES`."""
    seconds: float
    """Wall time of the events alone."""

    @property
    def caches(self) -> NDArray[np.void]:
        """Rows of `CACHE_FIGURES`: all caches, newest first."""
        table = slab_table(self.allocator)
        told = {cache["name"]: cache for cache in self.after or ()}
        answers = _answers_by_cache(self.requests, self.followed)
        rows = np.zeros(len(table), CACHE_FIGURES)
        for row, found in zip(rows, table, strict=True):
            name = str(found["name"])
            mine = answers.get(name, [0] * (NOT_ASKED + 1))
            row["name"] = name
            row["allocations"] = sum(mine[:NOT_ASKED])
            row["exact"], row["told"] = mine[EXACT], mine[TOLD]
            row["untraced"] = self.followed.untraced.get(name, 0)
            row["slabs"], row["objects"], row["in_use"] = found["num_slabs"], found["num_objs"], found["in_use"]
            row["kernel_slabs"] = row["kernel_objects"] = -1
            if name in told:
                nodes, cache = told[name]["node"], self.placed.caches[name]
                row["kernel_slabs"] = sum(node["nr_slabs"] for node in nodes)
                row["kernel_objects"] = sum(node["total_objects"] for node in nodes)
                row["counts"] = same_counts(cache, told[name])
                row["lists"] = same_lists(cache, told[name], self.placed.deltas)
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, as `structpage replay --slab --json` prints them."""
        answers = self.followed.answers
        asked = answers[answers != NOT_ASKED]
        wrong = np.flatnonzero(asked == OTHER)
        known = self.after is not None
        figures = {
            "capture": self.name,
            "kernel": self.kernel,
            "events": len(self.requests.events),
            "allocations": len(asked),
            "exact": int(np.count_nonzero(asked == EXACT)) if known else None,
            "told": int(np.count_nonzero(asked == TOLD)) if known else None,
            "first_miss": int(wrong[0]) if known and len(wrong) else None,
            "repairs": self.followed.repairs,
            "slabs_made": self._page_figures("made"),
            "slabs_given_back": self._page_figures("given_back"),
            "hints_used": {
                "untraced_frees": sum(self.followed.untraced.values()),
                "untraced_given_back": self.followed.untraced_given_back,
                "interrupted": self.followed.interrupted,
            },
            "frees_of_null": self.requests.frees_of_null,
            "foreign": self.followed.foreign + self.requests.unknown,
        }
        rows = self.caches
        if known:
            figures["caches"] = {
                "total": len(rows),
                "counts_identical": int(np.count_nonzero(rows["counts"])),
                "lists_identical": int(np.count_nonzero(rows["lists"])),
            }
        if self.slabinfo is not None:
            figures["slabinfo"] = self._slabinfo_figures(self.slabinfo)
        names = [name for name in rows.dtype.names or () if known or name not in _COMPARED]
        busy = rows[(rows["allocations"] > 0) | (known & ~rows["counts"])]
        figures["by_cache"] = [dict(zip(names, row, strict=True)) for row in busy[names].tolist()]
        figures["seconds"] = round(self.seconds, 3)
        return figures

    def _page_figures(self, what: str) -> dict[str, int | None]:
        predicted = getattr(self.followed, what)
        recorded = None if self.calls is None else getattr(self.calls, what)
        exact = None
        if recorded is not None and self.after is not None:
            exact = sum((Counter(recorded) & Counter(predicted)).values())
        return {"recorded": None if recorded is None else len(recorded), "predicted": len(predicted), "exact": exact}

    def _slabinfo_figures(self, text: str) -> dict[str, int]:
        recorded, found = parse_slabinfo(text), set(slab_records(self.allocator))
        return {"lines": len(recorded), "exact": sum(record in found for record in recorded)}

    def __repr__(self) -> str:
        return f"<SlabReplay {self.name}: {len(self.requests.events)} slab events of {len(self.requests.names)} caches>"

    def _repr_html_(self) -> str:
        title, *_ = str(self).partition("\n")
        figures = self.as_dict()["by_cache"]
        return html_table(title, tuple(figures[0]) if figures else (), [tuple(row.values()) for row in figures])

    def __str__(self) -> str:
        figures = self.as_dict()
        lines = [f"{self.name}, Linux {self.kernel or 'unknown'}: {len(self.requests.events):,} slab events"]
        if figures["exact"] is not None:
            predicted = figures["allocations"] - figures["told"]
            lines.append(f"  {figures['exact']:,} of {predicted:,} objects as recorded, and {figures['told']} told")
        for what in ("slabs_made", "slabs_given_back"):
            page = figures[what]
            recorded = "" if page["recorded"] is None else f"; recorded {page['recorded']:,}"
            recorded += "" if page["exact"] is None else f", the same {page['exact']:,}"
            lines.append(f"  {what.replace('_', ' ')}: {page['predicted']:,}{recorded}")
        if "caches" in figures:
            total, counts, lists = figures["caches"].values()
            lines.append(
                f"  at the end {counts} of {total} caches have the kernel's slabs and objects, {lists} its lists"
            )
        if "slabinfo" in figures:
            lines.append(
                f"  {figures['slabinfo']['exact']} of {figures['slabinfo']['lines']} lines of slabinfo the same"
            )
        hints = figures["hints_used"]
        lines.append(
            f"  {hints['untraced_frees']:,} frees not traced gave {hints['untraced_given_back']:,} slabs back, "
            f"{hints['interrupted']:,} allocations were interrupted, {figures['repairs']:,} repairs"
        )
        lines.append(f"  {figures['frees_of_null']:,} frees of NULL, {figures['foreign']:,} of unknown objects")
        lines.append(f"  {figures['seconds']} s")
        lines += _table(figures["by_cache"])
        return "\n".join(lines)


_COMPARED = ("exact", "told", "kernel_slabs", "kernel_objects", "counts", "lists")


def _answers_by_cache(requests: SlabRequests, followed: Followed) -> dict[str, list[int]]:
    mine = requests.cache >= 0
    pairs = requests.cache[mine] * (NOT_ASKED + 1) + followed.answers[mine]
    counts = np.bincount(pairs, minlength=len(requests.names) * (NOT_ASKED + 1)).reshape(-1, NOT_ASKED + 1)
    return dict(zip(requests.names, counts.tolist(), strict=True))


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = list(rows[0])
    cells = [names] + [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}" for at, (cell, width) in enumerate(pairs))
        for pairs in ([*zip(line, widths, strict=True)] for line in cells)
    ]


def _cell(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else value
