"""Fields of all frames as arrays, from the words of a memmap, uint64, and their layout.

*Own* is what a frame's own word says; *whole* is what its block says: a frame inside a free block, whose word is
zeros, answers with its head's. A head that is not aligned to its order, which only a broken memmap has, does not
answer for all of its block. Time is O(frames), and that of a few copies of the words (see `structpage.lanes`); memory,
beyond the result's, is that of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from structpage.core.field import Field, Layout
from structpage.lanes import Blocks
from structpage.mapping import Words

Int16s = npt.NDArray[np.int16]
Int64s = npt.NDArray[np.int64]


def own_tags(words: Words, layout: Layout) -> npt.NDArray[np.uint8]:
    """Return the tag of every frame's own word; uint8."""
    blocks = Blocks(words, layout)
    values = np.empty(blocks.frames, np.uint8)
    for here in blocks.read():
        values[here] = blocks.tag[: len(values[here])]
    return values


def own_field(words: Words, layout: Layout, field: Field) -> Int16s:
    """Return a field of at most 15 bits, -1 where a frame's state has no such field; int16."""
    blocks = Blocks(words, layout, field)
    values = np.empty(blocks.frames, np.int16)
    for here in blocks.read():
        values[here] = blocks.values(field)[: len(values[here])]
    return values


def whole_field(words: Words, layout: Layout, field: Field) -> Int16s:
    """Return a field of the first word, of at most 15 bits, -1 where neither frame nor head has it; int16."""
    blocks = Blocks(words, layout, field)
    values = np.empty(blocks.frames, np.int16)
    for here, part in blocks.spread(field):
        values[here] = part[: len(values[here])]
    return values


def whole_free(words: Words, layout: Layout) -> npt.NDArray[np.bool_]:
    """Return whether each frame is the head of a free block or inside one; bool."""
    blocks = Blocks(words, layout)
    values = np.empty(blocks.frames, np.bool_)
    for here, covers in blocks.spread():
        np.greater(covers[: len(values[here])], 0, out=values[here])
    return values


def free_heads(words: Words, layout: Layout) -> Iterator[tuple[Int64s, Int16s]]:
    """Yield PFNs and orders of free heads, ascending, a block of frames at a time; int64 and int16."""
    blocks = Blocks(words, layout)
    for here in blocks.read():
        covers = blocks.cover()
        heads = np.flatnonzero(covers > 0)
        yield heads + here.start, (covers[heads] - 1).astype(np.int16)


def free_runs(words: Words, layout: Layout) -> tuple[Int64s, Int64s]:
    """Return first PFN and length of every run of free frames, ascending; int64."""
    starts, ends = [np.empty(0, np.int64)], [np.full(1, -1)]
    for heads, orders in free_heads(words, layout):
        if len(heads):
            after = heads + (1 << orders.astype(np.int64))
            apart = np.flatnonzero(heads[1:] != after[:-1])
            goes_on = int(ends[-1][-1] == heads[0])
            starts += [heads[goes_on:1], heads[apart + 1]]
            ends[-1] = ends[-1][: len(ends[-1]) - goes_on]
            ends.append(np.append(after[apart], after[-1]))
    first, last = np.concatenate(starts), np.concatenate(ends)[1:]
    return first, last - first


def own_owners(words: Words, layout: Layout) -> Words:
    """Return the owner reference, kind and owner, 0 where a frame's state has none; uint64."""
    kind, owner = layout.field("owner_kind"), layout.field("owner")
    blocks = Blocks(words, layout)
    values = np.empty(blocks.frames, np.uint64)
    for here in blocks.read():
        part = values[here]
        part[:] = words[kind.word :: layout.words][here]
        part >>= np.uint64(kind.shift)
        part &= np.uint64((owner.mask | kind.mask) >> kind.shift)
        part *= blocks.has(owner.states)[: len(part)]
    return values
