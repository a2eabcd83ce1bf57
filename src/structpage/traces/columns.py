"""From the parts of lines, chunk by chunk, to the columns of `Events`."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.events import COLUMNS, EVENT_KINDS, Events
from structpage.traces.fields import read_fields
from structpage.traces.lines import Parts, cut_blanked, cut_head, shown
from structpage.traces.tables import BAD, Codes, DetailTables, Texts

MAX_PFN: Final = (1 << 52) - 1
"""The last frame of a 64-bit address space of 4 KiB pages; a higher number is no PFN."""

# Distinct lines remembered from chunk to chunk; events with pointers are a distinct line each.
_REMEMBERED: Final = 20_000
_PAGE_KINDS: Final = frozenset(EVENT_KINDS[:6])  # a line of these has page= and pfn=
_NULL_KINDS: Final = (0, 3)  # mm_page_alloc and _zone_locked print pfn=0x0 if there is no page
_NAME: Final = re.compile(r"(?:[\w.-]+:)?([\w.-]{1,100}):")
_MICROSECONDS: Final = re.compile(rb"(\d{1,12})\.(\d{6})\d{0,3}")
_COUNTER: Final = re.compile(rb"\d{1,18}")
_BODY_BITS: Final = 32

NO_EVENT: Final = -2
"""The code of a line that is known to be no event."""

Column = NDArray[np.int64]


class Read(NamedTuple):
    """An event that was read by itself: its code, its time stamp in the trace's clock, and its PFN or -1."""

    code: int
    time: int
    pfn: int


class Columns:
    """The columns of a trace that is being read. `len()` is the number of events so far.

    A *code* stands for all of an event but its two numbers. `known` has the codes of blanked lines, and
    those of lines that are no events. All are void after the next `forget`.
    """

    def __init__(self, clock: str = "") -> None:
        self.clock = clock
        self._kinds, self._contexts = Texts(), Texts()
        for name in EVENT_KINDS:
            self._kinds.setdefault(name, len(self._kinds))
        self._details = DetailTables()
        # These know the tables and not this object: it is no cycle, and its memory is free when it goes.
        self._heads = Codes[bytes](partial(_head, self._contexts), 3)
        self._bodies = Codes[tuple[bytes, bytes, bytes]](partial(_body, self._kinds, self._details), 5)
        self.known: dict[bytes, int] = {}
        self._chunks: list[tuple[NDArray[Any], ...]] = []
        self._length = 0
        none = np.zeros(0, np.int64)
        self._take(none.reshape(0, 3), none, none.reshape(0, 5), none)

    def __len__(self) -> int:
        return self._length

    def forget(self) -> None:
        """Forget all codes, if there are so many that they take too much memory."""
        if max(len(self.known), len(self._heads), len(self._bodies)) > _REMEMBERED:
            self.known.clear()
            self._heads.clear()
            self._bodies.clear()

    def learn(self, blanked: bytes) -> int:
        """Return the code of a blanked line, and add it to `known`; `BAD` if its numbers are not a good event's."""
        parts = cut_blanked(blanked)
        if parts is None:
            return BAD
        clock = "us" if b"." in parts.time else "counter"
        code = self._code(parts) if clock == (self.clock or clock) else BAD
        if code != BAD:
            self.clock, self.known[blanked] = clock, code
        return code

    def read(self, parts: Parts) -> Read:
        """Return an event from its parts.

        Raises:
            TraceError: it is a bad one.

        """
        clock = self.clock or ("us" if b"." in parts.time else "counter")
        time, pfn = _stamp(parts.time, clock), _pfn(parts.pfn) if parts.pfn else -1
        good = time >= 0 and (pfn >= 0 or not parts.pfn)
        code = self._code(parts) if good else BAD
        if code == BAD:
            raise TraceError(must("event", "one with a time, a PFN and fields that can be", shown(parts.rest)))
        self.clock = clock
        return Read(code, time, pfn)

    def extend(self, codes: Column, time: Column, pfn: Column) -> None:
        """Append events. Cost: a dozen numpy passes over them."""
        if len(codes):
            head = self._heads.rows()[codes >> _BODY_BITS]
            self._take(head, time, self._bodies.rows()[codes & ((1 << _BODY_BITS) - 1)], pfn)

    def _code(self, parts: Parts) -> int:
        head = self._heads[parts.head]
        body = self._bodies[parts.name, parts.rest, parts.pfn[:1]] if head != BAD else BAD
        return head << _BODY_BITS | body if body != BAD else BAD

    def _take(self, head: Column, time: Column, body: Column, pfn: Column) -> None:
        cpu, pid, context = head.T
        kind, order, migratetype, gfp, entry = body.T
        pfn = np.where((pfn == 0) & ((kind == _NULL_KINDS[0]) | (kind == _NULL_KINDS[1])), -1, pfn)
        self._take_details(kind, entry)
        small = (order.astype(np.int8), migratetype.astype(np.int8), gfp.astype(np.uint32))
        where = (cpu.astype(np.int32), pid.astype(np.int32), context.astype(np.uint16))
        self._chunks.append((kind.astype(np.uint16), time, *where, pfn, *small))
        self._length += len(pfn)

    def _take_details(self, kind: NDArray[np.int64], entry: NDArray[np.int64]) -> None:
        events = np.flatnonzero(entry >= 0)
        kinds = kind[events]
        names = list(self._kinds)
        for code in np.flatnonzero(np.bincount(kinds)).tolist():
            chosen = events[kinds == code]
            self._details[names[code]].extend(chosen + self._length, entry[chosen])

    def events(self, *, lost: int, bad_lines: int, first_bad_line: int | None, notes: tuple[str, ...]) -> Events:
        """Return what was read. Cost: one copy of the columns."""
        parts = zip(*self._chunks, strict=True)
        columns: dict[str, Any] = dict(zip(COLUMNS, map(np.concatenate, parts), strict=True))
        if len(self._kinds) <= 1 << 8:
            columns["kind"] = columns["kind"].astype(np.uint8)
        kinds, contexts = tuple(self._kinds), tuple(self._contexts)
        return Events(
            kinds,
            contexts,
            tuple(self._details.strings),
            self.clock,
            **columns,
            details=self._details.arrays(),
            lost=lost,
            bad_lines=bad_lines,
            first_bad_line=first_bad_line,
            notes=notes,
        )


def _head(contexts: Texts, text: bytes) -> tuple[int, int, int]:
    head = cut_head(text)
    return head.cpu, head.pid, contexts[head.context]


def _body(kinds: Texts, tables: DetailTables, key: tuple[bytes, bytes, bytes]) -> tuple[int, int, int, int, int]:
    name = _NAME.fullmatch(key[0].decode("utf-8", "replace"))
    if name is None or len(kinds) >= 1 << 16:
        raise TraceError(must("event", "a name and a colon", shown(key[0])))
    if name[1] in _PAGE_KINDS and not key[2]:
        raise TraceError(must(f"event {name[1]}", "one with page= and pfn=", shown(key[1])))
    fields = read_fields(name[1], key[1].decode("utf-8", "replace"))
    entry = tables[name[1]].add(fields.details) if fields.details else -1
    return kinds[name[1]], fields.order, fields.migratetype, fields.gfp, entry


def _stamp(text: bytes, clock: str) -> int:
    # In microseconds, finer ones rounded down, or as it is; -1 for a bad one.
    if clock == "counter":
        return int(text) if _COUNTER.fullmatch(text) else -1
    parts = _MICROSECONDS.fullmatch(text)
    return int(parts[1]) * 1_000_000 + int(parts[2]) if parts else -1


def _pfn(text: bytes) -> int:
    # 0x hexadecimal or decimal (before Linux 5.15, and in perf); all ones is no page, and becomes 0 as newer
    # kernels print it; -1 for a bad one.
    try:
        number = int(text, 0)
    except ValueError:
        return -1
    return 0 if number == (1 << 64) - 1 else number if number <= MAX_PFN else -1
