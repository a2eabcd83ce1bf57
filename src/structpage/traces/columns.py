"""From the parts of lines, chunk by chunk, to the columns of `Events`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.events import COLUMNS, EVENT_KINDS, Events
from structpage.traces.fields import read_fields
from structpage.traces.lines import cut_head, shown
from structpage.traces.tables import BAD, Codes, DetailTables, Texts

MAX_PFN: Final = (1 << 52) - 1
"""The last frame of a 64-bit address space of 4 KiB pages; a higher number is no PFN."""

# Distinct bodies remembered from chunk to chunk; events with pointers have a body each.
_REMEMBERED: Final = 20_000
_PAGE_KINDS: Final = 6  # the first of EVENT_KINDS: a line of these has page= and pfn=
_NULL_KINDS: Final = (0, 3)  # mm_page_alloc and _zone_locked print pfn=0x0 if there is no page
_NAME: Final = re.compile(r"(?:[\w.-]+:)?([\w.-]{1,100}):")
_MICROSECONDS: Final = re.compile(rb"(\d{1,12})\.(\d{6})\d{0,3}")
_COUNTER: Final = re.compile(rb"\d{1,18}")
_DIGITS: Final = b"0123456789"
_HEX_DIGITS: Final = b"0123456789abcdefx"


Column = NDArray[np.int64]


class Columns:
    """The columns of a trace that is being read. `len()` is the number of events so far."""

    def __init__(self) -> None:
        self.clock = ""
        self._kinds, self._contexts = Texts(), Texts()
        for name in EVENT_KINDS:
            self._kinds.setdefault(name, len(self._kinds))
        self._heads = Codes[bytes](self._head, 3)
        self._bodies = Codes[tuple[bytes, bytes]](self._body, 5)
        self._details = DetailTables()
        self._chunks: list[tuple[NDArray[Any], ...]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(
        self,
        clock: str,
        heads: Sequence[bytes],
        time: NDArray[np.int64],
        names: Sequence[bytes],
        pfn: NDArray[np.int64],
        rests: Sequence[bytes],
        bad: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Append a chunk of events.

        `heads`, `names` and `rests` are parts of lines; `clock` and `time` are of `time_column`, and `pfn` of
        `pfn_column`; events in `bad` are not taken. Returns which were not taken, those of `bad` among them.

        Cost: three look-ups per event and a dozen numpy passes over the chunk.
        """
        self._heads.shrink(_REMEMBERED)
        self._bodies.shrink(_REMEMBERED)
        count = len(heads)
        head = self._heads.codes(heads, count)
        body = self._bodies.codes(zip(names, rests, strict=True), count)
        bad = bad | (head == BAD) | (body == BAD)
        if not bad.all():
            self.clock = clock
            rows = self._bodies.rows()
            bad |= (rows[body, 0] < _PAGE_KINDS) & (pfn < 0)
            good = slice(None) if not bad.any() else ~bad
            self._take(self._heads.rows()[head[good]], time[good], rows[body[good]], pfn[good])
        return bad

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

    def _head(self, text: bytes) -> tuple[int, int, int]:
        head = cut_head(text)
        return head.cpu, head.pid, self._contexts[head.context]

    def _body(self, key: tuple[bytes, bytes]) -> tuple[int, int, int, int, int]:
        name = _NAME.fullmatch(key[0].decode("utf-8", "replace"))
        if name is None or len(self._kinds) >= 1 << 16:
            raise TraceError(must("event", "a name and a colon", shown(key[0])))
        fields = read_fields(name[1], key[1].decode("utf-8", "replace"))
        entry = self._details[name[1]].add(fields.details) if fields.details else -1
        return self._kinds[name[1]], fields.order, fields.migratetype, fields.gfp, entry

    def events(self, *, lost: int, bad_lines: int, first_bad_line: int | None, notes: tuple[str, ...]) -> Events:
        """Return what was read, which must be at least one event. Cost: one copy of the columns."""
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


def time_column(times: Sequence[bytes], clock: str) -> tuple[str, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the clock, the time stamps in its unit, and which of them are bad.

    Args:
        times: texts, `secs.usecs` (or nanoseconds, rounded down), or a number without a point.
        clock: the trace's clock, or `""` before its first event, when the first good text tells it.

    Cost: 0.1 us per time stamp; 1 us where they are not all of the usual form.

    """
    clock = clock or _clock_of(times)
    joined = b" ".join(times)
    size = np.fromiter(map(len, times), np.int64, len(times))
    unbroken = joined.count(b" ") == len(times) - 1
    if clock == "us":
        # Six decimals each: then the digits without the points are the microseconds.
        points = np.cumsum(size + 1) - 8
        text = np.frombuffer(joined, np.uint8)
        usual = int(size.min()) > 7 and joined.count(b".") == len(times)
        usual = usual and bool((text[points] == ord(".")).all())
        joined = joined.replace(b".", b"")
    else:
        usual = True
    if unbroken and usual and size.max() <= 18 and not joined.translate(None, _DIGITS + b" "):
        return clock, np.fromstring(joined, np.int64, sep=" "), np.zeros(len(times), np.bool_)
    stamps = np.array([_stamp(text, clock) for text in times], np.int64)
    return clock, stamps, stamps < 0


def _clock_of(times: Sequence[bytes]) -> str:
    # The first stamp that is one tells; a broken line before it does not.
    for text in times:
        if _MICROSECONDS.fullmatch(text):
            return "us"
        if _COUNTER.fullmatch(text):
            return "counter"
    return "us"


def _stamp(text: bytes, clock: str) -> int:
    if clock == "counter":
        return int(text) if _COUNTER.fullmatch(text) else -1
    parts = _MICROSECONDS.fullmatch(text)
    return int(parts[1]) * 1_000_000 + int(parts[2]) if parts else -1


def pfn_column(pfns: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return frame numbers, -1 where the text is empty, and which of them are bad.

    Args:
        pfns: texts, `0x` hexadecimal or decimal (before Linux 5.15, and in perf); all ones is no page, and
            becomes 0 as newer kernels print it.

    Cost: 0.15 us per number; 0.5 us where some are decimal.

    """
    given = pfns if b"" not in pfns else [text or b"0x0" for text in pfns]
    joined = b" ".join(given)
    hexadecimal = not joined.translate(None, _HEX_DIGITS + b" ") and joined.count(b"0x") == len(pfns)
    try:
        base = repeat(16) if hexadecimal else repeat(0)
        column = np.fromiter(map(int, given, base), np.int64, len(pfns))
    except (ValueError, OverflowError):
        column = np.fromiter(map(_pfn, given), np.int64, len(pfns))
    bad = (column < 0) | (column > MAX_PFN)
    if given is not pfns:
        column[[number for number, text in enumerate(pfns) if not text]] = -1
    return column, bad


def _pfn(text: bytes) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        return -1
    return 0 if number == (1 << 64) - 1 else number if number <= MAX_PFN else -1
