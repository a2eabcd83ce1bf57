"""`FrameMemory`: the content of the simulated frames, as real memory of this process.

Terminology: *resident* is what the operating system keeps in memory for a mapping; *discard* gives frames
back to it, after which they read as zeros: what a hypervisor does with MADV_DONTNEED when a guest
reports free pages.
"""

from __future__ import annotations

import functools
import mmap
import sys

import numpy as np
import numpy.typing as npt

from structpage import mapping
from structpage.arguments import at_least
from structpage.errors import InvalidArgument, OutOfRange, must

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_WORDS = PAGE_SIZE // 8


class FrameMemory:
    """The memory of `frames` frames of 4 KiB: one private anonymous mapping, populated by touch.

    `words` is all of it as a uint64 array of 512 words per frame; slices of it are the memory itself. On
    Linux `discard` and `resident_bytes` are the operating system's own doing; elsewhere, or with
    `simulate_host`, a discard writes zeros, frames with any non-zero byte count as resident, and `host`
    says so. Raises `InvalidArgument` for a number of frames below one.
    """

    def __init__(self, frames: int, *, simulate_host: bool = False) -> None:
        self.frames = frames = at_least("frames", frames, 1)
        length = frames << PAGE_SHIFT
        # One page more, of other advice: it keeps the system from merging this mapping with its neighbour,
        # so that the system's figures are of this memory alone.
        self._mapping = mapping.anonymous(length + PAGE_SIZE)
        real = mapping.advise(self._mapping, "MADV_DONTDUMP", 0, length)
        self.words: mapping.Words = np.frombuffer(self._mapping, np.uint64, length // 8)
        self._bytes = np.frombuffer(self._mapping, np.uint8, length)
        self._address: int = self.words.__array_interface__["data"][0]
        self.simulated = simulate_host or not (real and sys.platform == "linux")

    @property
    def host(self) -> str:
        """Who discards and counts: the operating system, or this class where that is not possible."""
        return "simulated: discards write zeros" if self.simulated else "linux: MADV_DONTNEED, /proc/self/smaps"

    def _start(self, pfn: int, offset: int, length: int) -> int:
        if not 0 <= pfn < self.frames:
            raise OutOfRange(must("PFN", f"between 0 and {self.frames - 1}", pfn))
        start = (pfn << PAGE_SHIFT) + offset
        if offset < 0 or length < 0 or start + length > self.frames << PAGE_SHIFT:
            rule = f"within the {self.frames << PAGE_SHIFT} bytes of memory"
            raise OutOfRange(must("bytes", rule, f"{length} bytes at PFN {pfn} + {offset}"))
        return start

    def _span(self, pfn: int, order: int) -> tuple[int, int]:
        if order < 0:
            raise InvalidArgument(must("order", "at least 0", order))
        length = PAGE_SIZE << order
        if pfn < 0 or (pfn << PAGE_SHIFT) + length > self.frames << PAGE_SHIFT:
            self._start(pfn, 0, length)
        return pfn << PAGE_SHIFT, length

    def read(self, pfn: int, offset: int = 0, length: int = PAGE_SIZE) -> bytes:
        """Return `length` bytes from byte `offset` of frame `pfn` on; may run into later frames."""
        start = self._start(pfn, offset, length)
        return self._mapping[start : start + length]

    def write(self, pfn: int, offset: int, data: bytes) -> None:
        """Write bytes from byte `offset` of frame `pfn` on."""
        start = self._start(pfn, offset, len(data))
        self._mapping[start : start + len(data)] = data

    def read_word(self, pfn: int, offset: int = 0) -> int:
        """Return the unsigned 64-bit word at byte `offset`, little-endian."""
        return int.from_bytes(self.read(pfn, offset, 8), "little")

    def write_word(self, pfn: int, offset: int, value: int) -> None:
        """Write an unsigned 64-bit word at byte `offset`, little-endian."""
        if not 0 <= value < 1 << 64:
            raise InvalidArgument(must("word", "an unsigned 64-bit value", value))
        self.write(pfn, offset, value.to_bytes(8, "little"))

    def fill(self, pfn: int, order: int, byte: int) -> None:
        """Set every byte of 2^order frames."""
        start, length = self._span(pfn, order)
        self._bytes[start : start + length] = byte

    def differs(self, pfn: int, order: int, byte: int) -> npt.NDArray[np.int64]:
        """Return the offsets, from the start of frame `pfn`, of the bytes of 2^order frames that are not `byte`."""
        start, length = self._span(pfn, order)
        if self._mapping[start : start + length] == _pattern(byte, order):
            return np.empty(0, np.int64)
        return np.flatnonzero(self._bytes[start : start + length] != byte)

    def discard(self, pfn: int, order: int = 0) -> None:
        """Give 2^order frames back to the host: no longer resident, and zeros when read again."""
        start, length = self._span(pfn, order)
        if self.simulated or not mapping.advise(self._mapping, "MADV_DONTNEED", start, length):
            self._bytes[start : start + length] = 0

    @property
    def resident_bytes(self) -> int:
        """Bytes of this memory that the operating system keeps resident; O(mappings of the process)."""
        if self.simulated:
            return PAGE_SIZE * int(self.words.reshape(-1, PAGE_WORDS).any(axis=1).sum())
        return _rss(self._address, self._address + (self.frames << PAGE_SHIFT))

    def resident_frames(self, pfn: int, order: int = 0) -> int:
        """Return how many of 2^order frames the system has mapped.

        Those are the frames written since they were discarded, and those read, behind which it maps its page of zeros.
        """
        start, length = self._span(pfn, order)
        if self.simulated:
            block = self.words[start // 8 : (start + length) // 8]
            return int(block.reshape(-1, PAGE_WORDS).any(axis=1).sum())
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            pagemap.seek((self._address + start) // mmap.PAGESIZE * 8)
            entries = np.frombuffer(pagemap.read(length // mmap.PAGESIZE * 8), np.uint64)
        present_or_swapped = entries >> np.uint64(62)
        return int(np.count_nonzero(present_or_swapped)) * mmap.PAGESIZE // PAGE_SIZE

    def __repr__(self) -> str:
        return f"<FrameMemory: {self.frames} frames, {self.resident_bytes} bytes resident, host {self.host}>"


@functools.lru_cache(maxsize=8)
def _pattern(byte: int, order: int) -> bytes:
    return bytes((byte,)) * (PAGE_SIZE << order)


def _rss(start: int, stop: int) -> int:
    total, inside = 0, False
    with open("/proc/self/smaps", "rb") as smaps:
        for line in smaps:
            if line.startswith(b"Rss:"):
                total += int(line.split()[1]) * 1024 if inside else 0
            elif line[:1] in b"0123456789abcdef" and b"-" in line[:18]:
                low, _, high = line.split(maxsplit=1)[0].partition(b"-")
                inside = start <= int(low, 16) and int(high, 16) <= stop
    return total
