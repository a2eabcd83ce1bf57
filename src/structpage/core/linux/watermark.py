"""Watermarks: whether a zone has enough free memory for a request of this kind.

Followed: Linux 6.1 mm/page_alloc.c, `__zone_watermark_ok`, `zone_watermark_fast`. The free counter that is compared
drifts (see `zonetable`), so a zone may be above its mark and have nothing, or below and have enough.
"""

from __future__ import annotations

from structpage.core.linux.fallback import Fallback
from structpage.core.linux.gfp import (
    ALLOC_CMA,
    GFP_ATOMIC_BIT,
    HIGHATOMIC_ALLOWED,
    MIN_RESERVE,
    NON_BLOCK,
    OOM,
    RESERVES,
    WMARK_MASK,
    WMARK_MIN,
)
from structpage.core.linux.zonetable import BOOST, CMA_FREE, FREE, HIGHATOMIC_PAGES, MIN, RESERVE, ZONE_ROW
from structpage.core.words import CMA, HIGHATOMIC, LANE_SHIFT


def reserve_of(mark: int, flags: int) -> int:
    """Return how far below a watermark requests with these flags may not go."""
    if flags & MIN_RESERVE:
        mark -= mark // 2
        if flags & NON_BLOCK:
            mark -= mark // 4
    if flags & OOM:
        mark -= mark // 2
    return mark


def watermark_ok(lists: Fallback, zone: int, order: int, mark: int, highest: int, flags: int) -> bool:
    """Whether a zone is above `mark` and has a block; `highest` is the highest zone the request may use."""
    row = lists.blocks.zones.row
    base = zone * ZONE_ROW
    free = row[base + FREE] - ((1 << order) - 1)
    if not flags & RESERVES:
        free -= lists.kernel.unusable(row[base + HIGHATOMIC_PAGES])
    if not flags & ALLOC_CMA:
        free -= row[base + CMA_FREE]
    if free <= reserve_of(mark, flags) + row[base + RESERVE + highest]:
        return False
    return order == 0 or has_block(lists, zone, order, flags)


def has_block(lists: Fallback, zone: int, order: int, flags: int) -> bool:
    """Whether a zone has a free block of at least `order` that these flags may take."""
    buddy = lists.blocks.buddy
    orders = buddy.orders
    for current in range(order, orders):
        if buddy.nr_free[zone * orders + current]:
            for mt in range(HIGHATOMIC):
                if buddy.lists.first((zone << LANE_SHIFT | mt) * orders + current) >= 0:
                    return True
            if flags & ALLOC_CMA and buddy.lists.first((zone << LANE_SHIFT | CMA) * orders + current) >= 0:
                return True
            reserved = buddy.lists.first((zone << LANE_SHIFT | HIGHATOMIC) * orders + current)
            if flags & (HIGHATOMIC_ALLOWED | OOM) and reserved >= 0:
                return True
    return False


def zone_allows(lists: Fallback, zone: int, order: int, extra: int, highest: int, flags: int, gfp: int) -> bool:
    """Whether a zone is above the watermark that the flags name, raised by its boost and by `extra` frames."""
    row = lists.blocks.zones.row
    base = zone * ZONE_ROW
    mark = row[base + MIN + (flags & WMARK_MASK)] + row[base + BOOST] + extra
    if watermark_ok(lists, zone, order, mark, highest, flags):
        return True
    if order == 0 and gfp & GFP_ATOMIC_BIT and row[base + BOOST] and flags & WMARK_MASK == WMARK_MIN:
        return watermark_ok(lists, zone, order, row[base + MIN], highest, flags)
    return False
