"""The machine: the paths by which memory is allocated and freed, over zones, per-CPU lists and the buddy.

An allocation tries the zones of its zonelist, first with care (low watermark, no theft below a pageblock), then as a
caller who has waited (min watermark), and at last, if its flags allow, as one who may use what is left. Reclaim and
compaction do not run here: what they free comes as frees.

Followed: Linux 6.1 mm/page_alloc.c, `__alloc_pages`, `get_page_from_freelist`, `rmqueue`, `rmqueue_buddy`,
`__alloc_pages_bulk`, `free_unref_page`, `free_unref_page_list`, `__free_pages_ok`.

Not modelled: cpusets, node reclaim, the spreading of dirty pages, shuffling.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buddy import MERGE_LIKELY
from structpage.core.buffers import Buffer
from structpage.core.linux.gfp import (
    ALLOC_CMA,
    GFP_THISNODE,
    HIGHATOMIC_ALLOWED,
    KSWAPD,
    NO_WATERMARKS,
    NOFRAGMENT,
    NON_BLOCK,
    OOM,
    WMARK_LOW,
    first_flags,
    highest_zid,
    may_use_reserves,
    migratetype,
    slow_flags,
)
from structpage.core.linux.highatomic import reserve
from structpage.core.linux.percpu import FACTOR, SET_ROW, PerCpu
from structpage.core.linux.watermark import zone_allows
from structpage.core.linux.zonetable import BOOST, BOOST_SEEN, BOOSTED, RECLAIMING, ZONE_ROW
from structpage.core.ranges import Ranges
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import HIGHATOMIC, ISOLATE, LANE_SHIFT, MOVABLE, TYPE_MASK, ZIDS


class Machine(NamedTuple):
    """Linux's page allocator."""

    percpu: PerCpu
    ranges: Ranges
    avoid_fragmentation: Buffer
    """By zone: 1 where a request that prefers it must not steal below a pageblock at first, if it is a Normal one."""
    cma: int
    """1 with CONFIG_CMA."""
    last_resort: int
    """1 if every request may use what is left in the end, as after reclaim, which does not run here."""

    # Allocating

    def alloc(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate 2^order frames for a caller on `cpu` who wants them from `node`; PFN, `NO_MEMORY` or `CORRUPT`."""
        buddy = self.percpu.zone_lists.blocks.buddy
        row = (node * ZIDS + highest_zid(gfp)) * (buddy.zones + 1)
        preferred = buddy.zonelist[row]
        if preferred < 0 or (gfp & GFP_THISNODE and preferred // ZIDS != node):
            return NO_MEMORY
        mt = migratetype(gfp)
        flags = first_flags(gfp, preferred, self.avoid_fragmentation[preferred])
        pfn = NO_MEMORY
        attempt = 0
        attempts = 3 if self.last_resort != 0 or may_use_reserves(gfp) else 2
        while attempt < attempts and pfn == NO_MEMORY:
            if attempt == 1:
                flags = slow_flags(gfp, order)
            elif attempt == 2:
                flags = NO_WATERMARKS | flags & KSWAPD
            if self.cma and mt == MOVABLE:
                flags |= ALLOC_CMA
            pfn = self.from_zonelist(row, order, gfp, flags, cpu, owner)
            attempt += 1
        return pfn

    def from_zonelist(self, row: int, order: int, gfp: int, flags: int, cpu: int, owner: int) -> int:
        """Allocate from the first zone of a zonelist that may give a block (`get_page_from_freelist`)."""
        buddy = self.percpu.zone_lists.blocks.buddy
        preferred = buddy.zonelist[row]
        highest, mt = highest_zid(gfp), migratetype(gfp)
        i = row
        while True:
            zone = buddy.zonelist[i]
            remote = zone >= 0 and zone // ZIDS != preferred // ZIDS
            if zone < 0 or remote:
                if flags & NOFRAGMENT:
                    flags &= ~NOFRAGMENT
                    i = row
                    continue
                if zone < 0 or gfp & GFP_THISNODE:
                    return NO_MEMORY
            i += 1
            if flags & NO_WATERMARKS or zone_allows(self.percpu.zone_lists, zone, order, 0, highest, flags, gfp):
                pfn = self.rmqueue(zone, order, mt, flags, cpu)
                if pfn >= 0:
                    buddy.memmap.mark_allocated(pfn, order, zone << LANE_SHIFT | mt, owner)
                    if flags & HIGHATOMIC_ALLOWED and reserve(self.percpu.zone_lists, zone, pfn):
                        return CORRUPT
                if pfn != NO_MEMORY:
                    return pfn

    def rmqueue(self, zone: int, order: int, mt: int, flags: int, cpu: int) -> int:
        """Take a block from one zone, by way of the CPU's lists where those keep its order; unmarked."""
        percpu = self.percpu
        pfn = NO_MEMORY
        if percpu.keeps(order) and (not self.cma or flags & ALLOC_CMA or mt != MOVABLE):
            at = (zone * percpu.cpus + cpu) * SET_ROW + FACTOR
            percpu.row[at] = percpu.zone_lists.kernel.after_alloc(percpu.row[at])
            pfn = percpu.alloc(zone, cpu, order, mt, flags)
        if pfn == NO_MEMORY:
            pfn = self.rmqueue_buddy(zone, order, mt, flags, cpu)
        percpu.zone_lists.blocks.zones.row[zone * ZONE_ROW + BOOSTED] = 0
        return pfn

    def rmqueue_buddy(self, zone: int, order: int, mt: int, flags: int, cpu: int) -> int:
        """Take a block from a zone's own lists; unmarked."""
        lists = self.percpu.zone_lists
        pfn = NO_MEMORY
        kind = HIGHATOMIC
        if flags & HIGHATOMIC_ALLOWED:
            pfn = lists.take(zone, order, HIGHATOMIC)
        if pfn == NO_MEMORY:
            pfn = lists.rmqueue(zone, order, mt, flags)
            kind = lists.type_taken(max(pfn, 0), mt, flags)
        if pfn == NO_MEMORY and flags & (OOM | NON_BLOCK):
            pfn = lists.take(zone, order, HIGHATOMIC)
            kind = HIGHATOMIC
        if pfn >= 0:
            lists.blocks.zones.add_free(zone, cpu, -(1 << order), kind)
        return pfn

    def bulk_zone(self, count: int, gfp: int, node: int) -> int:
        """Return the zone that gives `count` single frames at once, -1 if none does (`__alloc_pages_bulk`)."""
        buddy = self.percpu.zone_lists.blocks.buddy
        i = (node * ZIDS + highest_zid(gfp)) * (buddy.zones + 1)
        preferred = buddy.zonelist[i]
        if gfp & GFP_THISNODE and preferred // ZIDS != node:
            return -1
        flags = WMARK_LOW | (ALLOC_CMA if self.cma and migratetype(gfp) == MOVABLE else 0)
        zone = preferred
        while zone >= 0 and zone // ZIDS == preferred // ZIDS:
            if zone_allows(self.percpu.zone_lists, zone, 0, count, preferred % ZIDS, flags, gfp):
                return zone
            i += 1
            zone = buddy.zonelist[i]
        return -1

    def alloc_bulk(self, zone: int, gfp: int, cpu: int, owner: int) -> int:
        """Allocate one frame of several from the per-CPU lists of `zone`; PFN, `NO_MEMORY` or `CORRUPT`."""
        mt = migratetype(gfp)
        flags = WMARK_LOW | (ALLOC_CMA if self.cma and mt == MOVABLE else 0)
        pfn = self.percpu.alloc(zone, cpu, 0, mt, flags)
        if pfn >= 0:
            self.percpu.zone_lists.blocks.buddy.memmap.mark_allocated(pfn, 0, zone << LANE_SHIFT | mt, owner)
        return pfn

    # Freeing

    def prepare(self, pfn: int, order: int) -> int:
        """Take a block from its owner and record its pageblock's type in its word; 0, or `REFUSED`.

        The block is nobody's until `commit`. Frames that nobody was given since the start, as before the memory was
        known, may be freed too.
        """
        lane = self.disown(pfn, order)
        if lane < 0:
            return REFUSED
        blocks = self.percpu.zone_lists.blocks
        blocks.buddy.memmap.mark_allocated(pfn, order, lane & ~TYPE_MASK | blocks.type_of(pfn), 0)
        return 0

    def disown(self, pfn: int, order: int) -> int:
        """Take a block from its owner, or frames that nobody was ever given; its lane, or `REFUSED`."""
        buddy = self.percpu.zone_lists.blocks.buddy
        if not 0 <= pfn < buddy.frames:
            return REFUSED
        lane = buddy.memmap.unmark_allocated(pfn, order)
        if lane < 0:
            zone = buddy.zone_at(pfn)
            if zone < 0 or buddy.head_of(pfn) >= 0 or not self.is_reserved(pfn, order):
                return REFUSED
            lane = zone << LANE_SHIFT
        return lane

    def is_reserved(self, pfn: int, order: int) -> bool:
        """Whether all frames of a block are nobody's."""
        memmap = self.percpu.zone_lists.blocks.buddy.memmap
        for frame in range(pfn, pfn + (1 << order)):
            if not memmap.is_reserved(frame):
                return False
        return True

    def commit(self, pfn: int, order: int, cpu: int, direct: int, where: int) -> int:
        """Free a prepared block: to the lists of a CPU, or with `direct` to those of its zone.

        0, `REFUSED` or `CORRUPT`.
        """
        lane = self.percpu.zone_lists.blocks.buddy.memmap.unmark_allocated(pfn, order)
        if lane < 0:
            return REFUSED
        return self.put(pfn, order, lane >> LANE_SHIFT, lane & TYPE_MASK, cpu, direct, where)

    def free(self, pfn: int, order: int, cpu: int) -> int:
        """Free an allocated block; 0, `REFUSED` or `CORRUPT`."""
        lane = self.disown(pfn, order)
        if lane < 0:
            return REFUSED
        mt = self.percpu.zone_lists.blocks.type_of(pfn)
        return self.put(pfn, order, lane >> LANE_SHIFT, mt, cpu, 0, MERGE_LIKELY)

    def put(self, pfn: int, order: int, zone: int, mt: int, cpu: int, direct: int, where: int) -> int:
        """Put a block that nobody has on the lists where it belongs; 0 or `CORRUPT`."""
        blocks = self.percpu.zone_lists.blocks
        if mt != ISOLATE and not direct and self.percpu.keeps(order):
            return self.percpu.free(zone, cpu, pfn, order, mt)
        if blocks.has_isolated(zone):
            mt = blocks.type_of(pfn)
        return blocks.free(pfn, order, zone, mt, where, cpu)

    # Kswapd, as far as allocation sees it

    def balance(self, node: int, highest: int, begins: int) -> None:
        """Note that kswapd begins to balance a node's zones up to `highest`, or is done (`balance_pgdat`)."""
        row = self.percpu.zone_lists.blocks.zones.row
        zones = self.percpu.zone_lists.blocks.buddy.zones
        for zone in range(node * ZIDS, min(node * ZIDS + highest + 1, zones)):
            base = zone * ZONE_ROW
            row[base + RECLAIMING] = begins
            if begins:
                row[base + BOOST_SEEN] = row[base + BOOST]
            else:
                row[base + BOOST] -= min(row[base + BOOST], row[base + BOOST_SEEN])
                row[base + BOOST_SEEN] = 0
