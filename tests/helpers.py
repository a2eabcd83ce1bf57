"""What several test files use."""

from __future__ import annotations

import os
import re

import numpy as np

from structpage import BuddyAllocator
from structpage.core.placements import BUILTIN
from structpage.frames import PAGE_WORDS
from structpage.placing import declared
from structpage.request import ALLOC, FREE, SPLIT, Requests, requests

PLACEMENTS = list(BUILTIN)
IN_ORDER = [name for name in PLACEMENTS if declared(BUILTIN[name]).keeps_order]
"""Those that keep the order of their lists, and so hand out the same frames."""
POOLED = ["array-index", "slab-nodes", "radix-tree"]
"""Those that say in a block's word where in a pool it has its place, which depends on all that was before."""
LONG = os.environ.get("STRUCTPAGE_PROFILE") == "long"
COMPILED = PLACEMENTS if LONG else ["side-table", "in-page", "one-word", "bitmap", "slab-nodes"]
"""Those whose every rule is tested compiled too: each takes many seconds to compile."""
FULL = (1 << 64) - 1
MUCH = 1 << 14
"""Frames above which the content of those with links stands for that of all."""


def says(message: str) -> str:
    """The pattern of a whole message."""
    return f"^{re.escape(message)}$"


class Sparse:
    """A buffer of any length that holds only what was written, and takes only signed 64-bit values."""

    def __init__(self, length: int = 1 << 62) -> None:
        self.length = length
        self.values: dict[int, int] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        assert 0 <= index < self.length
        return self.values.get(index, 0)

    def __setitem__(self, index: int, value: int) -> None:
        assert 0 <= index < self.length
        assert -(1 << 63) <= value < 1 << 63
        self.values[index] = value


class SparseFill:
    def __init__(self, words: Sparse) -> None:
        self.words = words

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        for index in range(start, stop, step):
            self.words[index] = value

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        self.fill(start, stop, 2, value)
        self.fill(start + 1, stop, 2, other)


def workload(rows: int, *, frames: int, max_order: int = 5, seed: int = 1, zone: int = 2) -> Requests:
    """A mixed script around 60 % occupancy, with some allocations that fail and some that are split."""
    rng = np.random.default_rng(seed)
    live: list[tuple[int, int, int]] = []
    script: list[tuple[int, int, int, int]] = []
    used = slots = 0
    for _ in range(rows):
        if not live or rng.random() < (0.7 if used < 0.6 * frames else 0.3):
            order = min(int(rng.geometric(0.5)) - 1, max_order)
            script.append((ALLOC, order, slots, 0))
            live.append((slots, 0, order))
            slots += 1
            used += 1 << order
            continue
        slot, offset, order = live.pop(int(rng.integers(len(live))))
        if order and rng.random() < 0.2:
            script.append((SPLIT, 0, slot, offset))
            live += [(slot, offset + i, 0) for i in range(1 << order)]
        else:
            script.append((FREE, order, slot, offset))
            used -= 1 << order
    kind, order_, slot_, offset_ = zip(*script, strict=True)
    return requests(kind, order_, slot_, offset_, zone=zone)


def state(buddy: BuddyAllocator) -> dict[str, bytes]:
    """All words there are, but for those of `singly-linked` that tell what was looked at."""
    words = {name: values.tobytes() for name, values in buddy.buffers.items() if name != "walks"}
    if buddy.memory is not None:
        content = buddy.memory.words
        if buddy.memory.frames > MUCH:  # to read the frames that nobody touched would take minutes
            content = content.reshape(-1, PAGE_WORDS)[buddy.pages.free_heads()[0]]
        words["memory"] = content.tobytes()
    return words


def lists(buddy: BuddyAllocator) -> list[list[int]]:
    """The free lists of all zones, orders and types, head to tail."""
    return [
        buddy.free_list(order, zone=zone.name, node=zone.node)
        for zone in buddy.zones
        for order in range(buddy.max_order + 1)
    ]
