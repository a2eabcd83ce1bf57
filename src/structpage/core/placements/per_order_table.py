"""`per-order-table`: a table of links for each order, indexed by the number of the block.

Record: block b of order k, the one at PFN b << k, has the two words of `link` from `2 * b` of that order's table on:
the node after it and the node before. The tables lie one behind the other, each half as long as the one before, and
so the table of order k begins at `heads - (heads >> k)`, where `heads`, twice the length of the first, is where all
tables end and the list heads begin, of two words each. A block's order is that in its word.

Idea: links of one list lie densely, the more so the higher the order: a line holds those of four neighbouring blocks
of whatever order, and in a table with a row a frame those of one. It costs twice the memory, 32 bytes a frame,
taken at boot; free pages are never touched. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Room
from structpage.core.status import CORRUPT
from structpage.core.words import ORDER_MASK, ORDER_SHIFT


class PerOrderTable(NamedTuple):
    """Free-list links in tables of two words per block beside the pages, one for each order."""

    word: Buffer
    link: Buffer
    frames: int
    nodes: int
    heads: int

    @classmethod
    def build(cls, room: Room) -> PerOrderTable:
        heads = 4 * room.frames
        link = room.buffer("link", heads + 2 * room.lists)
        return cls(room.word, link, room.frames, room.frames + room.lists, heads)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 32 * frames + 16 * lists

    def place(self, node: int, order: int) -> int:
        """Return where the record of a node is: a block of the order, or a list's head."""
        if node < self.frames:
            return self.heads - (self.heads >> order) + 2 * (node >> order)
        return self.heads + 2 * (node - self.frames)

    def order(self, pfn: int) -> int:
        """Return the order of a block, from its word."""
        return (self.word[2 * pfn] >> ORDER_SHIFT) & ORDER_MASK

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.frames:
            return node
        return -1 if self.frames <= node < self.nodes else CORRUPT

    def set_link(self, node: int, which: int, value: int) -> None:
        """Write a link of a node, a listed block or a list's head: the node after it (0) or before it (1)."""
        self.link[self.place(node, self.order(node) if node < self.frames else 0) + which] = value

    def first(self, lst: int) -> int:
        node = self.link[self.heads + 2 * lst]
        return node if node < self.frames else -1

    def last(self, lst: int) -> int:
        node = self.link[self.heads + 2 * lst + 1]
        return node if node < self.frames else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.link[self.place(pfn, self.order(pfn))])

    def prev(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.link[self.place(pfn, self.order(pfn)) + 1])

    def reset(self, lst: int) -> None:
        self.link[self.heads + 2 * lst] = self.frames + lst
        self.link[self.heads + 2 * lst + 1] = self.frames + lst

    def push_front(self, lst: int, pfn: int) -> None:
        link = self.link
        order = (self.word[2 * pfn] >> ORDER_SHIFT) & ORDER_MASK
        here = self.heads - (self.heads >> order) + 2 * (pfn >> order)
        head = self.heads + 2 * lst
        first = link[head]
        link[here] = first
        link[here + 1] = self.frames + lst
        link[self.place(first, order) + 1] = pfn
        link[head] = pfn

    def push_back(self, lst: int, pfn: int) -> None:
        link = self.link
        order = (self.word[2 * pfn] >> ORDER_SHIFT) & ORDER_MASK
        here = self.heads - (self.heads >> order) + 2 * (pfn >> order)
        head = self.heads + 2 * lst
        last = link[head + 1]
        link[here] = self.frames + lst
        link[here + 1] = last
        link[self.place(last, order)] = pfn
        link[head + 1] = pfn

    def remove(self, pfn: int) -> int:
        link = self.link
        order = (self.word[2 * pfn] >> ORDER_SHIFT) & ORDER_MASK
        here = self.heads - (self.heads >> order) + 2 * (pfn >> order)
        after = link[here]
        before = link[here + 1]
        if (after | before) < 0 or after >= self.nodes or before >= self.nodes:
            return CORRUPT
        link[self.place(before, order)] = after
        link[self.place(after, order) + 1] = before
        return 0
