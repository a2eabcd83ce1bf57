"""The time line of a replay of slab events: slabs and objects of each cache at regular times, in one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from structpage.slab.layer import Allocator
from structpage.slab.listing import slab_table
from structpage.traces.slab_requests import SlabRequests

SLAB_TIMES = np.dtype(
    [
        ("event", np.int64),
        ("time", np.int64),
        ("name", "U64"),
        ("slabs", np.int64),
        ("pages", np.int64),
        ("objects", np.int64),
        ("in_use", np.int64),
        ("used", np.float64),
    ]
)
"""A row per cache and time: slab events done, time stamp of the next, the cache's name, its slabs, the page frames of
slabs of the usual order, all objects and those in use, and the share of the frames' bytes that these are."""


class Times:
    """Samples of the caches of a trace, as they are asked for."""

    def __init__(self, requests: SlabRequests, allocator: Allocator) -> None:
        self.stamps = requests.events.rows["time"]
        self.names = np.array(requests.names)
        self.allocator = allocator
        self.parts: list[NDArray[np.void]] = []

    def sample(self, row: int) -> None:
        """Note the caches as they are before a row. O(partial slabs)."""
        table = slab_table(self.allocator)
        table = table[np.isin(table["name"], self.names)]
        part = np.zeros(len(table), SLAB_TIMES)
        part["event"], part["time"] = row, self.stamps[min(row, len(self.stamps) - 1)]
        part["name"], part["slabs"], part["objects"] = table["name"], table["num_slabs"], table["num_objs"]
        part["in_use"], part["pages"] = table["in_use"], table["num_slabs"] * table["pagesperslab"]
        held = part["pages"] << 12
        part["used"] = np.divide(part["in_use"] * table["objsize"], held, out=np.zeros(len(held)), where=held > 0)
        self.parts.append(part)

    def rows(self) -> NDArray[np.void]:
        """Return all samples, rows of `SLAB_TIMES`."""
        return np.concatenate([np.zeros(0, SLAB_TIMES), *self.parts])
