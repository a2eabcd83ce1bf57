"""Migratetypes of pageblocks, and frees that respect them.

Terminology: a *pageblock* is 2^`order` frames, aligned; its *type* says on which lists its frames go when they are
freed. In Linux 6.1 a free block may stand on another list than its pageblock's type says: the type is recorded when a
frame is freed, and a pageblock may be retyped while frames of it wait.

State: `type[pfn >> order]` is the type of each pageblock; `zones` counts those that are unmergeable.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer
from structpage.core.linux.zonetable import ISOLATED, SPECIAL, ZONE_ROW, ZoneTable
from structpage.core.status import CORRUPT
from structpage.core.words import HIGHATOMIC, ISOLATE, LANE_SHIFT, TYPE_MASK


def is_mergeable(mt: int) -> bool:
    """Whether blocks of this type merge with those of any other such type (`migratetype_is_mergeable`)."""
    return mt < HIGHATOMIC


class Pageblocks(NamedTuple):
    """A buddy allocator whose pageblocks have types."""

    buddy: Buddy
    zones: ZoneTable
    type: Buffer
    order: int

    def type_of(self, pfn: int) -> int:
        """Return the type of the pageblock that a frame is in."""
        return self.type[pfn >> self.order]

    def has_isolated(self, zone: int) -> bool:
        """Whether a zone has pageblocks of type Isolate."""
        return self.zones.row[zone * ZONE_ROW + ISOLATED] > 0

    def set_type(self, pfn: int, zone: int, mt: int) -> None:
        """Set the type of the pageblock that a frame is in."""
        at = pfn >> self.order
        was = self.type[at]
        row = self.zones.row
        row[zone * ZONE_ROW + SPECIAL] += int(not is_mergeable(mt)) - int(not is_mergeable(was))
        row[zone * ZONE_ROW + ISOLATED] += int(mt == ISOLATE) - int(was == ISOLATE)
        self.type[at] = mt

    def set_types(self, pfn: int, order: int, zone: int, mt: int) -> None:
        """Set the type of all pageblocks of a block of at least their size (`change_pageblock_range`)."""
        for head in range(pfn, pfn + (1 << order), 1 << self.order):
            self.set_type(head, zone, mt)

    def free(self, pfn: int, order: int, zone: int, mt: int, where: int, cpu: int) -> int:
        """Put a block that nobody has on the lists of type `mt`; 0 or `CORRUPT`.

        Followed: Linux 6.1 mm/page_alloc.c, `__free_one_page`.
        """
        if mt != ISOLATE:
            self.zones.add_free(zone, cpu, 1 << order, mt)
        top = self.buddy.orders - 1
        if self.zones.row[zone * ZONE_ROW + SPECIAL]:
            top = self.top(pfn, order, mt)
        return self.buddy.free_block(pfn, order, zone << LANE_SHIFT | mt, where, top)

    def top(self, pfn: int, order: int, mt: int) -> int:
        """Return up to which order a block of type `mt` merges: not with a pageblock of a type kept apart."""
        most = self.buddy.orders - 1
        order = max(order, self.order)
        while order < most:
            other = self.type_of((pfn >> order << order) ^ (1 << order)) if self.has_buddy(pfn, order) else mt
            if other != mt and not (is_mergeable(other) and is_mergeable(mt)):
                return order
            order += 1
        return most

    def has_buddy(self, pfn: int, order: int) -> bool:
        """Whether the frame at the buddy's place exists at all."""
        return (pfn >> order << order) ^ (1 << order) < self.buddy.frames

    def move_to_list(self, pfn: int, order: int, zone: int, mt: int) -> int:
        """Move a free block to the tail of the list of type `mt`; 0 or `CORRUPT` (`move_to_free_list`)."""
        buddy = self.buddy
        status = buddy.lists.remove(pfn)
        if status == 0:
            lane = zone << LANE_SHIFT | mt
            buddy.memmap.mark_free(pfn, order, lane)
            buddy.lists.push_back(lane * buddy.orders + order, pfn)
        return status

    def move_block(self, pfn: int, zone: int, mt: int) -> int:
        """Move the free blocks of the pageblock of a frame to the lists of type `mt`, ascending; return their frames.

        None, if the pageblock does not end within the zone; or `CORRUPT`. Followed: Linux 6.1 mm/page_alloc.c,
        `move_freepages_block`.
        """
        memmap = self.buddy.memmap
        start = pfn >> self.order << self.order
        stop = start + (1 << self.order)
        if start < self.buddy.zone_start[zone]:
            start = pfn
        if stop > self.buddy.zone_end[zone]:
            return 0
        moved = 0
        while start < stop:
            if memmap.is_free_head(start):
                order = memmap.order_of(start)
                if self.move_to_list(start, order, zone, mt):
                    return CORRUPT
                moved += 1 << order
                start += 1 << order
            else:
                start += 1
        return moved

    def used_as(self, pfn: int, mt: int) -> int:
        """Count the frames of a pageblock that are in blocks allocated for type `mt`; O(frames)."""
        memmap = self.buddy.memmap
        start = pfn >> self.order << self.order
        stop = start + (1 << self.order)
        found = 0
        while start < stop:
            size = 1
            if memmap.is_allocated_head(start) or memmap.is_slab_head(start):
                size = 1 << memmap.order_of(start)
                if memmap.lane_of(start) & TYPE_MASK == mt:
                    found += size
            elif memmap.is_free_head(start):
                size = 1 << memmap.order_of(start)
            start += size
        return min(found, 1 << self.order)
