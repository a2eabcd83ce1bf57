"""Frees that a trace does not show.

Objects freed in bulk (kfree_rcu, kmem_cache_free_bulk) have no event of their own. That such an object is free shows at
the latest when it is given out again, when its page is given back, or when its page becomes another slab. There the
free is put: how long before it really was, the trace does not tell. A slab that they empty is given back when the trace
has it, for how many slabs the node had at that moment depends on the frees that are not seen.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from structpage.fidelity.slab_pages import PageCall, PageCalls
from structpage.traces.slab_events import CACHE_ALLOC
from structpage.traces.slab_requests import SlabRequests


class Untraced(NamedTuple):
    """What happened before a row of a trace that no slab event shows."""

    pointers: list[int]
    """Objects that were freed; they had been allocated in the trace."""
    pages: list[int]
    """Slabs of theirs that were given back, as address >> 12."""


def untraced_frees(requests: SlabRequests, calls: PageCalls | None) -> dict[int, Untraced]:
    """Return what was freed before each row without an event, for the rows where there is any. O(events)."""
    blocks: dict[int, list[tuple[PageCall, bool]]] = defaultdict(list)
    for call in calls.made if calls else ():
        blocks[call.row].append((call, False))
    for call in calls.freed if calls else ():
        blocks[call.row + 1].append((call, True))
    live: dict[int, dict[int, None]] = defaultdict(dict)  # by page, in the order of their allocations
    found: dict[int, Untraced] = defaultdict(lambda: Untraced([], []))
    rows = requests.events.rows
    columns = (rows["kind"], rows["ptr"], requests.cache, requests.pages)
    for row, (kind, ptr, cache, page) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        for call, given_back in blocks.get(row, ()):
            gone = [ptr for page in range(call.page, call.page + (1 << call.order)) for ptr in live.pop(page, ())]
            if gone:
                found[row].pointers.extend(gone)
                found[row].pages.extend([call.page] * given_back)
        if cache < 0:
            continue
        if kind > CACHE_ALLOC:
            live[page].pop(ptr, None)
        elif ptr in live[page]:
            found[row].pointers.append(ptr)
        else:
            live[page][ptr] = None
    return dict(found)
