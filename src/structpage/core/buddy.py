"""The buddy allocator: split on the way out, merge on the way in. It never knows where links live.

Terminology: a *block* of order k is 2^k frames, aligned to 2^k, known by the PFN of its *head*; its
*buddy* is the block at `pfn ^ 2^k`. A *zone* is a run of frames with one index, `node * ZIDS + zid`;
blocks never merge across its bounds. A *lane* is a zone and a migratetype, `zone << LANE_SHIFT | migratetype`.
List number: `lst = lane * orders + order`, so the lists of a lane lie side by side in ascending order.
A *chunk* is the largest block at a PFN that ends by a given frame, as in `__free_pages_memory` (Linux 6.1,
mm/memblock.c); a *section* is 2^`section_order` frames, aligned. *Deferred* frames are free memory that the
allocator was not handed over yet: their words are zeros, and it meets them section by section, each when an
allocation would fail without it.

State, at rest:

* every free frame that is not deferred is in exactly one free block, whose head's word says free, order, type and
  zone, and which is on the list of that zone, order and type;
* `nr_free[zone * orders + order]` is the number of blocks on the lists of that zone and order, of all types
  together, as in Linux;
* no two free buddies of one order below `max_order` lie in one zone;
* `zone_start[zone]` and `zone_end[zone]` bound the zone's frames, both 0 for a zone that is not;
  `zonelist[(zones + 1) * zone ...]` are the zones to try when `zone` is wanted, ended by -1; zones above
  the last one may be wanted, and have a row too;
* `deferred[zone]` is the place, in the same buffer, of the first of the zone's deferred ranges: pairs of start and
  end, ascending, ended by a pair of zeros; it is 0 where nothing is deferred.

Followed: Linux 6.1 mm/page_alloc.c, `__rmqueue_smallest`, `expand`, `__free_one_page`,
`buddy_merge_likely`, `deferred_grow_zone`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Memmap, Placement
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import DEFAULT_TYPE, LANE_SHIFT, TYPE_MASK

TO_HEAD, TO_TAIL, MERGE_LIKELY = 0, 1, 2  # where a freed block goes; the last one asks `merge_likely`


class Buddy(NamedTuple):
    """A buddy allocator over any memmap and any placement."""

    memmap: Memmap
    lists: Placement
    nr_free: Buffer
    zone_start: Buffer
    zone_end: Buffer
    zonelist: Buffer
    deferred: Buffer
    frames: int
    orders: int
    zones: int
    section_order: int

    # Taking blocks out

    def alloc(self, order: int, mt: int, zone: int, owner: int) -> int:
        """Allocate from the first zone of `zone`'s zonelist that has a block; PFN, `NO_MEMORY` or `CORRUPT`."""
        i = zone * (self.zones + 1)
        zone = self.zonelist[i]
        while zone >= 0:
            lane = zone << LANE_SHIFT | mt
            pfn = self.rmqueue(lane, order)
            if pfn == NO_MEMORY and mt == DEFAULT_TYPE:
                pfn = self.rmqueue_deferred(lane, order)
            if pfn >= 0:
                self.memmap.mark_allocated(pfn, order, lane, owner)
                return pfn
            if pfn == CORRUPT:
                return CORRUPT
            i += 1
            zone = self.zonelist[i]
        return NO_MEMORY

    def rmqueue(self, lane: int, order: int) -> int:
        """Take the head of the lowest sufficient list of one lane, and split it; unmarked."""
        lists = self.lists
        nr_free = self.nr_free
        orders = self.orders
        base = (lane >> LANE_SHIFT) * orders
        current = order
        while current < orders:
            if nr_free[base + current]:
                pfn = lists.first(lane * orders + current)
                if pfn >= 0:
                    if not self.memmap.is_free_block(pfn, current) or lists.remove(pfn):
                        return CORRUPT
                    nr_free[base + current] -= 1
                    if current > order:
                        self.expand(pfn, order, current, lane)
                    return pfn
            current += 1
        return NO_MEMORY

    def rmqueue_deferred(self, lane: int, order: int) -> int:
        """Take a block out of a zone whose lists have none: hand over more until one has. As `rmqueue` otherwise.

        Deferred memory is all of `DEFAULT_TYPE`, so the lists of other types would not grow.
        """
        pfn = self.deferred_grow_zone(lane >> LANE_SHIFT, 1 << order)
        while pfn == 0:
            pfn = self.rmqueue(lane, order)
            if pfn != NO_MEMORY:
                return pfn
            pfn = self.deferred_grow_zone(lane >> LANE_SHIFT, 1 << order)
        return pfn

    def expand(self, pfn: int, low: int, high: int, lane: int) -> None:
        """Halve an unlinked block of order `high` down to `low`; each upper half goes to its list's head."""
        orders = self.orders
        base = (lane >> LANE_SHIFT) * orders
        size = 1 << high
        least = 1 << low
        while size > least:
            high -= 1
            size >>= 1
            upper = pfn + size
            self.memmap.mark_free(upper, high, lane)
            self.lists.push_front(lane * orders + high, upper)
            self.nr_free[base + high] += 1

    # Putting blocks back

    def free(self, pfn: int, order: int, mt: int) -> int:
        """Free an allocated block; 0, `REFUSED` if there is none of this order there, or `CORRUPT`."""
        if not 0 <= pfn < self.frames:
            return REFUSED
        lane = self.memmap.unmark_allocated(pfn, order)
        if lane < 0:
            return REFUSED
        return self.free_block(pfn, order, (lane & ~TYPE_MASK) | mt, MERGE_LIKELY, self.orders - 1)

    def free_block(self, pfn: int, order: int, lane: int, where: int, top: int) -> int:
        """Merge a block that nobody has with its free buddies, up to order `top`, and list it; 0 or `CORRUPT`.

        Precondition: the block lies in the lane's zone and its words are those of nobody's frames.
        """
        memmap = self.memmap
        lists = self.lists
        nr_free = self.nr_free
        orders = self.orders
        zone = lane >> LANE_SHIFT
        start = self.zone_start[zone]
        end = self.zone_end[zone]
        base = zone * orders
        status = 0
        while order < top:
            buddy = pfn ^ (1 << order)
            if not (start <= buddy < end and memmap.is_free_block(buddy, order)):
                break
            status = lists.remove(buddy)
            if status:
                break
            nr_free[base + order] -= 1
            memmap.unmark(buddy)
            pfn &= buddy
            order += 1
        memmap.mark_free(pfn, order, lane)
        if where == TO_TAIL or (where == MERGE_LIKELY and self.merge_likely(pfn, order, start, end)):
            lists.push_back(lane * orders + order, pfn)
        else:
            lists.push_front(lane * orders + order, pfn)
        nr_free[base + order] += 1
        return status

    def merge_likely(self, pfn: int, order: int, start: int, end: int) -> bool:
        """Whether the buddy of the would-be parent is free and waits: then this block parks at the tail."""
        if order >= self.orders - 2:
            return False
        uncle = (pfn & ~(1 << order)) ^ (2 << order)
        return start <= uncle < end and self.memmap.is_free_block(uncle, order + 1)

    def place(self, pfn: int, order: int, lane: int) -> None:
        """List a block at the tail as it is, merging nothing: how recorded free lists are set up.

        Precondition: the block lies in the zone, its words are those of nobody's frames, and no buddy of its
        order is free.
        """
        self.memmap.mark_free(pfn, order, lane)
        self.lists.push_back(lane * self.orders + order, pfn)
        self.nr_free[(lane >> LANE_SHIFT) * self.orders + order] += 1

    # Handing memory over

    def chunk(self, start: int, stop: int) -> int:
        """Return the order of the chunk at `start`: aligned, whole before `stop`, within the orders."""
        order = self.orders - 1
        while order and (start & ((1 << order) - 1) or start + (1 << order) > stop):
            order -= 1
        return order

    def hand_over(self, start: int, stop: int, mt: int, where: int) -> int:
        """Make reserved frames of one zone free, ascending in chunks; the words are not verified. 0 or `CORRUPT`."""
        lane = self.zone_at(start) << LANE_SHIFT | mt
        status = 0
        while start < stop and status == 0:
            order = self.chunk(start, stop)
            status = self.free_block(start, order, lane, where, self.orders - 1)
            start += 1 << order
        return status

    def first_deferred(self, zone: int) -> int:
        """Return the lowest deferred PFN of a zone, above which all frames are deferred or holes; else its end."""
        row = self.deferred[zone]
        return self.deferred[row] if row else self.zone_end[zone]

    def deferred_grow_zone(self, zone: int, count: int) -> int:
        """Hand over deferred frames of a zone, at least `count` in whole sections; 0, `NO_MEMORY` or `CORRUPT`.

        Fewer if there are no more, `NO_MEMORY` if there are none.
        """
        deferred = self.deferred
        row = deferred[zone]
        if row == 0:
            return NO_MEMORY
        shift = self.section_order
        missing = ((count - 1 >> shift) + 1) << shift
        status = 0
        while row and status == 0:
            start = deferred[row]
            stop = ((start >> shift) + 1) << shift
            end = deferred[row + 1]
            if stop < end:
                deferred[row] = stop
            else:
                stop = end
                row = row + 2 if deferred[row + 3] else 0
                deferred[zone] = row
            status = self.hand_over(start, stop, DEFAULT_TYPE, TO_TAIL)
            missing -= stop - start
            if missing <= 0 and row and deferred[row] >> shift != start >> shift:
                return status
        return status

    # Finding

    def zone_at(self, pfn: int) -> int:
        """Return the index of the zone that bounds a PFN, -1 if none; O(zones)."""
        for zone in range(self.zones):
            if self.zone_start[zone] <= pfn < self.zone_end[zone]:
                return zone
        return -1

    def next_known(self, pfn: int) -> int:
        """Return the PFN to look at after a frame that is in no block: beyond the zone if it is deferred."""
        zone = self.zone_at(pfn)
        return self.zone_end[zone] if zone >= 0 and pfn >= self.first_deferred(zone) else pfn + 1

    def head_of(self, pfn: int) -> int:
        """Return the head of the free, allocated or per-CPU block that a PFN lies in, -1 if none; O(orders)."""
        for order in range(self.orders):
            head = pfn >> order << order
            if self.memmap.is_block_head(head):
                return head if pfn < head + (1 << self.memmap.order_of(head)) else -1
        return -1
