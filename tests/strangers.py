"""Placements of strangers: what somebody who knows only the interface would write in a notebook."""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.status import CORRUPT


class Plain:
    """A stranger's placement: no NamedTuple, no buffers, a Python list per free list."""

    def __init__(self, frames):
        self.of_list = {}
        self.where = {}

    @classmethod
    def build(cls, room):
        return cls(room.frames)

    def first(self, lst):
        return self.of_list[lst][0] if self.of_list[lst] else -1

    def next(self, lst, pfn):
        after = self.of_list[lst].index(pfn) + 1
        return self.of_list[lst][after] if after < len(self.of_list[lst]) else -1

    def push_front(self, lst, pfn):
        self.of_list[lst].insert(0, pfn)
        self.where[pfn] = lst

    def push_back(self, lst, pfn):
        self.of_list[lst].append(pfn)
        self.where[pfn] = lst

    def remove(self, pfn):
        if pfn not in self.where:
            return CORRUPT
        self.of_list[self.where.pop(pfn)].remove(pfn)
        return 0

    def reset(self, lst):
        self.of_list[lst] = []


class Apart(NamedTuple):
    """A stranger's placement over buffers: next and prev in two tables, with a head node per list."""

    after: Buffer
    before: Buffer
    frames: int

    @classmethod
    def build(cls, room):
        nodes = room.frames + room.lists
        return cls(room.buffer("after", nodes), room.buffer("before", nodes), room.frames)

    def pfn_or_end(self, node):
        return node if node < self.frames else -1

    def first(self, lst):
        return self.pfn_or_end(self.after[self.frames + lst])

    def last(self, lst):
        return self.pfn_or_end(self.before[self.frames + lst])

    def next(self, lst, pfn):
        return self.pfn_or_end(self.after[pfn])

    def prev(self, lst, pfn):
        return self.pfn_or_end(self.before[pfn])

    def insert(self, node, pfn):
        other = self.after[node]
        self.after[pfn] = other
        self.before[pfn] = node
        self.before[other] = pfn
        self.after[node] = pfn

    def push_front(self, lst, pfn):
        self.insert(self.frames + lst, pfn)

    def push_back(self, lst, pfn):
        self.insert(self.before[self.frames + lst], pfn)

    def remove(self, pfn):
        self.after[self.before[pfn]] = self.after[pfn]
        self.before[self.after[pfn]] = self.before[pfn]
        return 0

    def reset(self, lst):
        self.after[self.frames + lst] = self.frames + lst
        self.before[self.frames + lst] = self.frames + lst
