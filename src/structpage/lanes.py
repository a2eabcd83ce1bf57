"""The memmap read in blocks of frames, small enough that a block and all that is made of it stay in cache.

Terminology: a *lane* is the low 8, 16 or 32 bits of a frame's word, where every small field lies. The *cover* of a
frame is one more than the order of a free head, and 0 for any other word.

Idea: what a frame's own word tells is computed for a block at a time, a few bits wide. A frame inside a free block has
a word of zeros and answers with its head's: the head's value is stored over the whole free block. As free blocks are
aligned, those of order k are rows of a table of 2^k columns. Where there are many, all rows of one width are gone
through at once, the small ones as one wider lane each; where there are few, they are looked up.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage.core.field import Field, Layout
from structpage.core.words import FREE_BIT, TAG_MASK
from structpage.mapping import Words

Lanes = npt.NDArray[Any]
"""Ints of 1 to 4 bytes, one a frame."""
BLOCK_ORDER = 17
"""log2 of the frames of a block."""
DENSE_SHIFT = 8
"""Free blocks are looked up one by one while at most one frame in 2^`DENSE_SHIFT` is the head of one."""


class Blocks:
    """The blocks of a memmap, one at a time, in buffers that are used again: new ones would cost more than the rest.

    With `field`, lanes are of that field's word and wide enough for it. Zeros behind the last frame make every block
    as long as the first one, which has 2^k frames.
    """

    def __init__(self, words: Words, layout: Layout, field: Field | None = None) -> None:
        self.layout, self.frames = layout, len(words) // layout.words
        order = layout.field("order")
        word, bits = (field.word, field.shift + field.width) if field else (0, 0)
        bits = max(bits, order.shift + order.width)
        kind = np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
        self._firsts = _lanes(words, layout, 0, kind)
        self._lanes = _lanes(words, layout, word, kind) if word else self._firsts
        size = 1 << min(BLOCK_ORDER, (self.frames - 1).bit_length())
        self.lane: Lanes = np.empty(size, kind)
        self.tag: Lanes = np.empty(size, kind)
        self.covers: Lanes = np.empty(size, np.uint8)
        self._bytes: Lanes = np.empty(size, np.uint8)
        self._spare = [np.empty(size * kind.itemsize, np.uint8) for _ in range(2)]

    def read(self) -> Iterator[slice]:
        """Yield the frames of each block, as a slice that may reach beyond the last, with `lane` and `tag` read."""
        size = len(self.lane)
        for start in range(0, self.frames, size):
            part = self._lanes[start : start + size]
            self.lane[len(part) :] = 0
            self.lane[: len(part)] = part
            np.bitwise_and(self.lane, TAG_MASK, out=self.tag)
            if self._lanes is not self._firsts:
                np.bitwise_and(self._firsts[start : start + size], TAG_MASK, out=self.tag[: len(part)])
            yield slice(start, start + size)

    def has(self, states: Collection[str]) -> Lanes:
        """Return 1 for frames whose own word says one of some states, 0 for others; `tag` is lost."""
        known = sum(1 << tag for tag, state in self.layout.states.items() if state in states)
        if self.tag.itemsize == 1:  # has no room for 16 tags: half of them at a time, a shift too far giving 0
            upper = np.subtract(self.tag, 8, out=self._as(0, self.tag.dtype))
            np.right_shift(np.uint8(known >> 8), upper, out=upper)
            np.right_shift(np.uint8(known & 255), self.tag, out=self.tag)
            self.tag |= upper
        else:
            np.right_shift(self.tag.dtype.type(known), self.tag, out=self.tag)
        self.tag &= 1
        return self.tag

    def values(self, field: Field) -> Lanes:
        """Return a field of frames' own words, -1 where the state has no such field; `lane` and `tag` are lost."""
        has = self.has(field.states)
        has -= 1
        self.lane >>= field.shift
        self.lane &= field.max
        self.lane |= has
        if field.width > 7 or self.lane.itemsize == 1:
            return self.lane.view(f"i{self.lane.itemsize}")
        self._bytes[:] = self.lane
        return self._bytes.view(np.int8)

    def cover(self) -> Lanes:
        """Return the covers of the frames' own words, in `covers`; `lane` and `tag` stay."""
        order, lane, free = self.layout.field("order"), *(self._as(i, self.lane.dtype) for i in (0, 1))
        np.right_shift(self.lane, order.shift, out=lane)
        lane &= order.max
        lane += 1
        lane *= np.bitwise_and(self.tag, FREE_BIT, out=free)
        self.covers[:] = lane
        return self.covers

    def spread(self, field: Field | None = None) -> Iterator[tuple[slice, Lanes]]:
        """Yield the frames of each block and their covers, or values of a field, the head's for a whole free block."""
        held, until = 0, 0  # of a free block that is larger than one of these: what its head says, and its end
        for here in self.read():
            values = self.cover()
            if field is not None:
                values = self.values(field)
            order = int(self.covers[0]) - 1
            if order >= BLOCK_ORDER and here.start % (1 << order) == 0:
                held, until = int(values[0]), here.start + (1 << order)
            if here.start < until:
                values[:] = held
            else:
                self._store(values)
            yield here, values

    def _store(self, values: Lanes) -> None:
        # Stores every free head's value over its block.
        large, done = self._as(0, np.dtype(np.bool_)), 0
        if np.count_nonzero(np.greater(self.covers, 1, out=large)) > len(large) >> DENSE_SHIFT:
            done = self._store_small(values)
            heads = np.flatnonzero(self.covers[:: 2 << done] > done + 1) * (2 << done)
        else:
            heads = np.flatnonzero(large)
        orders = self.covers[heads] - 1
        for order in np.unique(orders).tolist():
            at = heads[orders == order]
            at = at[at & ((1 << order) - 1) == 0]
            if 1 << order <= len(values):
                values.reshape(-1, 1 << order)[at >> order] = values[at, None]

    def _store_small(self, values: Lanes) -> int:
        # The same, but only for blocks whose values have at most 64 bytes; returns the largest order of these.
        order = 0
        while values.itemsize << order + 1 <= min(64, values.nbytes):
            order += 1
            if values.itemsize << order <= 8:
                self._fill_rows(values, order)
            else:
                larger = self.covers[:: 1 << order] > order
                columns = values.view(np.uint64).reshape(len(larger), -1).T
                half = len(columns) // 2  # is stored already, as of a block of the order below
                for column in range(half):
                    np.copyto(columns[half + column], columns[column], where=larger)
        return order

    def _fill_rows(self, values: Lanes, order: int) -> None:
        # Every row of 2^order values whose first is that of a block as large becomes that value throughout.
        rows, heads = (lanes.view(f"u{lanes.itemsize << order}") for lanes in (values, self.covers))
        first, larger = self._as(0, rows.dtype, len(rows)), self._as(1, rows.dtype, len(rows))
        larger[:] = _first(heads, self.covers, self._as(0, heads.dtype, len(heads))) > order
        np.negative(larger, out=larger)
        _first(rows, values, first)
        first *= rows.dtype.type(((1 << 8 * rows.itemsize) - 1) // ((1 << 8 * values.itemsize) - 1))
        first ^= rows
        first &= larger
        rows ^= first

    def _as(self, index: int, kind: np.dtype[Any], count: int | None = None) -> Lanes:
        # A spare buffer as lanes of a kind.
        return self._spare[index].view(kind)[: len(self.lane) if count is None else count]


def _lanes(words: Words, layout: Layout, word: int, kind: np.dtype[Any]) -> Lanes:
    # The low bits of a word of every frame, as they lie in memory.
    pieces = 8 // kind.itemsize
    lowest = pieces - 1 if sys.byteorder == "big" else 0
    lanes: Lanes = words.view(kind)[word * pieces + lowest :: layout.words * pieces]
    return lanes


def _first(rows: Lanes, lanes: Lanes, out: Lanes) -> Lanes:
    # The first of the lanes that each row is made of.
    bits, row_bits = 8 * lanes.itemsize, 8 * rows.itemsize
    if sys.byteorder == "big":
        return np.right_shift(rows, row_bits - bits, out=out)
    return np.bitwise_and(rows, (1 << bits) - 1, out=out)
