"""The probed engine: buffers that note every read and write, so that a cost is measured, not claimed.

Terminology: a *touch* is one access to one 64-bit word; a *line* is 64 bytes, 8 words, of one buffer; an
*operation* is one request, from one `begin` to the next.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.core.buffers import Buffer, Fill
from structpage.engines.plain import PlainEngine
from structpage.mapping import Words

LINE_SHIFT = 3
PAGE_SHIFT = 9
MEMORY = "memory"

TOUCH = np.dtype([("address", np.uint64), ("write", np.bool_)])
"""Row of an address trace: byte address of the word, and whether it was written."""


class Counts(NamedTuple):
    """What was touched: in one buffer, or in all of them together."""

    reads: int
    writes: int
    lines: int
    """Distinct 64-byte lines over the whole run."""


class ProbedBuffer:
    """A buffer that notes its touches; each buffer begins at a byte address of its own."""

    def __init__(
        self, name: str, values: memoryview, base: int, lines: set[int], touches: array[int] | None = None
    ) -> None:
        self.name, self.values, self.base, self.touches = name, values, base, touches
        self.reads = self.writes = 0
        self.all_lines: set[int] = set()
        self.pages: set[int] | None = set() if name == MEMORY else None
        self._lines = lines
        self.kept = self.pages is not None or touches is not None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> int:
        self.reads += 1
        self._lines.add(self.base + (index << 3) >> 6)
        self.all_lines.add(index >> LINE_SHIFT)
        if self.kept:
            self._keep(index, 0)
        return self.values[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.values[index] = value
        self.writes += 1
        self._lines.add(self.base + (index << 3) >> 6)
        self.all_lines.add(index >> LINE_SHIFT)
        if self.kept:
            self._keep(index, 1)

    def _keep(self, index: int, write: int) -> None:
        if self.pages is not None:
            self.pages.add(index >> PAGE_SHIFT)
        if self.touches is not None:
            self.touches.append(self.base + (index << 3) | write)


class ProbedFill(NamedTuple):
    """Fills word by word, so that every store is seen."""

    buffer: ProbedBuffer

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        for index in range(start, stop, step):
            self.buffer[index] = value

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        for index in range(start, stop, 2):
            self.buffer[index] = value
            self.buffer[index + 1] = other


class ProbedEngine(PlainEngine):
    """Runs the methods over probed buffers; about 3 times slower than plain.

    Frame memory lies at physical address 0, and metadata that are part of it where they are. Others lie behind it, each
    buffer from a line of its own on, as memblock_alloc aligns to SMP_CACHE_BYTES. With `trace`, every touch is kept, 8
    bytes each, for `address_trace`.
    """

    name = "probed"

    def __init__(self, *, trace: bool = False) -> None:
        self.trace = trace
        self.buffers: dict[str, ProbedBuffer] = {}
        self.operations = 0
        self.operation_lines = 0
        self._lines: set[int] = set()
        self._touches: array[int] = array("q")
        self._starts: array[int] = array("q")
        self._memory = 0, 0
        self._next_base = 1 << 46  # behind any memory of the model, so that memory itself starts at 0

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a buffer that notes its touches."""
        if name not in self.buffers or (name == MEMORY and not len(self.buffers[name])):
            base = self._base(name, words)
            touches = self._touches if self.trace else None
            self.buffers[name] = ProbedBuffer(name, words.view(np.int64).data, base, self._lines, touches)
        return self.buffers[name]

    def _base(self, name: str, words: Words) -> int:
        at: int = words.__array_interface__["data"][0]
        if name == MEMORY:
            self._memory = at, at + words.nbytes
            return 0
        if self._memory[0] <= at < self._memory[1]:
            return at - self._memory[0]
        base = self._next_base
        self._next_base += -(-words.nbytes // 64) * 64
        return base

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words, noting each."""
        self.buffer(name, words)
        return ProbedFill(self.buffers[name])

    def _reading(self, rows: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        # Reading the next row starts an operation; rows and what a loop writes are not probed.
        for row in rows:
            self.begin()
            yield row

    def begin(self) -> None:
        """Note that another operation starts: lines are counted within each."""
        self.operations += 1
        self.operation_lines += len(self._lines)
        self._lines.clear()
        if self.trace:
            self._starts.append(len(self._touches))

    def reset(self) -> None:
        """Forget all that was noted, so that a count starts here."""
        for buffer in self.buffers.values():
            buffer.reads = buffer.writes = 0
            buffer.all_lines.clear()
            if buffer.pages is not None:
                buffer.pages.clear()
        self.operations = self.operation_lines = 0
        self._lines.clear()
        del self._touches[:], self._starts[:]

    @property
    def lines_per_operation(self) -> float:
        """Mean number of distinct lines touched within one operation."""
        return (self.operation_lines + len(self._lines)) / max(self.operations, 1)

    def counts(self, name: str | None = None) -> Counts:
        """Return the touches of one buffer, or of all."""
        chosen = self.buffers.values() if name is None else [self.buffers[name]]
        return Counts(
            sum(buffer.reads for buffer in chosen),
            sum(buffer.writes for buffer in chosen),
            sum(len(buffer.all_lines) for buffer in chosen),
        )

    @property
    def free_pages_touched(self) -> int:
        """Number of distinct frames whose memory was touched."""
        memory = self.buffers.get(MEMORY)
        return len(memory.pages) if memory is not None and memory.pages is not None else 0

    @property
    def address_trace(self) -> npt.NDArray[np.void]:
        """Every touch in order, as a structured array of `TOUCH`; empty without `trace`."""
        raw = np.array(self._touches, np.int64)
        rows = np.empty(len(raw), TOUCH)
        rows["address"] = raw & ~7
        rows["write"] = raw & 1
        return rows

    @property
    def operation_starts(self) -> npt.NDArray[np.int64]:
        """Where each operation begins in `address_trace`, ascending; int64, empty without `trace`."""
        return np.array(self._starts, np.int64)
