"""The three scripts that `bench` times: made requests, the same for the same numbers.

All ask for Movable blocks of zone Normal, in memory that is free at the start.

=====  =====================================================================================================
`a`    half of the operations allocate a frame each, the other half free them in the order of their allocation
`b`    the same allocations, freed in random order
`c`    orders 0 to 9, each half as likely as the one below; allocations and frees are mixed, and after a start that
       fills the memory 60 % of the frames are in use; what is freed is any block that lives
=====  =====================================================================================================

Numbers come from `numpy.random.default_rng(seed)`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from structpage.arguments import at_least
from structpage.request import ALLOC, FREE, Requests, requests

TOP_ORDER = 9
OCCUPANCY = 0.6
SEED = 1


def in_order(operations: int, frames: int, seed: int = SEED) -> Requests:
    """Return script `a`; `operations` is rounded down to an even number, and to twice the frames."""
    count = _allocations(operations, frames)
    return _freed_as(np.arange(count))


def in_random_order(operations: int, frames: int, seed: int = SEED) -> Requests:
    """Return script `b`; `operations` is rounded down to an even number, and to twice the frames."""
    count = _allocations(operations, frames)
    return _freed_as(np.random.default_rng(seed).permutation(count))


def mixed(operations: int, frames: int, seed: int = SEED) -> Requests:
    """Return script `c`. O(operations), about 1 us each."""
    at_least("operations", operations, 0)
    rng = np.random.default_rng(seed)
    toss, pick = rng.random(operations).tolist(), rng.random(operations).tolist()
    orders = np.minimum(rng.geometric(0.5, operations) - 1, TOP_ORDER).tolist()
    kind, order, slot = np.empty((3, operations), np.int64)
    live: list[int] = []
    spare: list[int] = []
    held: dict[int, int] = {}
    used = 0
    for i in range(operations):
        if not live or toss[i] < (0.7 if used < OCCUPANCY * frames else 0.3):
            name = spare.pop() if spare else len(held)
            held[name] = orders[i]
            live.append(name)
            used += 1 << orders[i]
            kind[i] = ALLOC
        else:
            chosen = int(pick[i] * len(live))
            name, live[chosen] = live[chosen], live[-1]
            live.pop()
            spare.append(name)
            used -= 1 << held[name]
            kind[i] = FREE
        order[i], slot[i] = held[name], name
    return requests(kind, order, slot)


SCRIPTS: dict[str, Callable[..., Requests]] = {"a": in_order, "b": in_random_order, "c": mixed}
"""By the name of the workload; each takes the operations, the frames and a seed."""


def _allocations(operations: int, frames: int) -> int:
    return min(at_least("operations", operations, 0) // 2, frames)


def _freed_as(slots: np.ndarray) -> Requests:
    kind = np.repeat([ALLOC, FREE], len(slots))
    return requests(kind, np.zeros_like(kind), np.concatenate([np.arange(len(slots)), slots]))
