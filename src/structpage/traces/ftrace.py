"""Read traces: the text of ftrace, `trace-cmd report` and `perf script`, plain or compressed.

The text is read in chunks of whole lines and never held as a whole. Each chunk is cut by one regular
expression; heads (task, processor, flags) and bodies (name and fields) recur, so each distinct one is
understood once and afterwards looked up; the columns of the chunk are then made by numpy.

A line that is neither an event nor known to be none is *bad*: counted and skipped, or refused if `strict`.
So is a last line without a newline, for its end may be missing: `order=1` may have been `order=10`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.columns import Columns, pfn_column, time_column
from structpage.traces.decoding import BrokenStream, read_blocks
from structpage.traces.events import Events
from structpage.traces.lines import MAX_LINE, Parts, cut_lines, cut_odd, lost_events, shown

CHUNK: Final = 1 << 18
"""Bytes cut at once: larger is not faster, for the parts should stay in the processor's cache."""

_RULE: Final = "text of ftrace, trace-cmd report or perf script"
_BINARY: Final = {
    b"\x17\x08\x44tracing": "a trace.dat file (run trace-cmd report on it)",
    b"PERFILE2": "a perf.data file (run perf script on it)",
    b"\x28\xb5\x2f\xfd": "zstd data (decompress it first)",
}


def read_trace(path_or_file: str | os.PathLike[str] | BinaryIO, *, strict: bool = False) -> Events:
    """Read a trace.

    Args:
        path_or_file: a path, or a file open in binary mode. gzip, xz and bzip2 data are recognised by
            their first bytes.
        strict: refuse the first bad line, and compressed data without their end, instead of counting.

    Raises:
        TraceError: the file is empty, binary, or has no event at all; or anything is bad and `strict`.
        OSError: the file cannot be read.

    Cost: about 2 us per event, and memory for the columns (30 bytes an event), not for the text.

    """
    if isinstance(path_or_file, (str, os.PathLike)):
        with open(path_or_file, "rb") as stream:
            return _Reader(os.path.basename(path_or_file), strict).read(stream)
    name = getattr(path_or_file, "name", None)
    return _Reader(os.path.basename(name) if isinstance(name, str) else "trace", strict).read(path_or_file)


class _Reader:
    # `line` is the number of lines before the chunk at hand; `bad` and `first_bad` are as in `Events`.
    def __init__(self, name: str, strict: bool) -> None:
        self.name, self.strict = name, strict
        self.columns = Columns()
        self.line = self.lost = self.bad = 0
        self.first_bad: int | None = None
        self.notes: list[str] = []
        self.empty = True

    def read(self, stream: BinaryIO) -> Events:
        for chunk in self._chunks(stream):
            self._chunk(chunk)
        if not len(self.columns):
            found = "an empty file" if self.empty else f"a file of {self.line} lines without an event"
            raise TraceError(must(f"trace {self.name}", _RULE, found))
        return self.columns.events(
            lost=self.lost, bad_lines=self.bad, first_bad_line=self.first_bad, notes=tuple(self.notes)
        )

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        rest = b""
        try:
            for block in read_blocks(stream):
                if self.empty:
                    self._refuse_binary(block)
                *chunks, rest = _whole_lines(rest + block)
                yield from chunks
                if len(rest) > MAX_LINE:
                    # No event is that long: keep enough for a message, without the colons of an event.
                    rest = rest[:MAX_LINE].replace(b":", b".")
        except BrokenStream as error:
            if self.strict:
                raise TraceError(must(f"trace {self.name}", "complete", str(error))) from error
            self.notes.append(f"{error}: what follows line {self.line + 1} is missing")
            rest = rest or b"?"
        if rest and not rest.startswith(b"#"):
            self._bad(self.line + 1, rest, "ended by a newline")

    def _refuse_binary(self, block: bytes) -> None:
        self.empty = False
        for magic, what in _BINARY.items():
            if block.startswith(magic):
                raise TraceError(must(f"trace {self.name}", _RULE, what))
        if b"\0" in block:
            raise TraceError(must(f"trace {self.name}", _RULE, "binary data"))

    def _bad(self, number: int, line: bytes, rule: str = "an event or a comment") -> None:
        if self.strict:
            raise TraceError(must(f"trace {self.name}, line {number}", rule, shown(line)))
        self.bad += 1
        if self.first_bad is None:
            self.first_bad = number

    def _chunk(self, chunk: bytes) -> None:
        lines = cut_lines(chunk)
        parts = list(zip(*lines, strict=True))
        bad: list[int] = []
        if b"" not in parts[0]:
            bad = np.flatnonzero(self._events(parts)).tolist()
        else:
            lines, numbers = self._without_odd(lines, bad)
            if lines:
                bad += numbers[self._events(list(zip(*lines, strict=True)))].tolist()
        if bad:
            text = chunk.split(b"\n")
            for number in sorted(bad):
                self._bad(self.line + number + 1, text[number])
        self.line += chunk.count(b"\n")

    def _without_odd(self, lines: list[Parts], bad: list[int]) -> tuple[list[Parts], NDArray[np.int64]]:
        # The lines that are events, and their numbers in the chunk; numbers of bad lines go to `bad`.
        found: list[Parts] = []
        numbers: list[int] = []
        for number, line in enumerate(lines):
            parts: Parts | None = line
            if not line[0]:
                lost = lost_events(line[5])
                if lost is not None:
                    self.lost = -1 if lost < 0 or self.lost < 0 else self.lost + lost
                    continue
                try:
                    parts = cut_odd(line[5])
                except TraceError:
                    bad.append(number)
                    continue
            if parts is not None:
                found.append(parts)
                numbers.append(number)
        return found, np.array(numbers, np.int64)

    def _events(self, parts: list[tuple[bytes, ...]]) -> NDArray[np.bool_]:
        # Take the events into the columns; the answer says which are bad, and were not taken.
        heads, times, names, pfns, rests, _ = parts
        clock, time, bad = time_column(times, self.columns.clock)
        pfn, bad_pfn = pfn_column(pfns)
        return self.columns.extend(clock, heads, time, names, pfn, rests, bad | bad_pfn)


def _whole_lines(text: bytes) -> list[bytes]:
    # Cut text into chunks that end in a newline, and the rest (perhaps empty) that does not.
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    chunks, start = [], 0
    last = text.rfind(b"\n") + 1
    while start < last:
        stop = text.rfind(b"\n", start, start + CHUNK) + 1 or text.find(b"\n", start) + 1
        chunks.append(text[start:stop])
        start = stop
    return [*chunks, text[last:]]
