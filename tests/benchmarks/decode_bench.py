"""Whole-array decoding beside a numpy copy of the same words, interleaved, so that both meet the same machine.

    PYTHONPATH=src python tests/benchmarks/decode_bench.py [log2 of the frames]

A row is the least time of each in nanoseconds a frame, and in parentheses how many copies it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from structpage import BuddyAllocator, PageArray, requests
from structpage.experiments.scripts import mixed
from structpage.request import ALLOC, FREE

ROUNDS = 15


def used_states(placement: str, frames: int) -> Iterator[tuple[str, PageArray]]:
    """Yield memmaps that are easy and hard to decode, each with what it is."""
    yield "all free", BuddyAllocator(frames, placement).pages
    for order in (0, 1, 3):
        slots = np.arange(frames >> order)
        kind = np.repeat([ALLOC, FREE], [len(slots), len(slots) // 2])
        buddy = BuddyAllocator(frames, placement)
        buddy.replay(requests(kind, order, np.concatenate([slots, slots[: len(slots) // 2 * 2 : 2]])))
        yield f"every other block of order {order} free", buddy.pages
    buddy = BuddyAllocator(frames, placement)
    buddy.replay(mixed(frames // 2, frames))
    yield "60 % used, orders 0 to 9", buddy.pages


def timed(pages: PageArray, rounds: int) -> dict[str, float]:
    """Return the least seconds of a copy and of each way to decode."""
    copy = np.empty_like(pages.words)
    ways: dict[str, Callable[[], object]] = {
        "copy": lambda: np.copyto(copy, pages.words),
        "order": lambda: pages.order,
        "is_free": lambda: pages.is_free,
        "free_runs": pages.free_runs,
        "zone": lambda: pages.zone,
        "node": lambda: pages.node,
        "owner": lambda: pages.owner,
    }
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def main(frames: int = 1 << 22, rounds: int = ROUNDS) -> None:
    """Print a row per layout and state."""
    for placement in ("in-words", "one-word"):
        for name, pages in used_states(placement, frames):
            least = timed(pages, rounds)
            cells = [f"{way} {1e9 * took / frames:.2f} ({took / least['copy']:.2f})" for way, took in least.items()]
            print(f"{pages.layout.name}, {name}:", ", ".join(cells))


if __name__ == "__main__":
    main(1 << int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 22)
