"""Which cache each slab event is of, and which allocation each free belongs to.

A kmem_cache_free of 6.1 and later names its cache, a kmem_cache_alloc does in 7.3, and not in 6.1 or 6.12. So the cache
of an allocation is, as far as that goes:

1. of kmalloc, the class that its bytes and flags choose; none for whole pages;
2. what the event says itself;
3. what the free of the same object says;
4. what most objects of the same size and call site are freed to;
5. the only cache known of that size, where caches are given;
6. what other objects in the same page are of;
7. a made-up one of all objects of that size, named as the kernel names caches that may be merged: `:0000128`.

A free is of the cache of its allocation, or of the one that it names, or by rule 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structpage.slab.kmalloc import GFP_ACCOUNT, GFP_DMA, GFP_RECLAIMABLE, kmalloc_name
from structpage.traces.slab_events import CACHE_ALLOC, CACHE_FREE, KFREE, KMALLOC, SlabEvents

Column = NDArray[np.int64]

LARGEST_CLASS = 8192
"""Bytes of the largest kmalloc class; more are whole pages."""
NONE = -1
_PAGE_SHIFT = 12


@dataclass(frozen=True, eq=False, repr=False)
class SlabRequests:
    """Slab events with what they are of; the columns are in step with `events.rows`."""

    events: SlabEvents
    names: tuple[str, ...]
    """Names of the caches."""
    cache: Column
    """Place in `names`; -1 for whole pages, for NULL, and for a free of nobody knows what."""
    own: Column
    """Of a free, the row of its allocation, -1 for an object from before the trace; of an allocation, the row of its
    free, -1 if there is none in the trace."""
    reused: Column
    """Rows of allocations that give an object which, as far as the trace shows, is in use: its free was not traced."""
    frees_of_null: int
    """Frees of NULL."""
    unknown: int
    """Frees of objects of which the trace does not tell the cache."""

    @property
    def is_alloc(self) -> NDArray[np.bool_]:
        """Whether each row is an allocation."""
        found: NDArray[np.bool_] = self.events.rows["kind"] <= CACHE_ALLOC
        return found

    @property
    def pages(self) -> Column:
        """The page of each row's object, as its pointer >> 12."""
        return (self.events.rows["ptr"] >> np.uint64(_PAGE_SHIFT)).astype(np.int64)

    def __repr__(self) -> str:
        return f"<SlabRequests {len(self.events)} of {len(self.names)} caches, {len(self.reused)} frees not traced>"


def slab_requests(events: SlabEvents, known: Mapping[str, tuple[int, int]] | None = None) -> SlabRequests:
    """Return which cache slab events are of, and which allocation each free belongs to.

    Args:
        events: the events.
        known: the caches there are, where that is known: name to (bytes of an object, bytes from one to the next).

    Cost: two sorts of the events.

    """
    rows = events.rows
    alloc = rows["kind"] <= CACHE_ALLOC
    own, reused = _paired(rows["ptr"], alloc)
    names = _Names(known)
    cache = np.full(len(rows), NONE, np.int64)
    _of_kmalloc(rows, cache, names)
    told = np.flatnonzero(rows["name"] >= 0)
    cache[told] = _translated(rows["name"][told], lambda code: names[events.strings[code]])
    _of_frees(rows, cache, own)
    _of_sites(rows, cache)
    null = rows["ptr"] == 0
    open_ones = np.flatnonzero((rows["kind"] == CACHE_ALLOC) & (cache < 0) & ~null)
    cache[open_ones] = [names.only_of_size(*sizes) for sizes in rows[["bytes_req", "bytes_alloc"]][open_ones].tolist()]
    _of_pages(rows, cache, ~null & ((rows["kind"] == CACHE_ALLOC) | (rows["kind"] == KFREE) & (own < 0)))
    open_ones = open_ones[cache[open_ones] < 0]
    cache[open_ones] = [names[f":{size:07d}"] for size in rows["bytes_alloc"][open_ones].tolist()]
    freed = np.flatnonzero(~alloc & (own >= 0))
    cache[freed] = cache[own[freed]]
    lost = int(np.count_nonzero(~alloc & (cache < 0) & (own < 0) & ~null))
    return SlabRequests(events, tuple(names), cache, own, reused, int(np.count_nonzero(null & ~alloc)), lost)


class _Names(dict[str, int]):
    # Names to their places, given on first sight.
    def __init__(self, known: Mapping[str, tuple[int, int]] | None) -> None:
        super().__init__()
        self.known = known

    def __missing__(self, name: str) -> int:
        place = self[name] = len(self)
        return place

    def of_class(self, kind: str, size: int) -> int:
        name = kmalloc_name(kind, size)
        if self.known is not None and name not in self.known:
            name = kmalloc_name("normal", size)
        return self[name]

    def only_of_size(self, asked: int, size: int) -> int:
        fitting = [
            name for name, sizes in (self.known or {}).items() if sizes == (asked, size) and "kmalloc-" not in name
        ]
        return self[fitting[0]] if len(fitting) == 1 else NONE


def _paired(ptr: NDArray[np.uint64], alloc: NDArray[np.bool_]) -> tuple[Column, Column]:
    order = np.argsort(ptr, kind="stable")
    before, after = order[:-1], order[1:]
    same = (ptr[before] == ptr[after]) & (ptr[after] != 0)
    own = np.full(len(ptr), NONE, np.int64)
    pair = same & alloc[before] & ~alloc[after]
    own[before[pair]], own[after[pair]] = after[pair], before[pair]
    return own, np.sort(after[same & alloc[before] & alloc[after]])


def _translated(codes: NDArray[np.integer[Any]], place: Callable[[int], int]) -> Column:
    values, which = np.unique(codes, return_inverse=True)
    return np.array([place(value) for value in values.tolist()], np.int64)[which]


def _of_kmalloc(rows: NDArray[np.void], cache: Column, names: _Names) -> None:
    chosen = np.flatnonzero((rows["kind"] == KMALLOC) & (rows["bytes_alloc"] <= LARGEST_CLASS) & (rows["ptr"] != 0))
    gfp = rows["gfp"][chosen].astype(np.int64) & (GFP_DMA | GFP_RECLAIMABLE | GFP_ACCOUNT)
    kinds = np.select([gfp & GFP_DMA > 0, gfp & GFP_RECLAIMABLE > 0, gfp > 0], [3, 2, 1], 0)
    table = ("normal", "cgroup", "reclaimable", "dma")
    cache[chosen] = _translated(
        rows["bytes_alloc"][chosen] << 2 | kinds, lambda code: names.of_class(table[code & 3], code >> 2)
    )


def _of_frees(rows: NDArray[np.void], cache: Column, own: Column) -> None:
    # What the free of the same object says.
    chosen = np.flatnonzero((rows["kind"] == CACHE_ALLOC) & (cache < 0) & (own >= 0))
    free = own[chosen]
    named = rows["kind"][free] == CACHE_FREE
    cache[chosen[named]] = cache[free[named]]


def _of_sites(rows: NDArray[np.void], cache: Column) -> None:
    # What most allocations of the same size and call site are of.
    chosen = np.flatnonzero(rows["kind"] == CACHE_ALLOC)
    sites = np.stack([rows["call_site"][chosen].astype(np.int64), rows["bytes_alloc"][chosen]])
    _, group = np.unique(sites, axis=1, return_inverse=True)
    group = group.reshape(-1)
    told = cache[chosen] >= 0
    pairs, count = np.unique(np.stack([group[told], cache[chosen[told]]]), axis=1, return_counts=True)
    best = np.full(int(group.max(initial=-1)) + 1, NONE, np.int64)
    order = np.argsort(count, kind="stable")
    best[pairs[0, order]] = pairs[1, order]
    cache[chosen[~told]] = best[group[~told]]


def _of_pages(rows: NDArray[np.void], cache: Column, wanted: NDArray[np.bool_]) -> None:
    # What the nearest event of an object in the same page is of.
    pages = rows["ptr"] >> np.uint64(_PAGE_SHIFT)
    for row in np.flatnonzero(wanted & (cache < 0)).tolist():
        others = np.flatnonzero((pages == pages[row]) & (cache >= 0))
        if len(others):
            cache[row] = cache[others[np.argmin(np.abs(others - row))]]


def sizes_of(requests: SlabRequests) -> Sequence[tuple[int, int]]:
    """Return (bytes of an object, bytes from one to the next) of each cache, as its allocations say; 0 if none does.

    An object of a kmalloc class is as large as the class.
    """
    rows = requests.events.rows
    found = []
    for place in range(len(requests.names)):
        mine = rows[(requests.cache == place) & requests.is_alloc]
        size = int(mine["bytes_alloc"].max(initial=0))
        asked = size if (mine["kind"] == KMALLOC).any() else int(mine["bytes_req"].max(initial=0))
        found.append((asked if asked > 0 else size, size))
    return found
