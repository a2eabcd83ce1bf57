"""Allocation flags: what a caller asks for, and what the allocator makes of it.

A *gfp* is the caller's flags, with the bits of Linux 6.1 (include/linux/gfp_types.h). *Flags* are the allocator's own
(mm/internal.h, `ALLOC_*`): the two lowest bits say which watermark counts.
"""

from __future__ import annotations

from structpage.core.words import ZIDS

GFP_DMA, GFP_HIGHMEM, GFP_DMA32, GFP_MOVABLE, GFP_RECLAIMABLE, GFP_HIGH = 1, 2, 4, 8, 16, 32
GFP_ATOMIC_BIT = 0x200
GFP_DIRECT_RECLAIM, GFP_KSWAPD_RECLAIM = 0x400, 0x800
GFP_MEMALLOC, GFP_NOMEMALLOC, GFP_ACCOUNT, GFP_THISNODE = 0x20000, 0x80000, 0x400000, 0x200000

WMARK_MIN, WMARK_LOW, WMARK_HIGH, WMARK_MASK = 0, 1, 2, 3
NO_WATERMARKS, OOM, NON_BLOCK, MIN_RESERVE = 0x04, 0x08, 0x10, 0x20
ALLOC_CMA, NOFRAGMENT, HIGHATOMIC_ALLOWED, KSWAPD = 0x80, 0x100, 0x200, 0x800
RESERVES = NON_BLOCK | MIN_RESERVE | HIGHATOMIC_ALLOWED | OOM

DMA, DMA32, NORMAL, HIGHMEM, MOVABLE_ZONE = range(5)


def highest_zid(gfp: int) -> int:
    """Return the highest zone that will do (Linux 6.1, include/linux/gfp.h, `gfp_zone`)."""
    if gfp & GFP_DMA:
        return DMA
    if gfp & GFP_DMA32:
        return DMA32
    if gfp & GFP_HIGHMEM:
        return MOVABLE_ZONE if gfp & GFP_MOVABLE else HIGHMEM
    return NORMAL


def migratetype(gfp: int) -> int:
    """Return the migratetype asked for: Unmovable 0, Movable 1, Reclaimable 2 (`gfp_migratetype`)."""
    return gfp >> 3 & 3


def first_flags(gfp: int, preferred: int, avoid_fragmentation: int) -> int:
    """Return the flags of the first attempt.

    Where `avoid_fragmentation` is set for the machine and the preferred zone is a Normal one, stealing is kept to whole
    pageblocks, so that memory of lower zones is used up first (Linux 6.1, mm/page_alloc.c, `alloc_flags_nofragment`).
    """
    flags = WMARK_LOW | gfp & GFP_KSWAPD_RECLAIM
    if avoid_fragmentation and preferred % ZIDS == NORMAL:
        flags |= NOFRAGMENT
    return flags


def slow_flags(gfp: int, order: int) -> int:
    """Return the flags of the attempt after kswapd was woken (Linux 6.1, mm/page_alloc.c, `gfp_to_alloc_flags`)."""
    flags = WMARK_MIN | gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM)
    if not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC:
        flags |= NON_BLOCK
        if order and flags & MIN_RESERVE:
            flags |= HIGHATOMIC_ALLOWED
    return flags


def may_use_reserves(gfp: int) -> bool:
    """Whether a caller may use what is left in the end, whatever the watermarks (`__gfp_pfmemalloc_flags`).

    What the kernel allows a task or an interrupt, and not by a flag, is not told here.
    """
    return gfp & (GFP_MEMALLOC | GFP_NOMEMALLOC) == GFP_MEMALLOC
