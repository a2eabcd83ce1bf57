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

While the rows run, the free lists can be counted at regular times: a *sample* has, for every zone, migratetype and
order, the number of free blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer
from structpage.core.ranges import Ranges
from structpage.core.status import NO_MEMORY
from structpage.core.words import DEFAULT_TYPE, LANE_SHIFT, TYPES

ALLOC, FREE, SPLIT, RELEASE = range(4)
Row = tuple[int, int, int, int, int, int]


def replay(
    ranges: Ranges,
    rows: Iterable[Row],
    where: Buffer,
    answer: Buffer,
    samples: Buffer,
    due: int,
    every: int,
) -> int:
    """Run the rows in order; `answer[i]` becomes the PFN of an allocation, 0, or a status.

    A sample is taken after `due` rows (0: before the first) and after every `every` rows from there; none if `due`
    is negative. Precondition: `answer` is zeros. Stops after a row that was refused or met a corruption, as its
    answer says. Returns the number of rows run.
    """
    buddy = ranges.buddy
    i = 0
    taken = 0
    if due == 0:
        taken = sample(buddy, samples, taken)
        due += every
    for what, size, name, at, kin, place in rows:
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
        if i == due:
            taken = sample(buddy, samples, taken)
            due += every
    return i


def sample(buddy: Buddy, samples: Buffer, taken: int) -> int:
    """Write a sample from `samples[taken]` on, zone by zone and type by type; return where the next one begins.

    O(blocks that are not of the default type); the others are what is left of `nr_free`.
    """
    orders = buddy.orders
    for zone in range(buddy.zones):
        for order in range(orders):
            rest = buddy.nr_free[zone * orders + order]
            for mt in range(TYPES):
                blocks = 0
                if mt != DEFAULT_TYPE and rest:
                    blocks = length(buddy, zone << LANE_SHIFT | mt, order, rest)
                samples[taken + mt * orders + order] = blocks
                rest -= blocks
            samples[taken + DEFAULT_TYPE * orders + order] = rest
        taken += TYPES * orders
    return taken


def length(buddy: Buddy, lane: int, order: int, most: int) -> int:
    """Count the blocks on a list, at most `most`; O(blocks)."""
    lst = lane * buddy.orders + order
    pfn = buddy.lists.first(lst)
    blocks = 0
    while pfn >= 0 and blocks < most:
        blocks += 1
        pfn = buddy.lists.next(lst, pfn)
    return blocks
