"""The replay loop: requests in arrays, answers in arrays, and nothing else in between.

A request is a row of six columns. `slot` names an allocation so that a later row can free what came of it,
wherever that was.

=========  =======================================================================================
`ALLOC`    2^order frames of type `mt` from `zone`'s zonelist; the PFN goes to `where[slot]`
`FREE`     the block of `order` that lies `offset` frames into the allocation `slot`
`SPLIT`    the block there, of whatever order, becomes blocks of `order`
`RELEASE`  2^order reserved frames from PFN `offset` on are put back to the free memory
=========  =======================================================================================

A row whose allocation failed earlier has nothing to act on, and answers `NO_MEMORY` too.
"""

from __future__ import annotations

from collections.abc import Iterable

from structpage.core.buffers import Buffer
from structpage.core.ranges import Ranges
from structpage.core.status import NO_MEMORY

ALLOC, FREE, SPLIT, RELEASE = range(4)


def replay(
    ranges: Ranges,
    kind: Iterable[int],
    order: Iterable[int],
    slot: Iterable[int],
    offset: Iterable[int],
    mt: Iterable[int],
    zone: Iterable[int],
    where: Buffer,
    answer: Buffer,
) -> int:
    """Run the rows in order; `answer[i]` becomes the PFN of an allocation, 0, or a status.

    Precondition: `answer` is zeros. Stops after a row that was refused or met a corruption, as its answer says.
    Returns the number of rows run.
    """
    buddy = ranges.buddy
    i = 0
    for what, size, name, at, kin, place in zip(kind, order, slot, offset, mt, zone):  # noqa: B905
        if what == ALLOC:
            status = buddy.alloc(size, kin, place, 0)
            where[name] = status
        elif what == RELEASE:
            status = ranges.release(at, at + (1 << size), kin)
        else:
            pfn = where[name]
            if pfn < 0:
                status = NO_MEMORY
            elif what == FREE:
                status = buddy.free(pfn + at, size, kin)
            else:
                status = ranges.split(pfn + at, size)
        if status:
            answer[i] = status
            if status < NO_MEMORY:
                return i + 1
        i += 1
    return i
