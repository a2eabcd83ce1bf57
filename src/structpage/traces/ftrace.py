"""Read traces: the text of ftrace, `trace-cmd report` and `perf script`, plain or compressed.

The text is read in chunks of whole lines and never held as a whole. In each chunk numpy reads and blanks the two
numbers that differ from line to line; what is left of a line recurs, so each distinct one is understood once and
afterwards looked up. A line with its numbers elsewhere is *odd*, and read by itself, three times slower.

A line that is neither an event nor known to be none is *bad*: counted and skipped, or refused if `strict`.
So is a last line without a newline, for its end may be missing: `order=1` may have been `order=10`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import repeat
from typing import BinaryIO, Final

import numpy as np

from structpage.arguments import at_least
from structpage.errors import TraceError, must
from structpage.traces.columns import NO_EVENT, Columns, Read
from structpage.traces.decoding import BrokenStream, read_blocks
from structpage.traces.events import Events
from structpage.traces.lines import MAX_LINE, cut_line, lost_events, shown
from structpage.traces.numbers import MARK, blanked
from structpage.traces.tables import BAD

AT_ONCE: Final = 1 << 17
"""Events of a part that `stream_trace` reads."""

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

    Cost: about 1 us per event, 2 us where most lines have a pointer; memory for the columns (30 bytes an event), not
    for the text.

    """
    (events,) = _parts(path_or_file, strict, None)
    return events


def stream_trace(
    path_or_file: str | os.PathLike[str] | BinaryIO, *, strict: bool = False, at_once: int = AT_ONCE
) -> Iterator[Events]:
    """Read a trace in parts, for one that is larger than memory.

    Each part is an `Events` by itself, with tables of its own and what was lost and bad in its lines; those numbers
    of lines are the file's. A part has `at_once` events and as many more as were read with the last of them; what
    follows the last event of all may be a part without any.

    Args:
        path_or_file: as for `read_trace`.
        strict: as for `read_trace`.
        at_once: least events of a part, but for the last.

    Raises:
        InvalidArgument: `at_once` is not positive.
        TraceError: as `read_trace`, when the part is read.
        OSError: the file cannot be read.

    Cost: 1 us per event; memory for one part.

    """
    return _parts(path_or_file, strict, at_least("at_once", at_once, 1))


def _parts(path_or_file: str | os.PathLike[str] | BinaryIO, strict: bool, at_once: int | None) -> Iterator[Events]:
    if isinstance(path_or_file, (str, os.PathLike)):
        with open(path_or_file, "rb") as stream:
            yield from _Reader(os.path.basename(path_or_file), strict, at_once).parts(stream)
    else:
        name = getattr(path_or_file, "name", None)
        title = os.path.basename(name) if isinstance(name, str) else "trace"
        yield from _Reader(title, strict, at_once).parts(path_or_file)


class _Reader:
    # `line` is the number of lines before the chunk at hand; all from `columns` on is of the part at hand.
    def __init__(self, name: str, strict: bool, at_once: int | None) -> None:
        self.name, self.strict, self.at_once = name, strict, at_once
        self.line = 0
        self.empty = True
        self._begin("")

    def _begin(self, clock: str) -> None:
        self.columns = Columns(clock)
        self.lost = self.bad = 0
        self.first_bad: int | None = None
        self.notes: list[str] = []

    def parts(self, stream: BinaryIO) -> Iterator[Events]:
        found = False
        for chunk in self._chunks(stream):
            self._chunk(chunk)
            if self.at_once is not None and len(self.columns) >= self.at_once:
                found = True
                yield self._part()
        if not found and not len(self.columns):
            what = "an empty file" if self.empty else f"a file of {self.line} lines without an event"
            raise TraceError(must(f"trace {self.name}", _RULE, what))
        if len(self.columns) or self.lost or self.bad or self.notes:
            yield self._part()

    def _part(self) -> Events:
        part = self.columns.events(
            lost=self.lost, bad_lines=self.bad, first_bad_line=self.first_bad, notes=tuple(self.notes)
        )
        self._begin(self.columns.clock)
        return part

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        rest = b""
        try:
            for block in read_blocks(stream):
                if self.empty:
                    self._refuse_binary(block)
                chunk, rest = _whole_lines(rest + block)
                if chunk:
                    yield chunk
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
        self.columns.forget()
        lines, ends, time, pfn = blanked(chunk)
        known = self.columns.known
        codes = np.fromiter(map(known.get, lines, repeat(BAD)), np.int64, len(lines))
        for number in np.flatnonzero(codes == BAD).tolist():
            code = known.get(lines[number], BAD)
            if code == BAD:
                code = self.columns.learn(lines[number])
            if code == BAD:
                start = ends[number - 1] + 1 if number else 0
                event = self._odd(self.line + number + 1, chunk[start : ends[number]])
                if event is not None:
                    code, time[number], pfn[number] = event
            codes[number] = code
        good = slice(None) if codes.min() >= 0 else codes >= 0
        self.columns.extend(codes[good], time[good], pfn[good])
        self.line += len(lines)

    def _odd(self, number: int, line: bytes) -> Read | None:
        # A line that must be read by itself; None if it is no event or a bad one.
        lost = lost_events(line)
        if lost is not None:
            self.lost = -1 if lost < 0 or self.lost < 0 else self.lost + lost
            return None
        try:
            parts = cut_line(line)
            if parts is not None:
                return self.columns.read(parts)
            if MARK not in line:
                # There may be many of them, as in stack traces.
                self.columns.known[line] = NO_EVENT
        except TraceError:
            self._bad(number, line)
        return None


def _whole_lines(text: bytes) -> tuple[bytes, bytes]:
    # Cut text into what ends in a newline, and the rest (perhaps empty) that does not.
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    end = text.rfind(b"\n") + 1
    return text[:end], text[end:]
