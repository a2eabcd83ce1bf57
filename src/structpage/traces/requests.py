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

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structpage.arguments import at_least
from structpage.engines import Engine
from structpage.errors import InvalidArgument, must
from structpage.request import SPLIT, Column, Requests
from structpage.traces.capture import Capture
from structpage.traces.events import MM_PAGE_FREE, Events
from structpage.traces.pairing import AT_ONCE, PageEvents, Pairing
from structpage.traces.workloads import stream_workload


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


def requests_from(
    source: Capture | Events, *, limit: int | None = None, engine: str | Engine | None = None
) -> TracedRequests:
    """Return the requests of a trace.

    Args:
        source: a bare trace, at whose start all memory is taken to be free; or a capture, at whose start
            every frame of a zone is taken to be in use that is on no free list and no per-CPU list.
        limit: most ALLOC, FREE and RELEASE rows to return; the counters then tell of that part of the trace.
        engine: what runs the loop; by default compiled for a long trace where numba is installed, else plain.

    Raises:
        InvalidArgument: `limit` is negative.
        UnknownName, MissingExtra: there is no such engine, or not here.
        TraceError: a capture's memory is absurdly large, or an event's PFN or order.

    Cost: 0.1 us per request compiled, 3 us plain; 56 bytes per request, 8 per frame that the trace uses.

    """
    if limit is not None and limit < 0:
        raise InvalidArgument(must("limit", "at least 0", limit))
    capture, events = (source, source.events) if isinstance(source, Capture) else (None, source)
    pairing = Pairing(capture.before if capture else None, limit=limit, engine=engine)
    columns, used = [np.empty(np.count_nonzero(events.kind <= MM_PAGE_FREE), np.int64) for _ in range(7)], 0
    counters = np.zeros(4, np.int64)
    for part in pairing.requests([events]):
        end = used + len(part.columns[0])
        if end > len(columns[0]):
            columns = [np.concatenate([column[:used], np.empty(end, np.int64)]) for column in columns]
        for column, values in zip(columns, part.columns, strict=True):
            column[used:end] = values
        used, counters = end, counters + part.counters
    used = _cut(columns[0][:used] != SPLIT, limit)
    return _traced([column[:used] for column in columns], pairing.memory_frames, counters.tolist())


def stream_requests(
    source: str | os.PathLike[str] | Capture | Events | Iterable[Events],
    *,
    at_once: int = AT_ONCE,
    engine: str | Engine | None = None,
) -> Iterator[TracedRequests]:
    """Return the requests of a trace chunk by chunk, for a trace that is larger than memory.

    The rows are those of `requests_from`, but for the names of the slots: a slot is used again when its allocation is
    all free, so they are as few as ever so many allocations live at once. A chunk's counters tell of its part of the
    trace, `event` counts from the start, and `memory_frames` of a bare trace holds the PFNs so far.
    `structpage.streaming.replay_stream` runs the chunks.

    Args:
        source: a name or path as for `open_workload`, opened here; what `requests_from` takes; or the parts of a
            trace, as from `stream_trace`.
        at_once: allocations and frees that are read for a chunk; it has at most two more requests.
        engine: as for `requests_from`.

    Raises:
        InvalidArgument: `at_once` is not positive.
        UnknownName, TraceError, OSError: as `open_workload` and `requests_from`; about a part, when it is reached.

    Cost: that of reading, and 0.15 us per request. Memory: for the chunk, the part of the trace it comes from, and
    the tables: 8 bytes per frame that the trace uses, 32 per live allocation.

    """
    at_least("at_once", at_once, 1)
    lists, parts = _opened(source, at_once)
    pairing = Pairing(lists, recycle=True, at_once=at_once, engine=engine)
    return (_traced(part.columns, pairing.memory_frames, part.counters) for part in pairing.requests(parts))


def _opened(
    source: str | os.PathLike[str] | Capture | Events | Iterable[Events], at_once: int
) -> tuple[dict[str, Any] | None, Iterable[Events | PageEvents]]:
    if isinstance(source, str | os.PathLike):
        return stream_workload(source, at_once)
    if isinstance(source, Capture):
        return source.before, [source.events]
    return None, [source] if isinstance(source, Events) else source


def _traced(columns: Sequence[Column], frames: int, counters: Sequence[int]) -> TracedRequests:
    kind, order, slot, offset, migratetype, zone, event = columns
    foreign, failed, reallocated, misaligned = counters
    return TracedRequests(
        kind, order, slot, offset, migratetype, zone, event, frames, foreign, failed, reallocated, misaligned
    )


def _cut(counted: NDArray[np.bool_], limit: int | None) -> int:
    # The number of rows up to the last that `limit` allows.
    if limit is None or np.count_nonzero(counted) <= limit:
        return len(counted)
    return int(np.flatnonzero(counted)[limit - 1]) + 1 if limit else 0
