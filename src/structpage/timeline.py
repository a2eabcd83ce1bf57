"""The time line of a replay: the free memory at regular times, zone by zone, in one structured array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from structpage import metrics
from structpage.core.words import TYPES
from structpage.zones import Zone


def row_dtype(orders: int) -> np.dtype[np.void]:
    """Return the dtype of a time line over `orders` orders.

    ``request``, the number of requests done; ``node`` and ``zone``; ``free_pages``; ``free_blocks``, free blocks by
    migratetype and order; ``unusable_index`` and ``extfrag_index`` by order, x1000, as the kernel computes them.
    """
    return np.dtype(
        [
            ("request", np.int64),
            ("node", np.int64),
            ("zone", "U8"),
            ("free_pages", np.int64),
            ("free_blocks", np.int64, (TYPES, orders)),
            ("unusable_index", np.int64, (orders,)),
            ("extfrag_index", np.int64, (orders,)),
        ]
    )


def timeline(
    times: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], zones: Sequence[Zone]
) -> npt.NDArray[np.void]:
    """Return a row per sample and zone, the zones of one sample together.

    `samples` are free blocks, int64, of shape (times, zone numbers, migratetypes, orders).
    """
    chosen = samples[:, [zone.number for zone in zones]]
    rows = np.empty(chosen.shape[:2], row_dtype(samples.shape[-1]))
    rows["request"] = times[:, None]
    rows["node"] = [zone.node for zone in zones]
    rows["zone"] = [zone.name for zone in zones]
    counts = chosen.sum(axis=2)
    rows["free_pages"] = metrics.free_pages(counts)
    rows["free_blocks"] = chosen
    rows["unusable_index"] = metrics.unusable_index(counts)
    rows["extfrag_index"] = metrics.extfrag_index(counts)
    return rows.reshape(-1)
