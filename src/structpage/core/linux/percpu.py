"""Per-CPU lists: small blocks that wait at a CPU, so that most requests need no zone lock.

Terminology: a *set* is the lists of one CPU and zone: three types for each of the orders 0 to 3, and two for huge
pages (movable or not), `LISTS` in all. Blocks come and go at the head; a *refill* appends to the tail what the zone's
lists give; a *drain* takes from the tail, list by list. A set counts its frames, whatever list they are on.

The lists' links lie where the placement puts those of free blocks: list `base + (zone * cpus + cpu) * LISTS + place`.
A block's word says per-CPU, its order, and the type that it is to be freed to: that of its pageblock when it was
freed, or of the list it was taken from. A layout that cannot keep the type gives that of the list it waits on, or
of its pageblock where that is CMA or the block is huge.

Record: `row[(zone * cpus + cpu) * SET_ROW + FIELD]`.

Followed: Linux 6.1 mm/page_alloc.c, `rmqueue_pcplist`, `rmqueue_bulk`, `free_unref_page_commit`,
`free_pcppages_bulk`, `drain_pages_zone`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buddy import MERGE_LIKELY
from structpage.core.buffers import Buffer
from structpage.core.linux.fallback import Fallback
from structpage.core.linux.kernels import COSTLY_ORDER
from structpage.core.linux.tracepoints import DRAINED, ORDER_AT, TYPE_AT
from structpage.core.linux.zonetable import CMA_FREE, ISOLATED, RECLAIMING, ZONE_ROW
from structpage.core.status import CORRUPT, NO_MEMORY
from structpage.core.words import CMA, LANE_SHIFT, MOVABLE

COUNT, HIGH_MARK, BATCH, FACTOR, HIGH_LEAST, HIGH_MOST = range(6)
SET_ROW = 6
TYPES_KEPT = 3
LISTS = TYPES_KEPT * (COSTLY_ORDER + 1) + 2


class PerCpu(NamedTuple):
    """All per-CPU lists of a machine, over its zones' lists."""

    zone_lists: Fallback
    row: Buffer
    cpus: int
    base: int

    def keeps(self, order: int) -> bool:
        """Whether blocks of an order wait on per-CPU lists (`pcp_allowed_order`)."""
        return order <= COSTLY_ORDER or order == self.zone_lists.blocks.order

    def place(self, order: int, mt: int) -> int:
        """Return which of a set's lists is that of an order and type (`order_to_pindex`)."""
        if order > COSTLY_ORDER:
            return LISTS - 2 + int(mt == MOVABLE)
        return TYPES_KEPT * order + mt

    def order_of(self, place: int) -> int:
        """Return the order of the blocks on one of a set's lists (`pindex_to_order`)."""
        return place // TYPES_KEPT if place < LISTS - 2 else self.zone_lists.blocks.order

    def type_of(self, pfn: int, place: int) -> int:
        """Return the type that a waiting block is to be freed to."""
        mt = self.zone_lists.blocks.buddy.memmap.list_type(pfn)
        if mt < 0:
            mt = self.zone_lists.blocks.type_of(pfn)
            if mt != CMA and place < LISTS - 2:
                mt = place % TYPES_KEPT
        return mt

    def alloc(self, zone: int, cpu: int, order: int, mt: int, flags: int) -> int:
        """Take a block from the lists of a CPU, refilled if there is none; unmarked. PFN, `NO_MEMORY` or `CORRUPT`."""
        row, buddy = self.row, self.zone_lists.blocks.buddy
        base = (zone * self.cpus + cpu) * SET_ROW
        lst = self.base + (zone * self.cpus + cpu) * LISTS + self.place(order, mt)
        pfn = buddy.lists.first(lst)
        if pfn < 0:
            status = self.refill(zone, cpu, order, mt, flags, lst)
            if status:
                return status
            pfn = buddy.lists.first(lst)
        if buddy.lists.remove(pfn):
            return CORRUPT
        row[base + COUNT] -= 1 << order
        return pfn

    def refill(self, zone: int, cpu: int, order: int, mt: int, flags: int, lst: int) -> int:
        """Append blocks from the zone's lists to an empty list; 0, `NO_MEMORY` or `CORRUPT`."""
        lists, row = self.zone_lists, self.row
        buddy = lists.blocks.buddy
        base = (zone * self.cpus + cpu) * SET_ROW
        wanted, row[base + HIGH_MARK], row[base + FACTOR] = lists.kernel.refilled(
            row[base + COUNT],
            row[base + HIGH_MARK],
            row[base + HIGH_LEAST],
            row[base + HIGH_MOST],
            row[base + BATCH],
            row[base + FACTOR],
            order,
        )
        taken = 0
        pfn = 0
        while taken < wanted and pfn >= 0:
            pfn = lists.rmqueue(zone, order, mt, flags)
            if pfn >= 0:
                kind = lists.type_taken(pfn, mt, flags)
                buddy.memmap.mark_pcp(pfn, order, zone << LANE_SHIFT | kind)
                buddy.lists.push_back(lst, pfn)
                if kind == CMA:
                    lists.blocks.zones.row[zone * ZONE_ROW + CMA_FREE] -= 1 << order
                taken += 1
        row[base + COUNT] += taken << order
        lists.blocks.zones.add_free(zone, cpu, -(taken << order), mt)
        if pfn == CORRUPT:
            return CORRUPT
        return 0 if taken else NO_MEMORY

    def free(self, zone: int, cpu: int, pfn: int, order: int, mt: int) -> int:
        """Put a block that nobody has at the head of a CPU's list, and drain what is too much; 0 or `CORRUPT`."""
        row, kernel = self.row, self.zone_lists.kernel
        buddy = self.zone_lists.blocks.buddy
        at = zone * self.cpus + cpu
        base = at * SET_ROW
        place = self.place(order, kernel.recorded_type(mt))
        buddy.memmap.mark_pcp(pfn, order, zone << LANE_SHIFT | mt)
        buddy.lists.push_front(self.base + at * LISTS + place, pfn)
        row[base + COUNT] += 1 << order
        reclaiming = self.zone_lists.blocks.zones.row[zone * ZONE_ROW + RECLAIMING]
        surplus, row[base + HIGH_MARK], row[base + FACTOR] = kernel.freed(
            row[base + COUNT],
            row[base + HIGH_MARK],
            row[base + HIGH_LEAST],
            row[base + HIGH_MOST],
            row[base + BATCH],
            row[base + FACTOR],
            order,
            reclaiming,
        )
        return self.drain(zone, cpu, surplus, place, cpu) if surplus else 0

    def drain(self, zone: int, cpu: int, frames: int, place: int, caller: int) -> int:
        """Free at least `frames` from the tails of a set's lists, all of one list before the next, from `place` on.

        `caller` is the CPU that does it, whose counters drift. 0 or `CORRUPT`.
        """
        blocks, trace = self.zone_lists.blocks, self.zone_lists.trace
        buddy, row = blocks.buddy, self.row
        at = zone * self.cpus + cpu
        base = at * SET_ROW
        isolated = blocks.zones.row[zone * ZONE_ROW + ISOLATED]
        frames = min(frames, row[base + COUNT])
        lowest, highest = 0, LISTS - 1
        while frames > 0:
            lst = self.base + at * LISTS + place
            order = self.order_of(place)
            pfn = buddy.lists.last(lst)
            while frames > 0 and pfn >= 0:
                mt = self.type_of(pfn, place)
                if isolated:
                    mt = blocks.type_of(pfn)
                if buddy.lists.remove(pfn):
                    return CORRUPT
                buddy.memmap.unmark(pfn)
                frames -= 1 << order
                row[base + COUNT] -= 1 << order
                if blocks.free(pfn, order, zone, mt, MERGE_LIKELY, caller):
                    return CORRUPT
                trace.note(pfn, DRAINED | order << ORDER_AT | mt << TYPE_AT)
                pfn = buddy.lists.last(lst)
            if pfn < 0 and place == highest:
                highest -= 1
            elif pfn < 0 and place == lowest:
                lowest += 1
            place += 1
            if place > highest:
                place = lowest
            if lowest > highest:
                return CORRUPT if frames > 0 else 0
        return 0

    def drain_all(self, zone: int, cpu: int, caller: int) -> int:
        """Empty a CPU's lists of one zone; 0 or `CORRUPT` (`drain_pages_zone`)."""
        status = 0
        base = (zone * self.cpus + cpu) * SET_ROW
        while self.row[base + COUNT] > 0 and status == 0:
            batch = self.row[base + BATCH] << self.zone_lists.kernel.batch_scale
            status = self.drain(zone, cpu, batch, 0, caller)
        return status
