"""A hierarchy of caches, and the touches that go through it: an address trace, with the owners' own in between.

Terminology: a *touch* is one access to a 64-bit word, by the allocator or by the owner of a block; its *depth* is the
number of levels that missed it.

What is modelled: one processor, physical addresses as in `ProbedEngine`, lines of 64 bytes. Each level is
set-associative by plain address bits, replaces the line used longest ago, allocates on a write and writes back; the
levels are neither inclusive nor exclusive. What is not: instructions, the stack, translation (TLB), prefetching,
other processors, and that the set of a real last level is a hash of the address, which spreads the first lines of
pages better than plain bits do.

Whether a free page is cold depends on who had it, so what its owner did is part of the model:

===================  =============================================================================================
`"idle"`             nothing: only links bring a page into a cache. The coldest case
`"fills"`            writes every line of a block when it gets it, as the zeroing of a page or a read from disk does
`"fills-and-reads"`  this, and reads every line once more before it frees the block. The hottest case
===================  =============================================================================================

The simulator is pyCacheSimulator, the extra `cache`: pure Python, 2 to 30 us a touch, more the deeper it misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.core.script import ALLOC, FREE
from structpage.errors import InvalidArgument, MissingExtra, must
from structpage.replay import Replay

LINE_SHIFT = 6
PAGE_LINES_SHIFT = 6  # 64 lines of 64 bytes in a 4 KiB frame
OWNERS = ("idle", "fills", "fills-and-reads")


class CacheLevel(NamedTuple):
    """A level of a hierarchy: its name, its size in bytes, and its ways; ways and sets are powers of two."""

    name: str
    size: int
    ways: int


HIERARCHY = (CacheLevel("L1", 32 << 10, 8), CacheLevel("L2", 256 << 10, 4), CacheLevel("L3", 8 << 20, 16))
"""The data caches of one core of an Intel Skylake desktop processor, and the last level that its cores share."""


class Touches(NamedTuple):
    """Touches in order, a row each: which line, whether it is written, whose it is, and of which request."""

    line: npt.NDArray[np.int64]
    write: npt.NDArray[np.bool_]
    owners: npt.NDArray[np.bool_]
    """Whether the owner of a block touched it, and not the allocator."""
    request: npt.NDArray[np.int64]


# From a trace to touches


def touches_of(
    trace: npt.NDArray[np.void],
    starts: npt.NDArray[np.int64],
    replay: Replay,
    owner: str = "idle",
    first: int = 0,
) -> Touches:
    """Return the touches of a replay's address trace from request `first` on, with those of the owners in between.

    `starts` says where each request begins in the trace. An owner touches its block after the allocation's own
    touches, and before those of the free. O(touches)
    """
    ends = np.append(starts, len(trace))
    kept = trace[ends[first] :]
    request = np.repeat(np.arange(first, len(starts)), np.diff(ends[first:]))
    line = (kept["address"] >> np.uint64(LINE_SHIFT)).astype(np.int64)
    own = Touches(line, kept["write"], np.zeros(len(kept), np.bool_), request)
    blocks = _used_blocks(replay, owner)
    blocks = blocks[blocks[:, 0] >= first]
    if not len(blocks):
        return own
    row, pfn, order, is_written = blocks.T
    lengths = np.int64(1) << (order + PAGE_LINES_SHIFT)
    at = np.where(is_written, ends[row + 1], ends[row]) - ends[first]
    theirs = Touches(
        np.repeat(pfn << PAGE_LINES_SHIFT, lengths) + _counting(lengths),
        np.repeat(is_written == 1, lengths),
        np.ones(lengths.sum(), np.bool_),
        np.repeat(row, lengths),
    )
    places = np.repeat(at, lengths)
    return Touches(*(np.insert(mine, places, others) for mine, others in zip(own, theirs, strict=True)))


def _counting(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # 0, 1, ... for each length in turn.
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _used_blocks(replay: Replay, owner: str) -> npt.NDArray[np.int64]:
    # What owners touch: rows of request, PFN, order, and whether it is written, in the order of the requests.
    where: dict[int, int] = {}
    used: list[tuple[int, int, int, int]] = []
    requests = replay.requests
    columns = (requests.kind, requests.order, requests.slot, requests.offset, replay.answers)
    for row, (kind, order, slot, offset, answer) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        if kind == ALLOC:
            where[slot] = answer
            if answer >= 0 and owner != "idle":
                used.append((row, answer, order, 1))
        elif kind == FREE and owner == "fills-and-reads" and where.get(slot, -1) >= 0:
            used.append((row, where[slot] + offset, order, 0))
    return np.array(used, np.int64).reshape(-1, 4)


# The simulator


def validate(hierarchy: Sequence[CacheLevel]) -> None:
    """Raise `InvalidArgument` for a hierarchy that cannot be built, `MissingExtra` without the simulator."""
    _simulator()
    if not hierarchy:
        raise InvalidArgument(must("hierarchy", "of at least one level", "empty"))
    for level in hierarchy:
        lines, rest = divmod(level.size, 1 << LINE_SHIFT)
        if rest or lines < level.ways or not (_is_power_of_two(lines) and _is_power_of_two(level.ways)):
            rule = "a power of two of ways, each a power of two of 64-byte lines"
            raise InvalidArgument(must(f"cache {level.name}", rule, f"{level.ways} ways of {level.size} bytes in all"))


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _simulator() -> tuple[Any, Any]:
    try:
        from cachesim.cache import Cache
        from cachesim.hierarchy import Level
    except ImportError as error:
        found = "missing" if error.name == "cachesim" else "hidden by another package called cachesim"
        rule = "installed (pip install 'structpage[cache]')"
        raise MissingExtra(must("pyCacheSimulator, which cache_misses needs,", rule, found)) from error
    return Cache, Level


def _empty(hierarchy: Sequence[CacheLevel]) -> Any:
    # The first level, which has the others below it.
    cache, link = _simulator()
    lower = None
    for level in reversed(hierarchy):
        lower = link(level.name, cache(level.size >> LINE_SHIFT, 1 << LINE_SHIFT, level.ways), lower)
    return lower


def simulate(touches: Touches, hierarchy: Sequence[CacheLevel]) -> npt.NDArray[np.int64]:
    """Return for each touch how many levels missed it, 0 for none; the caches are empty at first. As `validate` raises.

    Touches in a row to one line are one reference, since none but the first can miss, and the order of use is the same.
    """
    validate(hierarchy)
    first = _empty(hierarchy)
    depth = np.zeros(len(touches.line), np.int64)
    runs = np.flatnonzero(np.diff(touches.line, prepend=-1))
    written = np.logical_or.reduceat(touches.write, runs) if len(runs) else touches.write
    for place, line, write in zip(runs.tolist(), touches.line[runs].tolist(), written.tolist(), strict=True):
        answer = first.reference(line << LINE_SHIFT, 8, write)
        while not answer.hit:
            depth[place] += 1
            answer = next(fetch for fetch in answer.ll_ops if not fetch.w_not_r)
    return depth
