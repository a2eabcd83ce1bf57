"""The order in which the requests of several CPUs reached the allocator, as far as the trace tells.

A free is logged when it begins, an allocation when it is done. What either does to a zone's lists, under its lock, is
logged too, event by event: so with a clock that counts events, an allocation that makes n records began at least n
ticks before its own event, and a free that makes n records is done at least n ticks before the next request of its CPU.
How many a request makes is taken from a prediction, never from the records of the kernel.

Terminology: the *span* of a request is from the earliest to the latest tick at which it can have got the zone's lock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from structpage.core.linux import script
from structpage.fidelity.asked import Rows
from structpage.request import Column
from structpage.traces.events import Events


def is_counted(events: Events) -> bool:
    """Whether the trace has several CPUs, and a clock that counts events."""
    return events.clock == "counter" and len(np.unique(events.cpu)) > 1


def begun_order(events: Events, rows: Rows, made: Column) -> NDArray[np.intp]:
    """Return the rows' numbers in the order of the latest ticks at which they can have begun.

    `made` is how many records each makes. The rows of one CPU stay in their order.
    """
    late = 2 * events.time[rows.event] - np.where(_is_allocation(rows) & (made > 0), 2 * made + 1, 0)
    cpu = events.cpu[rows.event]
    for one in np.unique(cpu).tolist():
        mine = np.flatnonzero(cpu == one)
        mine = mine[np.argsort(rows.event[mine], kind="stable")]
        late[mine] = np.maximum.accumulate(late[mine])
    order: NDArray[np.intp] = np.lexsort((rows.event, late))
    return order


def count_ambiguous(events: Events, rows: Rows, made: Column, zone: Column) -> int:
    """Return how many allocations depend on an order that the trace does not fix.

    These are those whose span meets that of another CPU's request at the same zone's lock. `zone` is that of each row,
    -1 for one that takes no lock. O(rows log rows).
    """
    order = np.argsort(rows.event, kind="stable")
    rows, made, zone = rows.take(order), made[order], zone[order]
    allocation = _is_allocation(rows)
    time, cpu = events.time[rows.event], events.cpu[rows.event]
    first, last = time.copy(), time.copy()
    for one in np.unique(cpu).tolist():
        mine = np.flatnonzero(cpu == one)
        first[mine[1:]] = np.where(allocation[mine[1:]], time[mine[:-1]], time[mine[1:]])
        last[mine[:-1]] = np.where(allocation[mine[:-1]], time[mine[:-1]], time[mine[1:]])
    last = np.maximum(last - made, first)
    met = np.zeros(len(time), bool)
    locked = (made > 0) & (zone >= 0)
    for one in np.unique(zone[locked]).tolist():
        for own in np.unique(cpu).tolist():
            mine = np.flatnonzero(locked & (zone == one) & (cpu == own) & allocation)
            for other in np.unique(cpu[cpu != own]).tolist():
                theirs = np.flatnonzero(locked & (zone == one) & (cpu == other))
                begins, ends = np.maximum.accumulate(last[theirs]), first[theirs]
                met[mine] |= np.searchsorted(ends, last[mine], "right") > np.searchsorted(begins, first[mine], "left")
    return int(np.count_nonzero(met & (rows.kind == script.ALLOC)))


def _is_allocation(rows: Rows) -> NDArray[np.bool_]:
    allocation: NDArray[np.bool_] = (rows.kind == script.ALLOC) | (rows.kind == script.BULK)
    return allocation
