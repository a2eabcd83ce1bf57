"""Descriptors in memory: the two layouts of `words`, read and written by plain methods.

`word[2 * pfn]` is a frame's `allocator` and `word[2 * pfn + 1]` its `allocatee`; with one word a frame,
`word[pfn]` is all there is. `stamp` says whether the tails of an allocated block name it too (1), so
that any PFN tells whose it is in one load, or the head alone does (0). Tails are written by the
engine's `bulk.fill`, and never while a block is free.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Fill
from structpage.core.words import (
    ALLOCATED,
    FREE,
    FREE_BIT,
    HEAD_SHIFT,
    LANE_AT,
    LANE_MASK,
    LINK_SIGN,
    ONE_LANE_AT,
    ONE_ORDER_MASK,
    ONE_OWNER_MASK,
    ONE_OWNER_SHIFT,
    ONE_OWNER_SIGN,
    ONE_STATE_MASK,
    ORDER_MASK,
    ORDER_SHIFT,
    PCP,
    REPORTED_BIT,
    SLAB,
    TAG_MASK,
    TAIL,
    TYPE_MASK,
)

BLOCK_MASK = TAG_MASK | ORDER_MASK << ORDER_SHIFT
# Tag and order, without the bit that says reported.
HEAD_MASK = BLOCK_MASK & ~REPORTED_BIT
ONE_HEAD_MASK = (TAG_MASK & ~REPORTED_BIT) | ONE_ORDER_MASK << ORDER_SHIFT
TO_SLAB = ALLOCATED ^ SLAB


class TwoWord(NamedTuple):
    """16 bytes a frame: `allocator` and `allocatee`, interleaved."""

    word: Buffer
    bulk: Fill
    stamp: int

    def is_free_block(self, pfn: int, order: int) -> bool:
        return self.word[2 * pfn] & HEAD_MASK == FREE | order << ORDER_SHIFT

    def is_reserved(self, pfn: int) -> bool:
        return self.word[2 * pfn] == 0

    def is_free_head(self, pfn: int) -> bool:
        return self.word[2 * pfn] & FREE_BIT != 0

    def is_allocated_head(self, pfn: int) -> bool:
        return self.word[2 * pfn] & TAG_MASK == ALLOCATED

    def is_pcp_head(self, pfn: int) -> bool:
        return self.word[2 * pfn] & TAG_MASK == PCP

    def is_slab_head(self, pfn: int) -> bool:
        return self.word[2 * pfn] & TAG_MASK == SLAB

    def is_block_head(self, pfn: int) -> bool:
        tag = self.word[2 * pfn] & TAG_MASK
        return tag & FREE_BIT != 0 or tag in (ALLOCATED, PCP, SLAB)

    def order_of(self, pfn: int) -> int:
        return (self.word[2 * pfn] >> ORDER_SHIFT) & ORDER_MASK

    def lane_of(self, pfn: int) -> int:
        return (self.word[2 * pfn] >> LANE_AT) & LANE_MASK

    def owner_of(self, pfn: int) -> int:
        return self.word[2 * pfn + 1]

    def mark_free(self, pfn: int, order: int, lane: int) -> None:
        self.word[2 * pfn] = FREE | order << ORDER_SHIFT | lane << LANE_AT

    def mark_pcp(self, pfn: int, order: int, lane: int) -> None:
        self.word[2 * pfn] = PCP | order << ORDER_SHIFT | lane << LANE_AT

    def list_type(self, pfn: int) -> int:
        return (self.word[2 * pfn] >> LANE_AT) & TYPE_MASK

    def mark_allocated(self, pfn: int, order: int, lane: int, owner: int) -> None:
        word = self.word
        at = 2 * pfn
        state = order << ORDER_SHIFT | lane << LANE_AT
        word[at] = ALLOCATED | state
        word[at + 1] = owner
        if self.stamp and order:
            stop = 2 * (pfn + (1 << order))
            head = ((pfn ^ LINK_SIGN) - LINK_SIGN) << HEAD_SHIFT
            self.bulk.pairs(at + 2, stop, TAIL | state | head, owner)

    def mark_slab(self, pfn: int, cache: int) -> None:
        self.word[2 * pfn] = self.word[2 * pfn] ^ TO_SLAB | cache << HEAD_SHIFT

    def unmark_slab(self, pfn: int) -> None:
        word = self.word[2 * pfn] ^ TO_SLAB
        self.word[2 * pfn] = word & ((1 << HEAD_SHIFT) - 1)

    def mark_reported(self, pfn: int) -> None:
        self.word[2 * pfn] |= REPORTED_BIT

    def is_reported(self, pfn: int) -> bool:
        return self.word[2 * pfn] & (FREE_BIT | REPORTED_BIT) == FREE_BIT | REPORTED_BIT

    def unmark(self, pfn: int) -> None:
        self.word[2 * pfn] = 0

    def unmark_allocated(self, pfn: int, order: int) -> int:
        word = self.word[2 * pfn]
        if word & BLOCK_MASK != ALLOCATED | order << ORDER_SHIFT:
            return -1
        self.word[2 * pfn] = 0
        if self.stamp and order:
            self.bulk.fill(2 * pfn + 2, 2 * (pfn + (1 << order)), 2, 0)
        return (word >> LANE_AT) & LANE_MASK


class OneWord(NamedTuple):
    """8 bytes a frame. While free the upper 56 bits are the placement's, which writes them after the marking."""

    word: Buffer
    bulk: Fill
    stamp: int

    def is_free_block(self, pfn: int, order: int) -> bool:
        return self.word[pfn] & ONE_HEAD_MASK == FREE | order << ORDER_SHIFT

    def is_reserved(self, pfn: int) -> bool:
        return self.word[pfn] == 0

    def is_free_head(self, pfn: int) -> bool:
        return self.word[pfn] & FREE_BIT != 0

    def is_allocated_head(self, pfn: int) -> bool:
        return self.word[pfn] & TAG_MASK == ALLOCATED

    def is_pcp_head(self, pfn: int) -> bool:
        return self.word[pfn] & TAG_MASK == PCP

    def is_slab_head(self, pfn: int) -> bool:
        return self.word[pfn] & TAG_MASK == SLAB

    def is_block_head(self, pfn: int) -> bool:
        tag = self.word[pfn] & TAG_MASK
        return tag & FREE_BIT != 0 or tag in (ALLOCATED, PCP, SLAB)

    def order_of(self, pfn: int) -> int:
        return (self.word[pfn] >> ORDER_SHIFT) & ONE_ORDER_MASK

    def lane_of(self, pfn: int) -> int:
        return (self.word[pfn] >> ONE_LANE_AT) & LANE_MASK

    def owner_of(self, pfn: int) -> int:
        return (self.word[pfn] >> ONE_OWNER_SHIFT) & ONE_OWNER_MASK

    def mark_free(self, pfn: int, order: int, lane: int) -> None:
        self.word[pfn] = FREE | order << ORDER_SHIFT

    def mark_pcp(self, pfn: int, order: int, lane: int) -> None:
        self.word[pfn] = PCP | order << ORDER_SHIFT

    def list_type(self, pfn: int) -> int:
        return -1

    def mark_allocated(self, pfn: int, order: int, lane: int, owner: int) -> None:
        reference = owner & ONE_OWNER_MASK
        state = order << ORDER_SHIFT | lane << ONE_LANE_AT
        state |= ((reference ^ ONE_OWNER_SIGN) - ONE_OWNER_SIGN) << ONE_OWNER_SHIFT
        self.word[pfn] = ALLOCATED | state
        if self.stamp and order:
            self.bulk.fill(pfn + 1, pfn + (1 << order), 1, TAIL | state)

    def mark_slab(self, pfn: int, cache: int) -> None:
        self.word[pfn] ^= TO_SLAB

    def unmark_slab(self, pfn: int) -> None:
        self.word[pfn] ^= TO_SLAB

    def mark_reported(self, pfn: int) -> None:
        self.word[pfn] |= REPORTED_BIT

    def is_reported(self, pfn: int) -> bool:
        return self.word[pfn] & (FREE_BIT | REPORTED_BIT) == FREE_BIT | REPORTED_BIT

    def unmark(self, pfn: int) -> None:
        self.word[pfn] = 0

    def unmark_allocated(self, pfn: int, order: int) -> int:
        word = self.word[pfn]
        if word & ONE_STATE_MASK != ALLOCATED | order << ORDER_SHIFT:
            return -1
        self.word[pfn] = 0
        if self.stamp and order:
            self.bulk.fill(pfn + 1, pfn + (1 << order), 1, 0)
        return (word >> ONE_LANE_AT) & LANE_MASK
