"""The loop over requests to slab caches: requests in arrays, answers in arrays.

A request is a row of five columns. `slot` names an object, so that a later row can free what came of it.

=========  ================================================================================
`ALLOC`    an object of `cache` for a caller on `cpu`, from `node` or -1; to `where[slot]`
`FREE`     the object `slot`, by a caller on `cpu`
=========  ================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable

from structpage.core.buffers import Buffer
from structpage.core.slab.rows import BASE, PAGE_SHIFT, STATUSES
from structpage.core.slab.slub61 import Slub61
from structpage.core.status import NO_MEMORY

ALLOC, FREE = range(2)
GFP_KERNEL = 0xCC0
Row = tuple[int, int, int, int, int]


def run(slub: Slub61, rows: Iterable[Row], where: Buffer, answer: Buffer) -> int:
    """Run the rows in order; `answer[i]` becomes the address of an object, 0, or a status.

    A free of what was not allocated, because there was no memory, answers `NO_MEMORY`. Stops after a row that was
    refused or met a corruption, as its answer says. Returns the number of rows run.
    """
    i = 0
    for what, cache, slot, cpu, node in rows:
        if what == ALLOC:
            status = slub.alloc_or_make(cache, cpu, node, GFP_KERNEL)
            where[slot] = status
        elif where[slot] >= NO_MEMORY:
            status = NO_MEMORY
        else:
            address = where[slot]
            status = slub.free(slub.slabs.record_of(address - BASE >> PAGE_SHIFT), address, cpu)
        answer[i] = status
        i += 1
        if STATUSES < status < NO_MEMORY:
            return i
    return i
