"""Pageblock isolation: free memory that must not be handed out, because somebody wants it by its address.

Terminology: an *isolated* pageblock has the type Isolate. Its free blocks are on the Isolate lists, which no request
takes from, they are not counted as free, and what is freed there joins them. To isolate a *range* is to isolate every
pageblock that it touches. A free block may be larger than a pageblock; one that crosses an end of the range is split
there, so that either part is on the list of its own pageblocks.

State, at rest, where blocks span at most two pageblocks: the free blocks whose pageblocks are isolated are on the
Isolate lists, all others are not, and the zone's free counter has the frames of these others. Of a larger block the
part within the range may keep pageblocks after its end on the Isolate lists, until the isolation ends. So it is in
the kernel, which has two at most on x86-64.

A single free block may also be taken off its list as it is, by compaction or page reporting: `isolate_free_block`.

Followed: Linux 6.1 mm/page_isolation.c; mm/page_alloc.c, `split_free_page`, `__isolate_free_page`,
`__putback_isolated_page`. The kernel moves compound pages that cross an end of the range; nothing moves here.
"""

from __future__ import annotations

from structpage.core.buddy import MERGE_LIKELY, TO_TAIL
from structpage.core.linux.gfp import ALLOC_CMA, MOVABLE_ZONE
from structpage.core.linux.machine import Machine
from structpage.core.linux.pageblocks import Pageblocks, is_mergeable
from structpage.core.linux.watermark import watermark_ok
from structpage.core.linux.zonetable import MIN, ZONE_ROW
from structpage.core.status import BUSY, CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import CMA, ISOLATE, MOVABLE, TYPE_MASK, ZIDS

# Single free blocks


def isolate_free_block(machine: Machine, pfn: int, cpu: int) -> int:
    """Take the free block at `pfn` off its list; its order, `REFUSED`, `NO_MEMORY` below the mark, or `CORRUPT`.

    Pageblocks that it covers at least half of become Movable. Nobody has it then.
    """
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    if not (0 <= pfn < buddy.frames and buddy.memmap.is_free_head(pfn)):
        return REFUSED
    zone, order, mt = buddy.zone_at(pfn), buddy.memmap.order_of(pfn), blocks.type_of(pfn)
    if mt != ISOLATE:
        mark = blocks.zones.row[zone * ZONE_ROW + MIN] + (1 << order)
        if not watermark_ok(machine.percpu.zone_lists, zone, 0, mark, 0, ALLOC_CMA):
            return NO_MEMORY
        blocks.zones.add_free(zone, cpu, -(1 << order), mt)
    if unlist(blocks, pfn, order, zone):
        return CORRUPT
    if order >= blocks.order - 1:
        for head in range(pfn, pfn + (1 << order), 1 << blocks.order):
            if is_mergeable(blocks.type_of(head)):
                blocks.set_type(head, zone, MOVABLE)
    return order


def unlist(blocks: Pageblocks, pfn: int, order: int, zone: int) -> int:
    """Take a free block off its list, whichever it is, without counting frames; 0 or `CORRUPT`."""
    buddy = blocks.buddy
    if buddy.lists.remove(pfn):
        return CORRUPT
    buddy.nr_free[zone * buddy.orders + order] -= 1
    buddy.memmap.unmark(pfn)
    return 0


def put_back(machine: Machine, pfn: int, order: int, mt: int, cpu: int) -> int:
    """Put an isolated block back, at the tail of the list of type `mt`; 0 or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    return blocks.free(pfn, order, blocks.buddy.zone_at(pfn), mt, TO_TAIL, cpu)


# One pageblock


def unmovable_frame(machine: Machine, start: int, stop: int, mt: int) -> int:
    """Return a frame of [start, stop), in one pageblock, that forbids to isolate it for a use as type `mt`, else -1.

    That is one that was allocated as another type than Movable, unless the zone is Movable; or one that is in no
    block at all. CMA pageblocks are isolated for CMA alone, and whatever is in them (`has_unmovable_pages`).
    """
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    if blocks.type_of(start) == CMA:
        return -1 if mt == CMA else start
    all_movable = buddy.zone_at(start) % ZIDS == MOVABLE_ZONE
    pfn = start
    while pfn < stop:
        head = buddy.head_of(pfn)
        if head < 0:
            return pfn
        used = buddy.memmap.is_allocated_head(head) or buddy.memmap.is_slab_head(head)
        if used and not all_movable and buddy.memmap.lane_of(head) & TYPE_MASK != MOVABLE:
            return pfn
        pfn = head + (1 << buddy.memmap.order_of(head))
    return -1


def set_migratetype_isolate(machine: Machine, pfn: int, mt: int, cpu: int) -> int:
    """Isolate the pageblock that begins at `pfn`, for a use as type `mt`; 0, `BUSY` or `CORRUPT`.

    `BUSY` if it is isolated already, or has an unmovable frame. Free blocks that begin in it go to the Isolate
    lists as they are, even if they end beyond it.
    """
    blocks = machine.percpu.zone_lists.blocks
    if blocks.type_of(pfn) == ISOLATE or unmovable_frame(machine, pfn, pfn + (1 << blocks.order), mt) >= 0:
        return BUSY
    zone, was = blocks.buddy.zone_at(pfn), blocks.type_of(pfn)
    blocks.set_type(pfn, zone, ISOLATE)
    moved = blocks.move_block(pfn, zone, ISOLATE)
    if moved < 0:
        return CORRUPT
    blocks.zones.add_free(zone, cpu, -moved, was)
    return 0


def unset_migratetype_isolate(machine: Machine, pfn: int, mt: int, cpu: int) -> int:
    """Give the pageblock that begins at `pfn` the type `mt`, if it is isolated; 0 or `CORRUPT`.

    Its free blocks go to the tails of that type's lists. One as large as the pageblock, whose buddy was kept apart
    from it by the isolation alone, is freed anew, to the tail, which merges the two.
    """
    blocks = machine.percpu.zone_lists.blocks
    if blocks.type_of(pfn) != ISOLATE:
        return 0
    zone = blocks.buddy.zone_at(pfn)
    if has_free_buddy(blocks, pfn, zone):
        order = isolate_free_block(machine, pfn, cpu)
        blocks.set_type(pfn, zone, mt)
        return CORRUPT if order < 0 else put_back(machine, pfn, order, mt, cpu)
    moved = blocks.move_block(pfn, zone, mt)
    if moved < 0:
        return CORRUPT
    blocks.zones.add_free(zone, cpu, moved, mt)
    blocks.set_type(pfn, zone, mt)
    return 0


def has_free_buddy(blocks: Pageblocks, pfn: int, zone: int) -> bool:
    """Whether a free block of at least a pageblock is at `pfn`, and its buddy is free, whole, and not isolated."""
    buddy = blocks.buddy
    if not buddy.memmap.is_free_head(pfn):
        return False
    order = buddy.memmap.order_of(pfn)
    other = pfn ^ (1 << order)
    if not (blocks.order <= order < buddy.orders - 1 and buddy.zone_start[zone] <= other < buddy.zone_end[zone]):
        return False
    return buddy.memmap.is_free_block(other, order) and blocks.type_of(other) != ISOLATE


# Ranges


def split_free_page(machine: Machine, pfn: int, at: int, cpu: int) -> int:
    """Split the free block at `pfn` at the frame `at` within it, each part to its pageblocks' lists; 0 or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    zone, order = buddy.zone_at(pfn), buddy.memmap.order_of(pfn)
    if blocks.type_of(pfn) != ISOLATE:
        blocks.zones.add_free(zone, cpu, -(1 << order), blocks.type_of(pfn))
    end = pfn + (1 << order)
    status = unlist(blocks, pfn, order, zone)
    while pfn < end and status == 0:
        order = buddy.chunk(pfn, at if pfn < at else end)
        status = blocks.free(pfn, order, zone, blocks.type_of(pfn), MERGE_LIKELY, cpu)
        pfn += 1 << order
    return status


def isolate_single_pageblock(machine: Machine, boundary: int, before: int, skip: int, mt: int, cpu: int) -> int:
    """Isolate the pageblock after `boundary`, or before it, and split the free block that crosses it.

    With `skip` it is isolated already. `BUSY` if a block in use crosses the boundary, as if it could not be moved.
    0, `BUSY` or `CORRUPT`.
    """
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    pageblock = boundary - (before << blocks.order)
    status = 0 if skip else set_migratetype_isolate(machine, pageblock, mt, cpu)
    head = buddy.head_of(boundary) if boundary < buddy.frames else -1
    if status or head < 0 or head == boundary:
        return status
    if buddy.memmap.is_free_head(head):
        return split_free_page(machine, head, boundary, cpu)
    if not skip and unset_migratetype_isolate(machine, pageblock, mt, cpu):
        return CORRUPT
    return BUSY


def start_isolate_page_range(machine: Machine, start: int, stop: int, mt: int, cpu: int) -> int:
    """Isolate all pageblocks of [start, stop), for a use as type `mt`; 0, `REFUSED`, `BUSY` or `CORRUPT`.

    `REFUSED` unless all of them lie in one zone. After `BUSY` none is isolated, and those that were are of type `mt`.
    """
    blocks = machine.percpu.zone_lists.blocks
    pages = 1 << blocks.order
    first, end = start // pages * pages, (stop + pages - 1) // pages * pages
    zone = blocks.buddy.zone_at(first)
    if start >= stop or zone < 0 or end > blocks.buddy.zone_end[zone]:
        return REFUSED
    status = isolate_single_pageblock(machine, first, 0, 0, mt, cpu)
    if status:
        return status
    status = isolate_single_pageblock(machine, end, 1, int(first == end - pages), mt, cpu)
    if status:
        return status if unset_migratetype_isolate(machine, first, mt, cpu) == 0 else CORRUPT
    for pfn in range(first + pages, end - pages, pages):
        status = set_migratetype_isolate(machine, pfn, mt, cpu)
        if status:
            undone = undo_isolate_page_range(machine, first, pfn, mt, cpu)
            undone += unset_migratetype_isolate(machine, end - pages, mt, cpu)
            return status if undone == 0 else CORRUPT
    return 0


def undo_isolate_page_range(machine: Machine, start: int, stop: int, mt: int, cpu: int) -> int:
    """Give the isolated pageblocks of [start, stop) the type `mt`, ascending; 0 or `CORRUPT`."""
    pages = 1 << machine.percpu.zone_lists.blocks.order
    status = 0
    for pfn in range(start // pages * pages, stop, pages):
        if status == 0:
            status = unset_migratetype_isolate(machine, pfn, mt, cpu)
    return status


def is_isolated_range(machine: Machine, start: int, stop: int) -> bool:
    """Whether [start, stop) is isolated and free, from a block's head on (`test_pages_isolated`).

    Of the types it looks, as the kernel does, at that of every pageblock's length from `start` on.
    """
    blocks = machine.percpu.zone_lists.blocks
    for pfn in range(start, stop, 1 << blocks.order):
        if blocks.type_of(pfn) != ISOLATE:
            return False
    pfn = start
    while pfn < stop and blocks.buddy.memmap.is_free_head(pfn):
        pfn += 1 << blocks.buddy.memmap.order_of(pfn)
    return pfn >= stop
