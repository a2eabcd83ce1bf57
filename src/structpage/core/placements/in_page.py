"""`in-page`: the links in the first 16 bytes of the free page itself.

Record: words 0 and 1 of the head frame's memory are the node after and the node before. List heads have
no page and lie in a small table beside, which costs a branch per neighbour. No memory is needed
beside that, but every insertion and removal touches up to three free, and probably cold, pages, and
anything else that has a claim on their content collides with it. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT

PAGE_WORDS_SHIFT = 9  # 512 words of 8 bytes in a 4 KiB frame


class InPage(NamedTuple):
    """Free-list links in the first two words of the free page."""

    memory: Buffer
    head: Buffer
    frames: int
    nodes: int

    @classmethod
    def build(cls, room: Room) -> InPage:
        return cls(room.memory, room.buffer("head", 2 * room.lists), room.frames, room.frames + room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(touches_free_pages=True)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 16 * lists

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.frames:
            return node
        return -1 if self.frames <= node < self.nodes else CORRUPT

    def set_link(self, node: int, which: int, value: int) -> None:
        if node < self.frames:
            self.memory[(node << PAGE_WORDS_SHIFT) + which] = value
        else:
            self.head[2 * (node - self.frames) + which] = value

    def first(self, lst: int) -> int:
        node = self.head[2 * lst]
        return node if node < self.frames else -1

    def last(self, lst: int) -> int:
        node = self.head[2 * lst + 1]
        return node if node < self.frames else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.memory[pfn << PAGE_WORDS_SHIFT])

    def prev(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.memory[(pfn << PAGE_WORDS_SHIFT) + 1])

    def reset(self, lst: int) -> None:
        self.head[2 * lst] = self.frames + lst
        self.head[2 * lst + 1] = self.frames + lst

    def push_front(self, lst: int, pfn: int) -> None:
        memory = self.memory
        first = self.head[2 * lst]
        memory[pfn << PAGE_WORDS_SHIFT] = first
        memory[(pfn << PAGE_WORDS_SHIFT) + 1] = self.frames + lst
        self.set_link(first, 1, pfn)
        self.head[2 * lst] = pfn

    def push_back(self, lst: int, pfn: int) -> None:
        memory = self.memory
        last = self.head[2 * lst + 1]
        memory[pfn << PAGE_WORDS_SHIFT] = self.frames + lst
        memory[(pfn << PAGE_WORDS_SHIFT) + 1] = last
        self.set_link(last, 0, pfn)
        self.head[2 * lst + 1] = pfn

    def remove(self, pfn: int) -> int:
        memory = self.memory
        after = memory[pfn << PAGE_WORDS_SHIFT]
        before = memory[(pfn << PAGE_WORDS_SHIFT) + 1]
        if (after | before) < 0 or after >= self.nodes or before >= self.nodes:
            return CORRUPT
        self.set_link(before, 0, after)
        self.set_link(after, 1, before)
        return 0
