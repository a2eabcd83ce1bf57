"""The caches of an allocator as rows: what /proc/slabinfo counts, and what is true.

Followed: Linux 6.1 mm/slub.c, `get_slabinfo`, which takes as free the objects of the nodes' partial lists alone: what
is free on a CPU counts as active.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from structpage.core.slab.rows import CACHE_ROW, DISCARDED, FALLBACKS, MADE, NODE_ROW, NR_SLABS, TOTAL_OBJECTS
from structpage.slab.layer import Allocator, layer_over

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache

COUNTS = ("active_objs", "num_objs", "objsize", "objperslab", "pagesperslab", "active_slabs", "num_slabs")
"""What a line of /proc/slabinfo has behind the name."""
SLAB_TABLE = np.dtype(
    [("name", "U64"), *((name, np.int64) for name in COUNTS)]
    + [(name, np.int64) for name in ("in_use", "made", "discarded", "fallbacks")]
)
"""A row per cache: what slabinfo says, then the objects truly in use, and the slabs made, given back, and made of the
least order for want of a better block."""


def slab_table(allocator: Allocator) -> npt.NDArray[np.void]:
    """Return a row of `SLAB_TABLE` for each cache, newest first as the kernel lists them. O(partial slabs)."""
    layer = layer_over(allocator)
    caches = list(layer.caches.values())[::-1] if layer else []
    return np.array([_row(cache) for cache in caches], SLAB_TABLE)


def _row(cache: SlabCache) -> tuple[str | int, ...]:
    layer, store, shape = cache.layer, cache.layer.store, cache.geometry
    rows = [(cache.number * store.nodes + node) * NODE_ROW for node in layer.nodes]
    slabs = sum(store.node[row + NR_SLABS] for row in rows)
    total = sum(store.node[row + TOTAL_OBJECTS] for row in rows)
    free = sum(slab.objects - slab.inuse for node in layer.nodes for slab in cache.partial(node))
    counted = [store.cache[cache.number * CACHE_ROW + word] for word in (MADE, DISCARDED, FALLBACKS)]
    return (
        cache.name,
        total - free,
        total,
        shape.size,
        shape.objects,
        1 << shape.order,
        slabs,
        slabs,
        len(cache),
        *counted,
    )
