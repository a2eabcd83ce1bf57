"""`Pairing`: the events of a trace, part by part, to the columns of requests; the loop that does it is in `owners`.

The table of frames is one mapping as large as the highest PFN, of which only what is touched is resident: 8 bytes for
each frame that a trace uses. The table of allocations is as large as ever so many live at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage import mapping
from structpage.core.buffers import Buffer
from structpage.engines import Engine, engine_of
from structpage.errors import TraceError, must
from structpage.gfp import zones_wanted
from structpage.request import SPLIT, Column
from structpage.traces import owners
from structpage.traces.events import MM_PAGE_FREE, Events
from structpage.traces.held import end_of_memory, held_frames, types_and_zones

MAX_FRAMES: Final = 1 << 36
"""Frames that a trace may tell of: 256 TiB of 4 KiB frames."""

MAX_ORDER: Final = 20
"""The highest order that a trace may tell of; the kernel's is 10, and 13 where pages are 64 KiB."""

LARGEST_BLOCK: Final = 1 << 10
"""Frames of a block of the highest order; the memory of a bare trace is a multiple."""

AT_ONCE: Final = 1 << 16
"""Events that are paired at a time: their columns fit the processor's cache."""

_NO_LIMIT: Final = 1 << 62
_STEPS: Final = (1 << 24, 1 << 30, MAX_FRAMES)


class PageEvents(NamedTuple):
    """The columns of `Events` that requests are made of."""

    kind: NDArray[np.integer[Any]]
    pfn: NDArray[np.int64]
    order: NDArray[np.int8]
    migratetype: NDArray[np.int8]
    gfp: NDArray[np.uint32]


class Paired(NamedTuple):
    """Requests as columns, and what was counted since those before."""

    columns: tuple[Column, ...]
    """Those of `Requests`, and the event's row, counted from the first of all."""
    counters: list[int]
    """Foreign, failed, reallocated, misaligned."""


class Pairing:
    """The pairing of a trace that comes in parts.

    Args:
        lists: the free lists at the trace's start, if they are known.
        recycle: use a slot again when its allocation is all free, so that slots are as few as live allocations.
        limit: most requests to make, splits not counted; the events after are still asked for their PFNs.
        at_once: allocations and frees to take at a time; at most two more requests are given at a time.
        engine: runs the loop.

    """

    def __init__(
        self,
        lists: dict[str, Any] | None,
        *,
        recycle: bool = False,
        limit: int | None = None,
        at_once: int = AT_ONCE,
        engine: str | Engine | None = None,
    ) -> None:
        self.engine = engine_of(engine)
        self.lists, self.recycle, self.at_once = lists, int(recycle), at_once
        self.left = _NO_LIMIT if limit is None else limit
        self.tally = np.zeros(owners.TALLIES, np.int64)
        self.out = np.zeros((4, at_once + 2), np.int64)
        self.frame = self.entries = np.zeros(0, np.int64)
        output = (self._buffer(name, column) for name, column in zip(owners.Output._fields, self.out, strict=True))
        self.buffers = self._buffer("tally", self.tally), owners.Output(*output)
        self.end = end_of_memory(lists) if lists else 0
        held = held_frames(lists) if lists else b""
        self._reserve(max(self.end, 1), at_once)
        self.frame[np.flatnonzero(np.frombuffer(held, np.uint8))] = owners.HELD

    @property
    def memory_frames(self) -> int:
        """Frames of a machine that has all PFNs so far: up to the end of the last zone, or of the last whole block."""
        return self.end if self.lists else -(-self.end // LARGEST_BLOCK) * LARGEST_BLOCK

    def requests(self, parts: Iterable[Events | PageEvents]) -> Iterator[Paired]:
        """Yield the requests of events that follow on each other; raises `TraceError` for a PFN that cannot be."""
        for events, rows in _blocks(parts, self.at_once):
            yield from self._some(events, rows)

    def _some(self, events: PageEvents, rows: Column) -> Iterator[Paired]:
        order = events.order.astype(np.int64) & owners.ORDER_MASK
        end = _end(order, events.pfn, rows)
        if not self.lists:
            self.end = max(self.end, end)
        self._reserve(end, int(self.tally[owners.ENTRIES]) + len(rows))
        self.tally[owners.ORDERS] |= np.bitwise_or.reduce(1 << order) & ((2 << MAX_ORDER) - 1)
        wanted = zones_wanted(events.gfp) << 8 | (events.migratetype.astype(np.int64) & 255)
        what = wanted << owners.WANTED_SHIFT | order << owners.KIND_BITS | events.kind
        done = 0
        while done < len(rows) and self.left:
            stop = min(self.at_once, self.left)
            done += self.engine.run(owners.pair, self.owners, (what[done:], events.pfn[done:]), (), done, stop)
            yield self._fetch(rows)

    def _fetch(self, rows: Column) -> Paired:
        what, slot, offset, event = self.out[:, : self.tally[owners.ROWS]]
        kind, order = what & owners.KIND_MASK, what >> owners.KIND_BITS & owners.ORDER_MASK
        types = (what >> owners.WANTED_SHIFT).astype(np.int8).astype(np.int64)
        zones = what >> owners.WANTED_SHIFT + 8
        if self.lists:
            released = slot < 0
            types[released], zones[released] = types_and_zones(self.lists, offset[released])
        self.left = max(0, self.left - len(kind) + int(np.count_nonzero(kind == SPLIT)))
        counters = self.tally[owners.FOREIGN :].tolist()
        self.tally[owners.FOREIGN :] = self.tally[owners.ROWS] = 0
        return Paired((kind, order, slot.copy(), offset.copy(), types, zones, rows[event]), counters)

    def _reserve(self, frames: int, entries: int) -> None:
        # Have tables of at least so many frames and entries.
        words = entries * owners.ENTRY_WORDS
        if frames <= len(self.frame) and words <= len(self.entries):
            return
        self.frame, self.entries = _grown(self.frame, frames), _grown(self.entries, words)
        size = f"{len(self.frame)} {len(self.entries)}"
        tables = self._buffer(f"frame {size}", self.frame), self._buffer(f"entries {size}", self.entries)
        self.owners = self.engine.adopt(owners.Owners(*tables, *self.buffers, self.recycle))

    def _buffer(self, name: str, table: Column) -> Buffer:
        # An engine may know its buffers by their names.
        return self.engine.buffer(name, table.view(np.uint64))


def _blocks(parts: Iterable[Events | PageEvents], size: int) -> Iterator[tuple[PageEvents, Column]]:
    # The allocations and frees among the events, `size` at a time, and their rows, counted from the first of all.
    pieces: list[tuple[NDArray[Any], ...]] = []
    room, start = size, 0
    for events in parts:
        rows = np.flatnonzero(events.kind <= MM_PAGE_FREE)
        while len(rows):
            now, rows = rows[:room], rows[room:]
            pieces.append((*(getattr(events, name)[now] for name in PageEvents._fields), now + start))
            room -= len(now)
            if not room:
                yield _joined(pieces)
                pieces, room = [], size
        start += len(events.kind)
    if pieces:
        yield _joined(pieces)


def _joined(pieces: list[tuple[NDArray[Any], ...]]) -> tuple[PageEvents, Column]:
    *columns, rows = map(np.concatenate, zip(*pieces, strict=True))
    return PageEvents._make(columns), rows


def _grown(table: Column, size: int) -> Column:
    if size <= len(table):
        return table
    larger = mapping.zeros(_room(size)).view(np.int64)
    used = np.flatnonzero(table)
    larger[used] = table[used]
    return larger


def _room(size: int) -> int:
    # A table is gone through when it grows. So a large one is made so large that it hardly ever does: only what is
    # touched of it takes memory.
    small, *larger = _STEPS
    return 1 << (size - 1).bit_length() if size <= small else next(step for step in larger if size <= step)


def _end(order: Column, pfn: Column, rows: Column) -> int:
    # The frame after the last of any event; of those that will be skipped, too, unless they lie beyond all memory.
    if int(pfn.max()) < MAX_FRAMES >> 1 and int(order.max()) <= MAX_ORDER:
        return int((pfn + (1 << order)).max())
    taken = (pfn >= 0) & (pfn & ((1 << order) - 1) == 0)
    bad = np.flatnonzero(taken & ((order > MAX_ORDER) | (pfn >= MAX_FRAMES)))
    if len(bad):
        rule = f"of order {MAX_ORDER} at most and below {MAX_FRAMES:#x}"
        raise TraceError(must(f"block of event {rows[bad[0]]}", rule, f"of order {order[bad[0]]} at {pfn[bad[0]]:#x}"))
    return int((pfn + (1 << order))[taken].max(initial=1))
