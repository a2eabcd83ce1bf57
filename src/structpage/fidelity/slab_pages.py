"""Which page events of a trace are the slab layer's: slabs made and given back, put beside the slab events.

A slab is made within an allocation, which is traced when it is done, and given back within a free, which is traced when
it begins. So a block that is allocated belongs to the next allocation of an object in it, if that is among the next few
events of its task; a block that is freed, to the last slab event of its CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.slab.rows import PAGE_OFFSET
from structpage.traces.events import MM_PAGE_ALLOC, MM_PAGE_FREE, Events
from structpage.traces.slab_events import CACHE_ALLOC
from structpage.traces.slab_requests import SlabRequests

FIRST_PAGE = PAGE_OFFSET >> 12
_LOOKED_AT = 4
"""Slab events that are looked at for the one that made a slab."""


class PageCall(NamedTuple):
    """A block that was taken or given back."""

    row: int
    """Row of the slab event within which it was; -1 before the first."""
    page: int
    """Address of the block >> 12."""
    order: int


class PageCalls(NamedTuple):
    """The blocks of a trace, each list by row."""

    made: list[PageCall]
    """Slabs that the kernel made."""
    freed: list[PageCall]
    """All blocks that it freed, whoever's they were."""
    given_back: list[PageCall]
    """Those of them that were slabs, as far as the trace and the start tell."""


def page_calls(events: Events, requests: SlabRequests, listed: Iterable[int] = ()) -> PageCalls | None:
    """Return the slabs that the kernel made and gave back, `None` if the trace has no allocations of pages.

    `listed` are pages of slabs at the start, as address >> 12. O(page events x slab events of a task).
    """
    asked = np.flatnonzero(events.kind == MM_PAGE_ALLOC)
    if not len(asked):
        return None
    made = _made(events, requests, asked)
    freed = _freed(events, requests)
    owned = dict.fromkeys(listed, True)
    for row, page in zip(requests.cache.tolist(), requests.pages.tolist(), strict=True):
        if row >= 0:
            owned.setdefault(page, True)
    pages = (events.pfn[asked] + FIRST_PAGE).tolist()
    happened = [*zip(asked.tolist(), pages, strict=True), *((event, call.page) for event, call in freed.items())]
    given_back: list[PageCall] = []
    for event, page in sorted(happened):
        if event not in freed:
            owned[page] = event in made
        elif owned.pop(page, False):
            given_back.append(freed[event])
    return PageCalls(sorted(made.values()), sorted(freed.values()), sorted(given_back))


def _made(events: Events, requests: SlabRequests, asked: NDArray[np.int64]) -> dict[int, PageCall]:
    rows, pages = requests.events.rows, requests.pages.tolist()
    kinds, caches = rows["kind"].tolist(), requests.cache.tolist()
    interrupt = in_interrupt(events.contexts)
    tasks = _tasks(rows["pid"], interrupt[rows["context"]])
    askers = _tasks(events.pid[asked], interrupt[events.context[asked]])
    found = {}
    for task in np.unique(askers).tolist():
        mine = np.flatnonzero(tasks == task)
        starts = rows["event"][mine]
        for event in asked[askers == task].tolist():
            page, order = int(events.pfn[event]) + FIRST_PAGE, int(events.order[event])
            at = int(np.searchsorted(starts, event))
            for row in mine[at : at + _LOOKED_AT].tolist():
                if kinds[row] <= CACHE_ALLOC and caches[row] >= 0 and page <= pages[row] < page + (1 << order):
                    found[event] = PageCall(row, page, order)
                    break
    return found


def _freed(events: Events, requests: SlabRequests) -> dict[int, PageCall]:
    rows = requests.events.rows
    found = {}
    for cpu in np.unique(rows["cpu"]).tolist():
        mine = np.flatnonzero(rows["cpu"] == cpu)
        freed = np.flatnonzero((events.kind == MM_PAGE_FREE) & (events.cpu == cpu))
        before = np.searchsorted(rows["event"][mine], freed) - 1
        row = np.where(before >= 0, mine[before], -1)
        columns = (freed, row, events.pfn[freed] + FIRST_PAGE, events.order[freed])
        for event, *call in zip(*(column.tolist() for column in columns), strict=True):
            found[event] = PageCall(*call)
    return found


def in_interrupt(contexts: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each text of flags whether it says that an interrupt or softirq is being handled."""
    return np.array([text[2:3] in ("s", "S", "h", "H", "z", "Z") for text in contexts], np.bool_)


def _tasks(pid: NDArray[np.int32], interrupt: NDArray[np.bool_]) -> NDArray[np.int64]:
    tasks: NDArray[np.int64] = pid.astype(np.int64) << 1 | interrupt
    return tasks
