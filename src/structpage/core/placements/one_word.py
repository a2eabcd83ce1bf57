"""`one-word`: the links beside tag and order in the only word there is.

Record: bits 0-7 are tag and order, bits 8-35 the node after, bits 36-63 the node before. A descriptor is
8 bytes, half of the others; 28 bits reach 1 TiB of 4 KiB frames (less the list heads), and orders
end at 15. Zone, node and migratetype of a free block are not in its word: the zone's bounds and the list
tell them. Heads lie in a small table of the same form. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT
from structpage.core.words import (
    ONE_LINK_MASK,
    ONE_LINK_SIGN,
    ONE_NEXT_SHIFT,
    ONE_ORDER_MASK,
    ONE_PREV_SHIFT,
    ONE_STATE_MASK,
)

STATE_AND_PREV = ~(ONE_LINK_MASK << ONE_NEXT_SHIFT)
STATE_AND_NEXT = ONE_STATE_MASK | ONE_LINK_MASK << ONE_NEXT_SHIFT


class OneWordLinks(NamedTuple):
    """Free-list links as two 28-bit nodes in the upper bits of the one word."""

    word: Buffer
    head: Buffer
    frames: int
    nodes: int

    @classmethod
    def build(cls, room: Room) -> OneWordLinks:
        return cls(room.word, room.buffer("head", room.lists), room.frames, room.frames + room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(layout="one-word", max_order=ONE_ORDER_MASK, max_nodes=ONE_LINK_MASK + 1)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 8 * lists

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.frames:
            return node
        return -1 if self.frames <= node < self.nodes else CORRUPT

    def packed(self, after: int, before: int) -> int:
        return after << ONE_NEXT_SHIFT | ((before ^ ONE_LINK_SIGN) - ONE_LINK_SIGN) << ONE_PREV_SHIFT

    def set_next(self, node: int, after: int) -> None:
        if node < self.frames:
            self.word[node] = (self.word[node] & STATE_AND_PREV) | after << ONE_NEXT_SHIFT
        else:
            index = node - self.frames
            self.head[index] = (self.head[index] & STATE_AND_PREV) | after << ONE_NEXT_SHIFT

    def set_prev(self, node: int, before: int) -> None:
        if node < self.frames:
            self.word[node] = (self.word[node] & STATE_AND_NEXT) | self.packed(0, before)
        else:
            index = node - self.frames
            self.head[index] = (self.head[index] & STATE_AND_NEXT) | self.packed(0, before)

    def first(self, lst: int) -> int:
        node = (self.head[lst] >> ONE_NEXT_SHIFT) & ONE_LINK_MASK
        return node if node < self.frames else -1

    def last(self, lst: int) -> int:
        node = (self.head[lst] >> ONE_PREV_SHIFT) & ONE_LINK_MASK
        return node if node < self.frames else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of((self.word[pfn] >> ONE_NEXT_SHIFT) & ONE_LINK_MASK)

    def prev(self, lst: int, pfn: int) -> int:
        return self.frame_of((self.word[pfn] >> ONE_PREV_SHIFT) & ONE_LINK_MASK)

    def reset(self, lst: int) -> None:
        self.head[lst] = self.packed(self.frames + lst, self.frames + lst)

    def push_front(self, lst: int, pfn: int) -> None:
        head = self.frames + lst
        first = (self.head[lst] >> ONE_NEXT_SHIFT) & ONE_LINK_MASK
        self.word[pfn] = (self.word[pfn] & ONE_STATE_MASK) | self.packed(first, head)
        self.set_prev(first, pfn)
        self.set_next(head, pfn)

    def push_back(self, lst: int, pfn: int) -> None:
        head = self.frames + lst
        last = (self.head[lst] >> ONE_PREV_SHIFT) & ONE_LINK_MASK
        self.word[pfn] = (self.word[pfn] & ONE_STATE_MASK) | self.packed(head, last)
        self.set_next(last, pfn)
        self.set_prev(head, pfn)

    def remove(self, pfn: int) -> int:
        links = self.word[pfn]
        after = (links >> ONE_NEXT_SHIFT) & ONE_LINK_MASK
        before = (links >> ONE_PREV_SHIFT) & ONE_LINK_MASK
        if after >= self.nodes or before >= self.nodes:
            return CORRUPT
        self.set_next(before, after)
        self.set_prev(after, before)
        return 0
