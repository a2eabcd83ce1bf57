"""Blocks that are taken off the lists by their address: by compaction, page reporting, and contiguous allocation.

Followed: Linux 6.1 mm/page_alloc.c, `__isolate_free_page`, `__putback_isolated_page`; mm/page_isolation.c,
`set_migratetype_isolate`, `unset_migratetype_isolate`; mm/compaction.c, `fast_isolate_freepages`.
"""

from __future__ import annotations

from structpage.core.buddy import MERGE_LIKELY, TO_TAIL
from structpage.core.linux.machine import Machine
from structpage.core.linux.pageblocks import is_mergeable
from structpage.core.linux.watermark import watermark_ok
from structpage.core.linux.zonetable import MIN, ZONE_ROW
from structpage.core.linux.gfp import ALLOC_CMA
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import ISOLATE, LANE_SHIFT, MOVABLE


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
    if buddy.lists.remove(pfn):
        return CORRUPT
    buddy.nr_free[zone * buddy.orders + order] -= 1
    buddy.memmap.unmark(pfn)
    if order >= blocks.order - 1:
        for head in range(pfn, pfn + (1 << order), 1 << blocks.order):
            if is_mergeable(blocks.type_of(head)):
                blocks.set_type(head, zone, MOVABLE)
    return order


def put_back(machine: Machine, pfn: int, order: int, mt: int, cpu: int) -> int:
    """Put an isolated block back, at the tail of the list of type `mt`; 0 or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    return blocks.free(pfn, order, blocks.buddy.zone_at(pfn), mt, TO_TAIL, cpu)


def rotate_to(machine: Machine, pfn: int, order: int, mt: int) -> int:
    """Make a free block the head of its list, those before it the tail, in their order; 0 or `CORRUPT`.

    `mt` is the type of the list. What compaction does to a list that it searches (`move_freelist_head`); O(blocks).
    """
    buddy = machine.percpu.zone_lists.blocks.buddy
    lst = (buddy.zone_at(pfn) << LANE_SHIFT | mt) * buddy.orders + order
    first = buddy.lists.first(lst)
    steps = buddy.nr_free[buddy.zone_at(pfn) * buddy.orders + order]
    while first != pfn and steps > 0:
        if buddy.lists.remove(first):
            return CORRUPT
        buddy.lists.push_back(lst, first)
        first = buddy.lists.first(lst)
        steps -= 1
    return 0 if first == pfn else CORRUPT
