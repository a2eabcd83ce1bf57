"""Allocations that an interrupt cut, whose events come before theirs.

An interrupt frees objects (those of RCU) in the midst of an allocation, which is traced when it is done. The events do
not tell how far it was. With the CPU's free list empty the allocation is slow, and interrupts wait for its end: it is
taken to come first. Otherwise it comes first if the recorded object was the first on the list. If the recorded object
is one that the interrupt freed it comes after; and if besides no other task could run since (need_resched is still
set), the interrupt came when the allocation had given up the CPU's slab, which was full, and before it took another.
"""

from __future__ import annotations

import numpy as np

from structpage.fidelity.slab_pages import in_interrupt
from structpage.traces.slab_events import CACHE_ALLOC
from structpage.traces.slab_requests import SlabRequests


def may_schedule(requests: SlabRequests) -> list[bool]:
    """Return for each row whether another task may have run before it, as need_resched is not set."""
    flags = np.array([text[1:2] not in ("N", "n") for text in requests.events.contexts], np.bool_)
    found: list[bool] = flags[requests.events.rows["context"]].tolist()
    return found


def cut_allocations(requests: SlabRequests) -> dict[int, int]:
    """Return, by the first row of each interrupt's events, the row of the allocation that it may have interrupted."""
    rows = requests.events.rows
    interrupt = in_interrupt(requests.events.contexts)[rows["context"]]
    found = {}
    for cpu in np.unique(rows["cpu"]).tolist():
        mine = np.flatnonzero(rows["cpu"] == cpu)
        flags = interrupt[mine]
        starts = np.flatnonzero(flags & ~np.concatenate([[False], flags[:-1]]))
        ends = np.flatnonzero(flags & ~np.concatenate([flags[1:], [False]])) + 1
        for start, end in zip(mine[starts].tolist(), ends.tolist(), strict=True):
            if end < len(mine):
                after = int(mine[end])
                alloc = rows["kind"][after] <= CACHE_ALLOC and requests.cache[after] >= 0
                if alloc and rows["pid"][start] == rows["pid"][after]:
                    found[start] = after
    return found
