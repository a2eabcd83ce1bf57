"""`side-table`: the links in a table beside the pages.

Record: `link[2 * node]` is the node after, `link[2 * node + 1]` the node before, each as the place of its own
record, which is twice the node; heads follow the frames in the same table, so no access has a branch.
16 bytes a frame, taken at boot; free pages are never touched. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Room
from structpage.core.status import CORRUPT


class SideTable(NamedTuple):
    """Free-list links in a table of two words per node beside the pages."""

    link: Buffer
    heads: int
    size: int

    @classmethod
    def build(cls, room: Room) -> SideTable:
        size = 2 * (room.frames + room.lists)
        return cls(room.buffer("link", size), 2 * room.frames, size)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 16 * (frames + lists)

    def frame_of(self, node: int) -> int:
        if 0 <= node < self.heads:
            return node >> 1
        return -1 if self.heads <= node < self.size else CORRUPT

    def first(self, lst: int) -> int:
        place = self.link[self.heads + 2 * lst]
        return place >> 1 if place < self.heads else -1

    def last(self, lst: int) -> int:
        place = self.link[self.heads + 2 * lst + 1]
        return place >> 1 if place < self.heads else -1

    def next(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.link[2 * pfn])

    def prev(self, lst: int, pfn: int) -> int:
        return self.frame_of(self.link[2 * pfn + 1])

    def reset(self, lst: int) -> None:
        head = self.heads + 2 * lst
        self.link[head] = head
        self.link[head + 1] = head

    def push_front(self, lst: int, pfn: int) -> None:
        link = self.link
        here = 2 * pfn
        head = self.heads + 2 * lst
        first = link[head]
        link[here] = first
        link[here + 1] = head
        link[first + 1] = here
        link[head] = here

    def push_back(self, lst: int, pfn: int) -> None:
        link = self.link
        here = 2 * pfn
        head = self.heads + 2 * lst
        last = link[head + 1]
        link[here] = head
        link[here + 1] = last
        link[last] = here
        link[head + 1] = here

    def remove(self, pfn: int) -> int:
        link = self.link
        here = 2 * pfn
        after = link[here]
        before = link[here + 1]
        if (after | before) < 0 or after >= self.size or before >= self.size:
            return CORRUPT
        link[before] = after
        link[after + 1] = before
        return 0
