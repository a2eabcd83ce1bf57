"""`singly-linked`: one link a block, to the block after it; nothing leads back.

Record: the `allocatee` word of a free head is the node after it, in bits 0-59. List heads lie in a small table of two
words each: the first node and the last one, so that both ends take a block in O(1). A list is a circle through its
head.

Idea: to unlink a block, what stands before it must be known. A caller who takes a list's first block knows: it is the
head, and `first` notes whose. For any other block nothing is known, and the way to find out is to follow the links
from the block round the circle until one leads to it again: O(blocks on the list). How often and how far is counted,
so that what the second link of other placements is worth is a figure. The three words, `walks[FIELD]`:

==========  =====================================================================
`ASKED`     the list of the last `first` that found a block
`WALKS`     removals that had to walk
`STEPS`     links that they followed, all together
==========  =====================================================================
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT
from structpage.core.words import ONE_WAY_MASK

ASKED, WALKS, STEPS = range(3)


class SinglyLinked(NamedTuple):
    """Free-list links as one node in the `allocatee` word; removal from the middle walks."""

    word: Buffer
    head: Buffer
    walks: Buffer
    frames: int
    nodes: int

    @classmethod
    def build(cls, room: Room) -> SinglyLinked:
        walks = room.buffer("walks", 3)
        for field in (ASKED, WALKS, STEPS):
            walks[field] = 0
        return cls(room.word, room.buffer("head", 2 * room.lists), walks, room.frames, room.frames + room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(max_nodes=ONE_WAY_MASK + 1, removes_by_walking=True)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 16 * lists + 24

    def steps_walked(self) -> int:
        """Return the number of links that removals followed so far."""
        return self.walks[STEPS]

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.frames:
            return node
        return -1 if self.frames <= node < self.nodes else CORRUPT

    def after(self, node: int) -> int:
        """Return the node after a node."""
        return self.word[2 * node + 1] if node < self.frames else self.head[2 * (node - self.frames)]

    def set_link(self, node: int, which: int, value: int) -> None:
        """Write the node after a node, or where `which` is 1 the last one of a list's head; frames have no other."""
        if node >= self.frames:
            self.head[2 * (node - self.frames) + which] = value
        elif which == 0:
            self.word[2 * node + 1] = value

    def first(self, lst: int) -> int:
        node = self.head[2 * lst]
        if node >= self.frames:
            return -1
        self.walks[ASKED] = lst
        return node

    def last(self, lst: int) -> int:
        node = self.head[2 * lst + 1]
        return node if node < self.frames else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.word[2 * pfn + 1])

    def reset(self, lst: int) -> None:
        self.head[2 * lst] = self.frames + lst
        self.head[2 * lst + 1] = self.frames + lst

    def push_front(self, lst: int, pfn: int) -> None:
        head = self.head
        first = head[2 * lst]
        self.word[2 * pfn + 1] = first
        head[2 * lst] = pfn
        if first >= self.frames:
            head[2 * lst + 1] = pfn

    def push_back(self, lst: int, pfn: int) -> None:
        head = self.head
        last = head[2 * lst + 1]
        self.word[2 * pfn + 1] = self.frames + lst
        head[2 * lst + 1] = pfn
        self.set_link(last, 0, pfn)

    def remove(self, pfn: int) -> int:
        after = self.word[2 * pfn + 1]
        if after < 0 or after >= self.nodes:
            return CORRUPT
        asked = self.walks[ASKED]
        before = self.frames + asked
        if self.head[2 * asked] != pfn:
            before = self.before(pfn, after)
            if before < 0:
                return CORRUPT
        self.set_link(before, 0, after)
        if after >= self.frames:
            self.head[2 * (after - self.frames) + 1] = before
        return 0

    def before(self, pfn: int, node: int) -> int:
        """Return the node before a block, found by a walk from the one after it; or `CORRUPT`. O(blocks)."""
        walks = self.walks
        steps = 0
        after = self.after(node)
        while after != pfn:
            if after < 0 or after >= self.nodes or steps > self.nodes:
                return CORRUPT
            node = after
            steps += 1
            after = self.after(node)
        walks[WALKS] += 1
        walks[STEPS] += steps + 1
        return node
