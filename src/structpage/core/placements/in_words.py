"""`in-words`: the links squeezed into the free head's own `allocatee` word.

Record: bits 0-31 are the node after, bits 32-63 the node before. The word belongs to nobody while the frame
is free, so this costs no memory; 2^32 nodes reach 16 TiB of 4 KiB frames. Heads lie in a small table
of the same form. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT
from structpage.core.words import LINK_MASK, LINK_SHIFT, LINK_SIGN


class InWords(NamedTuple):
    """Free-list links as two 32-bit nodes in the `allocatee` word."""

    word: Buffer
    head: Buffer
    frames: int
    nodes: int

    @classmethod
    def build(cls, room: Room) -> InWords:
        return cls(room.word, room.buffer("head", room.lists), room.frames, room.frames + room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(max_nodes=LINK_MASK + 1)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 8 * lists

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.frames:
            return node
        return -1 if self.frames <= node < self.nodes else CORRUPT

    def packed(self, after: int, before: int) -> int:
        return after | ((before ^ LINK_SIGN) - LINK_SIGN) << LINK_SHIFT

    def set_next(self, node: int, after: int) -> None:
        if node < self.frames:
            self.word[2 * node + 1] = (self.word[2 * node + 1] & ~LINK_MASK) | after
        else:
            self.head[node - self.frames] = (self.head[node - self.frames] & ~LINK_MASK) | after

    def set_prev(self, node: int, before: int) -> None:
        if node < self.frames:
            self.word[2 * node + 1] = self.packed(self.word[2 * node + 1] & LINK_MASK, before)
        else:
            self.head[node - self.frames] = self.packed(self.head[node - self.frames] & LINK_MASK, before)

    def first(self, lst: int) -> int:
        node = self.head[lst] & LINK_MASK
        return node if node < self.frames else -1

    def last(self, lst: int) -> int:
        node = (self.head[lst] >> LINK_SHIFT) & LINK_MASK
        return node if node < self.frames else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.word[2 * pfn + 1] & LINK_MASK)

    def prev(self, lst: int, pfn: int) -> int:
        return self.frame_of((self.word[2 * pfn + 1] >> LINK_SHIFT) & LINK_MASK)

    def reset(self, lst: int) -> None:
        self.head[lst] = self.packed(self.frames + lst, self.frames + lst)

    def push_front(self, lst: int, pfn: int) -> None:
        head = self.frames + lst
        first = self.head[lst] & LINK_MASK
        self.word[2 * pfn + 1] = self.packed(first, head)
        self.set_prev(first, pfn)
        self.set_next(head, pfn)

    def push_back(self, lst: int, pfn: int) -> None:
        head = self.frames + lst
        last = (self.head[lst] >> LINK_SHIFT) & LINK_MASK
        self.word[2 * pfn + 1] = self.packed(head, last)
        self.set_next(last, pfn)
        self.set_prev(head, pfn)

    def remove(self, pfn: int) -> int:
        links = self.word[2 * pfn + 1]
        after = links & LINK_MASK
        before = (links >> LINK_SHIFT) & LINK_MASK
        if after >= self.nodes or before >= self.nodes:
            return CORRUPT
        self.set_next(before, after)
        self.set_prev(after, before)
        return 0
