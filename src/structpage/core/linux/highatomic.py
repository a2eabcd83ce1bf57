"""The high-atomic reserve: pageblocks kept for requests that cannot wait and need more than one frame.

A pageblock is reserved when such a request was served from it, and given back when reclaim makes no progress.
Followed: Linux 6.1 mm/page_alloc.c, `reserve_highatomic_pageblock`, `unreserve_highatomic_pageblock`.
"""

from __future__ import annotations

from structpage.core.linux.fallback import Fallback
from structpage.core.linux.pageblocks import is_mergeable
from structpage.core.linux.zonetable import HIGHATOMIC_PAGES, MANAGED, ZONE_ROW
from structpage.core.words import HIGHATOMIC, LANE_SHIFT


def reserve(lists: Fallback, zone: int, pfn: int) -> int:
    """Reserve the pageblock of a frame, unless the reserve is large enough; 0 or `CORRUPT`."""
    blocks, row = lists.blocks, lists.blocks.zones.row
    base = zone * ZONE_ROW
    pages = 1 << blocks.order
    if row[base + HIGHATOMIC_PAGES] >= lists.kernel.reserve_limit(row[base + MANAGED], pages):
        return 0
    if not is_mergeable(blocks.type_of(pfn)):
        return 0
    row[base + HIGHATOMIC_PAGES] += pages
    blocks.set_type(pfn, zone, HIGHATOMIC)
    return min(blocks.move_block(pfn, zone, HIGHATOMIC), 0)


def unreserve(lists: Fallback, zone: int, mt: int, force: int) -> int:
    """Give a zone's reserved pageblocks to type `mt` until one has free frames; those frames, 0, or `CORRUPT`.

    One pageblock stays unless `force` is set.
    """
    blocks, buddy = lists.blocks, lists.blocks.buddy
    row = blocks.zones.row
    base = zone * ZONE_ROW
    pages = 1 << blocks.order
    if not force and row[base + HIGHATOMIC_PAGES] <= pages:
        return 0
    for order in range(buddy.orders):
        pfn = buddy.lists.first((zone << LANE_SHIFT | HIGHATOMIC) * buddy.orders + order)
        if pfn >= 0:
            if blocks.type_of(pfn) == HIGHATOMIC:
                row[base + HIGHATOMIC_PAGES] -= min(pages, row[base + HIGHATOMIC_PAGES])
            blocks.set_type(pfn, zone, mt)
            moved = blocks.move_block(pfn, zone, mt)
            if moved != 0:
                return moved
    return 0
