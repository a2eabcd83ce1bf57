"""What the recorded allocator did, event by event, put beside the requests that made it do so.

A removal or a fallback belongs to the next allocation of its CPU, which is logged when it is done; a drained page to
the free or drain before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.linux import script
from structpage.core.linux.tracepoints import (
    CHANGED_AT,
    DRAINED,
    FELL_BACK,
    FOUND_ORDER_AT,
    FOUND_TYPE_AT,
    ORDER_AT,
    REMOVED,
    TYPE_AT,
)
from structpage.request import Column
from structpage.traces.events import Events

_ALLOCATE = (script.ALLOC, script.BULK)
_DRAIN = (script.FREE, script.COMMIT, script.DRAIN, script.DRAIN_BATCH)
_MAX_HINTS = 60


class Records(NamedTuple):
    """Records as `tracepoints` has them: `pairs[2 * bound[i] : 2 * bound[i + 1]]` are those of row i."""

    pairs: Column
    bound: Column
    unclaimed: int
    """Records at the ends of the trace, whose request is not in it."""

    def of(self, row: int) -> list[tuple[int, int]]:
        """Return the records of a row: pairs of a PFN and what happened to it."""
        part = self.pairs[2 * self.bound[row] : 2 * self.bound[row + 1]].tolist()
        return list(zip(part[::2], part[1::2], strict=True))

    def number(self, what: int) -> int:
        """Return how many records are of a kind."""
        return int(np.count_nonzero(self.pairs[1::2] & 15 == what))

    def take(self, index: NDArray[np.intp]) -> Records:
        """Return the records of rows in another order."""
        sizes = np.diff(self.bound)[index]
        bound = np.concatenate([[0], np.cumsum(sizes)])
        source = np.repeat(self.bound[index] - bound[:-1], sizes) + np.arange(bound[-1])
        return Records(self.pairs.reshape(-1, 2)[source].reshape(-1), bound, self.unclaimed)


def records_of(events: Events, event: Column, kind: Column) -> tuple[Records, Column]:
    """Return the records of rows that are in the order of their events, and the hints of their thefts."""
    removed, drained = (
        np.flatnonzero(events.kind == events.code(name)) for name in ("mm_page_alloc_zone_locked", "mm_page_pcpu_drain")
    )
    fell, fallback, changed = _fallbacks(events)
    where = np.concatenate([removed, fell, drained])
    what = np.concatenate([_coded(events, removed, REMOVED), fallback, _coded(events, drained, DRAINED)])
    allocate, drain = np.isin(kind, _ALLOCATE), np.isin(kind, _DRAIN)
    thief = _claimed(events, fell, event, allocate, after=True)
    row = np.concatenate(
        [
            _claimed(events, removed, event, allocate, after=True),
            thief,
            _claimed(events, drained, event, drain, after=False),
        ]
    )
    order = np.lexsort((where, row))
    order = order[row[order] >= 0]
    pairs = np.stack([events.pfn[where[order]], what[order]], axis=1).reshape(-1)
    bound = np.searchsorted(row[order], np.arange(len(event) + 1)).astype(np.int64)
    return Records(pairs, bound, len(row) - len(order)), _thefts(thief, changed, len(event))


def _coded(events: Events, rows: Column, what: int) -> Column:
    order, mt = events.order[rows].astype(np.int64), events.migratetype[rows].astype(np.int64)
    coded: Column = what | order << ORDER_AT | mt << TYPE_AT
    return coded


def _fallbacks(events: Events) -> tuple[Column, Column, Column]:
    # Rows of fallbacks, their codes, and whether the pageblock was of the type asked for afterwards.
    table = events.details.get("mm_page_alloc_extfrag")
    if table is None:
        return (np.zeros(0, np.int64),) * 3
    names = ("alloc_order", "alloc_migratetype", "fallback_order", "fallback_migratetype")
    order, mt, found, other = (table[name].astype(np.int64) for name in names)
    told = "change_ownership" in (table.dtype.names or ())
    changed = table["change_ownership"].astype(np.int64) if told else 0 * order
    code = FELL_BACK | order << ORDER_AT | mt << TYPE_AT | found << FOUND_ORDER_AT | other << FOUND_TYPE_AT
    return table["event"], code | changed << CHANGED_AT, changed


def _claimed(events: Events, happened: Column, event: Column, mask: NDArray[np.bool_], *, after: bool) -> Column:
    # The row that each happening belongs to: of its CPU, among those of the mask, the next or the last before it.
    rows = np.full(len(happened), -1, np.int64)
    cpu, owner = events.cpu[happened], events.cpu[event]
    for one in np.unique(cpu).tolist():
        chosen, mine = np.flatnonzero(mask & (owner == one)), np.flatnonzero(cpu == one)
        place = np.searchsorted(event[chosen], happened[mine], "right") - (0 if after else 1)
        good = (place >= 0) & (place < len(chosen))
        rows[mine[good]] = chosen[place[good]]
    return rows


def _thefts(thief: Column, changed: Column, rows: int) -> Column:
    # The hints of rows that stole, as `core.linux.fallback` reads them; 0 for the others.
    hints = np.zeros(rows, np.int64)
    for row in np.unique(thief[thief >= 0]).tolist():
        digits = changed[thief == row].tolist()[:_MAX_HINTS]
        hints[row] = sum(digit << i for i, digit in enumerate(digits)) | 1 << len(digits)
    return hints
