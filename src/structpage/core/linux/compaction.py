"""What compaction does to the lists that it searches for free blocks.

Its free scanner takes blocks in two ways. The *search* goes through a Movable list from the tail for a block of a high
PFN, and turns the list so that it begins with the block it found, which it takes. The *scan* takes all free blocks of
a pageblock in ascending PFN, and leaves the lists in their order. Which way a block was taken is told by where it
stood.

Followed: Linux 6.1 mm/compaction.c, `fast_isolate_freepages`, `move_freelist_head`, `isolate_freepages_block`.
"""

from __future__ import annotations

from structpage.core.linux.machine import Machine
from structpage.core.status import CORRUPT
from structpage.core.words import LANE_SHIFT, MOVABLE


def rotate_to(machine: Machine, pfn: int, order: int, mt: int) -> int:
    """Make a free block the head of its list, those before it the tail, in their order; 0 or `CORRUPT`.

    `mt` is the type of the list. O(blocks).
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


def was_searched(machine: Machine, pfn: int, order: int) -> bool:
    """Whether a free block that is taken next was found by the search, if it may have been.

    The scan would have taken the free blocks before it in its pageblock first; the search would have stopped at a
    block of a higher PFN behind it. O(blocks).
    """
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    mt = buddy.memmap.list_type(pfn)
    if mt >= 0 and mt != MOVABLE:
        return False
    for frame in range(pfn >> blocks.order << blocks.order, pfn):
        if buddy.memmap.is_free_head(frame):
            return True
    lst = (buddy.zone_at(pfn) << LANE_SHIFT | MOVABLE) * buddy.orders + order
    other = buddy.lists.next(lst, pfn)
    steps = buddy.nr_free[buddy.zone_at(pfn) * buddy.orders + order]
    while other >= 0 and steps > 0:
        if other > pfn:
            return False
        other = buddy.lists.next(lst, other)
        steps -= 1
    return True
