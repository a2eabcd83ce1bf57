"""Blocks and runs of frames at chosen addresses: what a free list cannot give.

Terminology: a *run* is free frames in a row, whatever blocks they are in; chunks and deferred frames are told
in `core.buddy`.

Every method verifies the whole range before it changes anything, so a refusal leaves no trace. Deferred frames
are refused: they are neither reserved nor free yet. The type that is passed is the list for what is split off or
put back: a free block's own type is not in every layout.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buddy import MERGE_LIKELY, Buddy
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import LANE_SHIFT


class Ranges(NamedTuple):
    """Operations on a buddy allocator by address; frames are counted in [start, stop)."""

    buddy: Buddy

    # Putting in

    def is_reserved_range(self, start: int, stop: int) -> bool:
        """Whether all frames are reserved, not deferred, and in one zone; O(frames)."""
        zone = self.buddy.zone_at(start)
        if zone < 0 or stop > self.buddy.first_deferred(zone) or self.buddy.head_of(start) >= 0:
            return False
        for pfn in range(start, stop):
            if not self.buddy.memmap.is_reserved(pfn):
                return False
        return True

    def release(self, start: int, stop: int, mt: int) -> int:
        """Put reserved frames back to the free memory; 0, `REFUSED` or `CORRUPT`."""
        if not self.is_reserved_range(start, stop):
            return REFUSED
        return self.buddy.hand_over(start, stop, mt, MERGE_LIKELY)

    # Taking out

    def take(self, pfn: int, order: int, mt: int) -> int:
        """Unlink the free block over `pfn` and keep [pfn, pfn + 2^order), unmarked; the rest is listed again.

        Followed: Linux 6.1 mm/page_alloc.c, `take_page_off_buddy` and `break_down_buddy_pages`.
        """
        buddy = self.buddy
        head = buddy.head_of(pfn)
        if head < 0 or not buddy.memmap.is_free_head(head):
            return REFUSED
        high = buddy.memmap.order_of(head)
        if high < order:
            return REFUSED
        lane = buddy.zone_at(pfn) << LANE_SHIFT | mt
        if buddy.lists.remove(head) != 0:
            return CORRUPT
        base = (lane >> LANE_SHIFT) * buddy.orders
        buddy.nr_free[base + high] -= 1
        buddy.memmap.unmark(head)
        while high > order:
            high -= 1
            half = head + (1 << high)
            other = half
            if pfn >= half:
                other = head
                head = half
            buddy.memmap.mark_free(other, high, lane)
            buddy.lists.push_front(lane * buddy.orders + high, other)
            buddy.nr_free[base + high] += 1
        return 0

    def is_free_range(self, start: int, stop: int) -> bool:
        """Whether all frames are free and in one zone; O(blocks)."""
        zone = self.buddy.zone_at(start)
        if zone < 0 or stop > self.buddy.zone_end[zone]:
            return False
        while start < stop:
            head = self.buddy.head_of(start)
            if head < 0 or not self.buddy.memmap.is_free_head(head):
                return False
            start = head + (1 << self.buddy.memmap.order_of(head))
        return True

    def take_piece(self, start: int, stop: int, mt: int) -> int:
        """Take the largest block at `start` that is free as a whole and ends by `stop`; its order."""
        memmap = self.buddy.memmap
        head = self.buddy.head_of(start)
        end = head + (1 << memmap.order_of(head))
        order = self.buddy.chunk(start, end if end < stop else stop)
        status = self.take(start, order, mt)
        return order if status == 0 else status

    def reserve(self, start: int, stop: int, mt: int) -> int:
        """Take free frames out of the allocator, without an owner; 0, `REFUSED` or `CORRUPT`."""
        if not self.is_free_range(start, stop):
            return REFUSED
        while start < stop:
            order = self.take_piece(start, stop, mt)
            if order < 0:
                return order
            start += 1 << order
        return 0

    def alloc_range(self, start: int, stop: int, mt: int, owner: int) -> int:
        """Allocate exactly these frames, as the fewest blocks there are; `start`, `REFUSED` or `CORRUPT`."""
        if not self.is_free_range(start, stop):
            return REFUSED
        lane = self.buddy.zone_at(start) << LANE_SHIFT | mt
        pfn = start
        while pfn < stop:
            order = self.take_piece(pfn, stop, mt)
            if order < 0:
                return order
            self.buddy.memmap.mark_allocated(pfn, order, lane, owner)
            pfn += 1 << order
        return start

    def split(self, pfn: int, to: int) -> int:
        """Make an allocated block into blocks of order `to`, of the same owner; 0 or `REFUSED`.

        Followed: Linux 6.1 mm/page_alloc.c, `split_page`, which knows `to` = 0 only.
        """
        memmap = self.buddy.memmap
        if not (0 <= pfn < self.buddy.frames and memmap.is_allocated_head(pfn)):
            return REFUSED
        order = memmap.order_of(pfn)
        if to > order:
            return REFUSED
        lane = memmap.lane_of(pfn)
        owner = memmap.owner_of(pfn)
        for part in range(pfn, pfn + (1 << order), 1 << to):
            memmap.mark_allocated(part, to, lane, owner)
        return 0

    # Looking for

    def find_block(self, start: int, stop: int, order: int, align: int) -> int:
        """Return where a free block of `order`, aligned to 2^align, lies in [start, stop); or `NO_MEMORY`.

        The smallest free block that holds one is preferred, then the lowest address. O(blocks in the range).
        """
        buddy = self.buddy
        step = 1 << (order if order > align else align)
        best = NO_MEMORY
        best_order = buddy.orders
        pfn = (start + step - 1) // step * step
        while pfn + (1 << order) <= stop and best_order > order:
            head = buddy.head_of(pfn)
            if head < 0:
                after = buddy.next_known(pfn)
            else:
                held = buddy.memmap.order_of(head)
                after = head + (1 << held)
                if buddy.memmap.is_free_head(head) and order <= held < best_order:
                    best = pfn
                    best_order = held
            pfn = (after + step - 1) // step * step
        return best

    def find_run(self, start: int, stop: int, count: int) -> int:
        """Return the lowest PFN of `count` free frames in a row in [start, stop) of one zone; or `NO_MEMORY`.

        `start` must not lie inside a block. O(blocks, and reserved frames, in the range).
        """
        buddy = self.buddy
        memmap = buddy.memmap
        run = start
        pfn = start
        while pfn < stop:
            if memmap.is_free_head(pfn):
                pfn += 1 << memmap.order_of(pfn)
                if pfn - run >= count:
                    return run
            elif memmap.is_allocated_head(pfn):
                pfn += 1 << memmap.order_of(pfn)
                run = pfn
            else:
                pfn = buddy.next_known(pfn)
                run = pfn
        return NO_MEMORY
