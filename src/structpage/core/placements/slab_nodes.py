"""`slab-nodes`: a separately allocated node of 32 bytes for every free block.

Record: a node is four words: the link to the node after, that to the node before, the PFN, and one to spare. A link is
a node's place, or `-lst` for the head of list `lst`; heads lie in a small table beside. The free page's `allocatee` is
the byte address of its node, so nothing but one pointer has to fit into the words, and free pages are not touched.
Every operation is O(1).

What it costs is that a block that becomes free has to have a node: freeing allocates. Nodes that lie in this very
allocator's memory make each layer need the other first.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.placements.nodes import Nodes
from structpage.core.status import CORRUPT

NEXT, PREV, PFN = range(3)
NODE_WORDS = 4
BYTES_SHIFT = 3


class SlabNodes(NamedTuple):
    """Free-list links in nodes, each of which one free block has."""

    word: Buffer
    head: Buffer
    nodes: Nodes
    lists: int

    @classmethod
    def build(cls, room: Room) -> SlabNodes:
        nodes = Nodes.build(room, NODE_WORDS, room.frames)
        return cls(room.word, room.buffer("head", 2 * room.lists), nodes, room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(frees_without_allocating=False, node_bytes=8 * NODE_WORDS)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 16 * lists

    def nodes_at_most(self, added: int, moved: int, lists: int) -> int:
        return added

    def nodes_to_push(self, lst: int) -> int:
        return 1

    def nodes_to_move(self, lst: int, lists: int) -> int:
        return 0

    def untouched_bytes(self) -> int:
        return self.nodes.fresh_bytes()

    def is_link(self, link: int) -> bool:
        return self.nodes.is_place(link) or -self.lists < link <= 0

    def point(self, link: int, which: int, value: int) -> None:
        if link > 0:
            self.nodes.store[link + which] = value
        else:
            self.head[which - 2 * link] = value

    def frame_of(self, link: int) -> int:
        if link > 0:
            return self.nodes.store[link + PFN] if self.nodes.is_place(link) else CORRUPT
        return -1 if link > -self.lists else CORRUPT

    def node_of(self, pfn: int) -> int:
        place = self.word[2 * pfn + 1] >> BYTES_SHIFT
        return place if self.nodes.is_place(place) and self.nodes.store[place + PFN] == pfn else 0

    def first(self, lst: int) -> int:
        return self.frame_of(self.head[2 * lst])

    def last(self, lst: int) -> int:
        return self.frame_of(self.head[2 * lst + 1])

    def next(self, lst: int, pfn: int) -> int:
        node = self.node_of(pfn)
        return self.frame_of(self.nodes.store[node + NEXT]) if node else CORRUPT

    def prev(self, lst: int, pfn: int) -> int:
        node = self.node_of(pfn)
        return self.frame_of(self.nodes.store[node + PREV]) if node else CORRUPT

    def reset(self, lst: int) -> None:
        self.head[2 * lst] = -lst
        self.head[2 * lst + 1] = -lst

    def push_front(self, lst: int, pfn: int) -> None:
        self.insert(pfn, -lst, self.head[2 * lst])

    def push_back(self, lst: int, pfn: int) -> None:
        self.insert(pfn, self.head[2 * lst + 1], -lst)

    def insert(self, pfn: int, before: int, after: int) -> None:
        node = self.nodes.take()
        self.word[2 * pfn + 1] = node << BYTES_SHIFT
        if node:
            store = self.nodes.store
            store[node + NEXT] = after
            store[node + PREV] = before
            store[node + PFN] = pfn
            self.point(before, NEXT, node)
            self.point(after, PREV, node)

    def remove(self, pfn: int) -> int:
        node = self.node_of(pfn)
        if node == 0:
            return CORRUPT
        after = self.nodes.store[node + NEXT]
        before = self.nodes.store[node + PREV]
        if not (self.is_link(after) and self.is_link(before)):
            return CORRUPT
        self.point(before, NEXT, after)
        self.point(after, PREV, before)
        self.nodes.give(node)
        return 0
