"""Taking from the lists of a zone, and stealing from other migratetypes when those of one's own are empty.

Terminology: a *foreign* block is on a list of another type than the request's. Stealing moves a foreign block, and
often all free blocks of its pageblock, to the request's lists, where it is then taken in the usual way; the pageblock
is *retyped* if enough of it is free or in use for like purposes. How much is in use for movable purposes the kernel
reads off the frames' LRU flags; here it is told by the type that their allocation asked for, or by whoever knows.

State: `hint[0]` is what is known of thefts to come: binary digits below a leading 1, the next theft's lowest, 1 if
it retypes its pageblock; 1 if nothing is known, and 0 as well. `hint[1]` counts the digits that were used.

Followed: Linux 6.1 mm/page_alloc.c, `__rmqueue`, `__rmqueue_fallback`, `find_suitable_fallback`,
`steal_suitable_fallback`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.linux.gfp import ALLOC_CMA, KSWAPD, NOFRAGMENT
from structpage.core.linux.kernels import Kernel61
from structpage.core.linux.pageblocks import Pageblocks
from structpage.core.linux.tracepoints import (
    CHANGED_AT,
    FELL_BACK,
    FOUND_ORDER_AT,
    FOUND_TYPE_AT,
    ORDER_AT,
    REMOVED,
    TYPE_AT,
    Tracepoints,
)
from structpage.core.linux.zonetable import BOOST, BOOSTED, CMA_FREE, FREE, HIGH, MANAGED, ZONE_ROW
from structpage.core.status import CORRUPT, NO_MEMORY
from structpage.core.words import CMA, HIGHATOMIC, LANE_SHIFT, MOVABLE, RECLAIMABLE, UNMOVABLE

FALLBACKS = ((RECLAIMABLE, MOVABLE), (RECLAIMABLE, UNMOVABLE), (UNMOVABLE, MOVABLE))
"""For requests of Unmovable, Movable, Reclaimable: where to look, in this order (`fallbacks`)."""


class Fallback(NamedTuple):
    """The lists of all zones, and the rules of stealing."""

    blocks: Pageblocks
    kernel: Kernel61
    trace: Tracepoints
    hint: Buffer

    def take(self, zone: int, order: int, mt: int) -> int:
        """Take a block from the lists of one type; unmarked. PFN, `NO_MEMORY` or `CORRUPT` (`__rmqueue_smallest`)."""
        pfn = self.blocks.buddy.rmqueue(zone << LANE_SHIFT | mt, order)
        if pfn >= 0:
            self.trace.note(pfn, REMOVED | order << ORDER_AT | mt << TYPE_AT)
        return pfn

    def rmqueue(self, zone: int, order: int, mt: int, flags: int) -> int:
        """Take a block for a request of type `mt`, from whatever list will do; unmarked, and not counted yet."""
        row = self.blocks.zones.row
        base = zone * ZONE_ROW
        pfn = NO_MEMORY
        if flags & ALLOC_CMA and row[base + CMA_FREE] > row[base + FREE] // 2:
            pfn = self.take(zone, order, CMA)
        while pfn == NO_MEMORY:
            pfn = self.take(zone, order, mt)
            if pfn == NO_MEMORY and flags & ALLOC_CMA:
                pfn = self.take(zone, order, CMA)
            if pfn == NO_MEMORY:
                status = self.steal(zone, order, mt, flags)
                if status:
                    return status
        return pfn

    def type_taken(self, pfn: int, mt: int, flags: int) -> int:
        """Return the type of the list that a block was taken from, for a request of type `mt`."""
        if flags & ALLOC_CMA and self.blocks.type_of(pfn) == CMA:
            return CMA
        return mt

    def foreign(self, zone: int, order: int, mt: int) -> int:
        """Return the first other type that has a block of exactly this order, -1 if none has."""
        buddy = self.blocks.buddy
        if mt < HIGHATOMIC and buddy.nr_free[zone * buddy.orders + order]:
            for other in FALLBACKS[mt]:
                if buddy.lists.first((zone << LANE_SHIFT | other) * buddy.orders + order) >= 0:
                    return other
        return -1

    def steal(self, zone: int, order: int, mt: int, flags: int) -> int:
        """Move a foreign block of at least `order` to the lists of type `mt`; 0, `NO_MEMORY` or `CORRUPT`."""
        buddy = self.blocks.buddy
        least = order
        if order < self.blocks.order and flags & NOFRAGMENT:
            least = self.blocks.order
        current = buddy.orders - 1
        found = self.foreign(zone, current, mt)
        while found < 0 and current > least:
            current -= 1
            found = self.foreign(zone, current, mt)
        if found < 0 or current < least:
            return NO_MEMORY
        if mt == MOVABLE and current > order and not self.kernel.steals(self.blocks.order, current, mt):
            current = order
            found = self.foreign(zone, current, mt)
            while found < 0:
                current += 1
                found = self.foreign(zone, current, mt)
        pfn = buddy.lists.first((zone << LANE_SHIFT | found) * buddy.orders + current)
        if not buddy.memmap.is_free_block(pfn, current):
            return CORRUPT
        status = self.move(zone, pfn, current, mt, flags)
        if self.hint[0] > 1:
            self.hint[0] >>= 1
        what = FELL_BACK | order << ORDER_AT | mt << TYPE_AT | current << FOUND_ORDER_AT | found << FOUND_TYPE_AT
        self.trace.note(pfn, what | int(self.blocks.type_of(pfn) == mt) << CHANGED_AT)
        return status

    def move(self, zone: int, pfn: int, order: int, mt: int, flags: int) -> int:
        """Move a foreign block, or all of its pageblock, to the lists of type `mt`; 0 or `CORRUPT`."""
        blocks, kernel = self.blocks, self.kernel
        was = blocks.type_of(pfn)
        if was != HIGHATOMIC and order >= blocks.order:
            blocks.set_types(pfn, order, zone, mt)
        elif was != HIGHATOMIC:
            self.boost(zone, flags)
            if kernel.steals(blocks.order, order, mt):
                free = blocks.move_block(pfn, zone, mt)
                if free < 0:
                    return CORRUPT
                if free > 0:
                    if self.retypes(pfn, mt, was, free):
                        blocks.set_type(pfn, zone, mt)
                    return 0
        return blocks.move_to_list(pfn, order, zone, mt)

    def retypes(self, pfn: int, mt: int, was: int, free: int) -> bool:
        """Whether a pageblock whose free frames were stolen changes its type."""
        kernel, pages = self.kernel, 1 << self.blocks.order
        known = self.hint[0]
        if kernel.retypes(pages, free, 0):
            return True
        if known > 1:
            self.hint[1] += 1
            return known & 1 == 1
        return kernel.retypes(pages, free, kernel.alike(mt, was, pages, free, self.blocks.used_as(pfn, MOVABLE)))

    def boost(self, zone: int, flags: int) -> None:
        """Raise a zone's watermarks, so that kswapd makes room before more is stolen."""
        row = self.blocks.zones.row
        base = zone * ZONE_ROW
        boost = self.kernel.boost(row[base + BOOST], row[base + HIGH], row[base + MANAGED], 1 << self.blocks.order)
        if boost != row[base + BOOST] and flags & KSWAPD:
            row[base + BOOSTED] = 1
        row[base + BOOST] = boost
