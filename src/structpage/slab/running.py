"""Many requests to slab caches at once: arrays in, addresses out, at the engine's speed.

What the rows mean is in `structpage.core.slab.script`, whose loop runs them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from structpage.core.slab.rows import STATUSES
from structpage.core.slab.script import ALLOC, FREE, run
from structpage.core.status import NO_MEMORY
from structpage.errors import InvalidArgument, OutOfRange, must
from structpage.refusal import corruption
from structpage.slab.cache import SlabCache
from structpage.slab.kept import KeptCache
from structpage.slab.layer import SlabLayer
from structpage.slab.views import unsigned_address

Column = npt.NDArray[np.int64]


def run_requests(
    caches: Sequence[SlabCache],
    kind: npt.ArrayLike,
    cache: npt.ArrayLike,
    slot: npt.ArrayLike,
    cpu: npt.ArrayLike = 0,
    node: npt.ArrayLike = -1,
) -> npt.NDArray[np.uint64]:
    """Run requests to caches of one allocator, in order; return the address of each `slot`'s object, 0 if none.

    `kind` is `ALLOC` or `FREE`, `cache` a place in `caches`, `slot` the number of an object, `node` -1 for the CPU's.
    A slot is allocated once and then freed at most once; what is freed twice, or before, is refused beforehand. An
    allocation for which there is no memory leaves 0, and its free does nothing. Caches that are debugged or have a
    constructor run Python for each object, and are refused. Raises `InvalidArgument`, `OutOfRange`; nothing is run
    then. O(rows), compiled where the allocator's engine compiles.
    """
    layer = _layer_of(caches)
    rows = [np.array(column, np.int64) for column in np.broadcast_arrays(kind, cache, slot, cpu, node)]
    _check_rows(layer, rows, len(caches))
    rows[1] = np.array([one.number for one in caches], np.int64)[rows[1]]
    where = np.zeros(int(rows[2].max(initial=-1)) + 1, np.int64)
    answer = np.zeros(len(rows[0]), np.int64)
    done = 0
    while done < len(answer):
        part = [column[done:] for column in rows]
        done += layer.allocator.engine.run(run, layer.slub, part, [where, answer[done:]])
        if STATUSES < answer[done - 1] < NO_MEMORY:
            raise corruption(layer.allocator)
    where[where == NO_MEMORY] = 0
    _settle(layer, rows, where)
    return where.view(np.uint64)


def _layer_of(caches: Sequence[SlabCache]) -> SlabLayer:
    if not caches or any(cache.layer is not caches[0].layer for cache in caches):
        raise InvalidArgument(must("caches", "one or more of one allocator", f"{len(caches)} caches"))
    for cache in caches:
        cache.must_exist()
        if isinstance(cache, KeptCache):
            cache.refuse("asked for")
        if cache.geometry.debug or cache.ctor is not None:
            raise InvalidArgument(must(f"cache {cache.name}", "neither debugged nor constructed", "either"))
    return caches[0].layer


def _check_rows(layer: SlabLayer, rows: list[Column], caches: int) -> None:
    bounds = (("kind", 1), ("cache", caches - 1), ("slot", len(rows[0]) - 1), ("cpu", layer.cpus - 1))
    for column, (name, most) in zip(rows, bounds, strict=False):
        for bad in column[(column < 0) | (column > most)][:1].tolist():
            raise OutOfRange(must(name, f"between 0 and {most}", bad))
    for bad in rows[4][~np.isin(rows[4], [-1, *layer.nodes])][:1].tolist():
        raise InvalidArgument(must("node", f"-1 or one of {', '.join(map(str, layer.nodes))}", bad))
    kind, slot = rows[0], rows[2]
    at = np.arange(len(slot))
    size = int(slot.max(initial=-1)) + 1
    times = [np.bincount(slot[kind == what], minlength=size) for what in (ALLOC, FREE)]
    allocated = np.full(size, len(slot))
    allocated[slot[kind == ALLOC]] = at[kind == ALLOC]
    for bad in at[(times[0] > 1)[slot] | (times[1] > 1)[slot] | (allocated[slot] > at)][:1].tolist():
        raise InvalidArgument(must(f"slot {slot[bad]}", "allocated once, then freed at most once", f"as in row {bad}"))


def _settle(layer: SlabLayer, rows: list[Column], where: Column) -> None:
    # What is in use now that was not before.
    kind, cache, slot = rows[:3]
    freed = np.zeros(len(where), np.bool_)
    freed[slot[kind == FREE]] = True
    kept = (kind == ALLOC) & ~freed[slot] & (where[slot] != 0)
    for number in np.unique(cache[kept]).tolist():
        addresses = where[slot[kept & (cache == number)]].tolist()
        layer.caches[number].live.update(map(unsigned_address, addresses))
