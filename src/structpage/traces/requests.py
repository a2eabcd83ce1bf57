"""What a trace asks of an allocator, with the answers taken out.

The kernel's PFNs say only which allocation a free belongs to. A request names the allocation instead, by its
*slot*, and a part of it by its *offset* in frames, so that an allocator that chooses other PFNs can be asked
the same. `mm_page_alloc` is an ALLOC and `mm_page_free` a FREE; `mm_page_free_batched` repeats a free that is
logged already, and all other events are the kernel's own affairs.

=======  ===================  =======================================================================
kind     slot, offset, order  meaning
=======  ===================  =======================================================================
ALLOC    new slot, 0, order   allocate a block of `order` from zone `zone` or below
FREE     slot, offset, order  free the block of `order` that starts `offset` frames into the allocation
SPLIT    slot, offset, order  the allocated block there, of a larger order, becomes blocks of `order`
RELEASE  -1, PFN, order       free a block of frames that were in use before the trace began
=======  ===================  =======================================================================

A FREE always names a block exactly: one allocated, or made by SPLIT, and not freed. Where the kernel frees a
part of an allocation (split_page, alloc_pages_exact), a SPLIT of the block that holds it into blocks of the
part's order comes first; a still smaller part splits one of those again. Where it frees several at once, each
block has a FREE of its own. What the trace cannot explain is counted, in `foreign` and the counters after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import InvalidArgument, must
from structpage.request import ALLOC, SPLIT, Column, Requests
from structpage.traces.capture import Capture
from structpage.traces.events import MM_PAGE_ALLOC, MM_PAGE_FREE, Events
from structpage.traces.held import end_of_memory, held_frames, types_and_zones
from structpage.traces.owners import Owners

DMA: Final = 0
DMA32: Final = 1
NORMAL: Final = 2
HIGHMEM: Final = 3
MOVABLE: Final = 4

LARGEST_BLOCK: Final = 1 << 10
"""Frames of a block of the highest order; `memory_frames` of a bare trace is a multiple."""


@dataclass(frozen=True, eq=False, repr=False)
class TracedRequests(Requests):
    """The requests of a trace, in its order, and what they came from.

    Slots are numbered in the order of the ALLOC rows. FREE and SPLIT have the migratetype and the zone of their ALLOC,
    RELEASE those of its pageblock and its frame. The node is always 0: events do not say.
    """

    event: Column
    """Row of the event in the trace's `Events`."""
    memory_frames: int
    """Frames of a machine that has all of the PFNs: up to the end of a capture's last zone, or of a bare
    trace's last block, rounded up to whole blocks of order 10."""
    foreign: int
    """Frees skipped, because the frames were free, or nobody known had allocated them (aligned pieces)."""
    failed: int
    """Failed allocations in the trace, skipped."""
    reallocated: int
    """FREE and RELEASE rows made up, because their frames were allocated again: their free was not traced."""
    misaligned: int
    """Events skipped, because their PFN is no multiple of their size, as no block's is."""


def requests_from(source: Capture | Events, *, limit: int | None = None) -> TracedRequests:
    """Return the requests of a trace.

    Args:
        source: a bare trace, at whose start all memory is taken to be free; or a capture, at whose start
            every frame of a zone is taken to be in use that is on no free list and no per-CPU list.
        limit: most ALLOC, FREE and RELEASE rows to return; the counters then tell of that part of the trace.

    Raises:
        InvalidArgument: `limit` is negative.
        TraceError: a capture's memory is absurdly large.

    Cost: about 2 us per request, and a byte per frame of a capture's memory.

    """
    if limit is not None and limit < 0:
        raise InvalidArgument(must("limit", "at least 0", limit))
    capture, events = (source, source.events) if isinstance(source, Capture) else (None, source)
    owners = Owners(held_frames(capture.before) if capture else bytearray())
    rows = np.flatnonzero((events.kind == MM_PAGE_ALLOC) | (events.kind == MM_PAGE_FREE))
    failed, misaligned = _feed(owners, events, rows, limit)
    table = np.array(owners.rows, np.int64).reshape(-1, 5)
    table = table[: _cut(table[:, 0] != SPLIT, limit)]
    kind, order, slot, offset, event = (np.ascontiguousarray(column) for column in table.T)
    types, zones = events.migratetype[event].astype(np.int64), zones_wanted(events.gfp[event])
    allocs = np.flatnonzero(kind == ALLOC)
    of_slot = slot >= 0
    for column in (types, zones):
        column[of_slot] = column[allocs][slot[of_slot]]
    if capture:
        types[~of_slot], zones[~of_slot] = types_and_zones(capture.before, offset[~of_slot])
    frames = end_of_memory(capture.before) if capture else _frames(events, rows)
    counters = (owners.foreign, failed, owners.reallocated, misaligned)
    return TracedRequests(kind, order, slot, offset, types, zones, event, frames, *counters)


def zones_wanted(gfp: NDArray[np.uint32]) -> Column:
    """Return the highest zone that allocations with these flags may use: 0 DMA to 4 Movable."""
    movable = (gfp & 0x8 != 0) & (gfp & 0x2 != 0)
    conditions = [gfp & 0x1 != 0, gfp & 0x4 != 0, movable, gfp & 0x2 != 0]
    return np.select(conditions, [DMA, DMA32, MOVABLE, HIGHMEM], NORMAL).astype(np.int64)


def _feed(owners: Owners, events: Events, rows: NDArray[np.intp], limit: int | None) -> tuple[int, int]:
    # Give the events to `owners` until there are `limit` requests; how many had failed, or were misaligned.
    failed = misaligned = 0
    columns = (rows, events.kind[rows], events.pfn[rows], events.order[rows])
    for row, kind, pfn, order in zip(*(column.tolist() for column in columns), strict=True):
        if limit is not None and owners.count >= limit:
            break
        if pfn < 0:
            failed += 1
        elif pfn & ((1 << order) - 1):
            misaligned += 1
        elif kind == MM_PAGE_ALLOC:
            owners.alloc(pfn, order, row)
        else:
            owners.free(pfn, order, row)
    return failed, misaligned


def _cut(counted: NDArray[np.bool_], limit: int | None) -> int:
    # The number of rows up to the last that `limit` allows.
    rows = np.flatnonzero(counted)
    if limit is None or len(rows) <= limit:
        return len(counted)
    return int(rows[limit - 1]) + 1 if limit else 0


def _frames(events: Events, rows: NDArray[np.intp]) -> int:
    ends = events.pfn[rows] + (np.int64(1) << events.order[rows].astype(np.int64).clip(0))
    end = int(ends.max()) if len(ends) else 0
    return -(-end // LARGEST_BLOCK) * LARGEST_BLOCK
