"""CMA areas: pageblocks that only movable requests may use, so that they can be had in one piece.

Terminology: an area is `frames` frames from `base` on, whole pageblocks of one zone, in *granules* of
2^`order_per_bit` frames. A granule is taken, or left to the page allocator.

State: `bitmap[i]` is 1 if granule i is taken; one word for each.

Followed: Linux 6.1 mm/cma.c, `cma_activate_area`, `cma_alloc`, `cma_release`; mm/page_alloc.c,
`init_cma_reserved_pageblock`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.linux.contig import alloc_contig_range, free_contig_range
from structpage.core.linux.machine import Machine
from structpage.core.linux.zonetable import MANAGED, ZONE_ROW
from structpage.core.status import BUSY, NO_MEMORY, REFUSED
from structpage.core.words import CMA


class CmaArea(NamedTuple):
    """A run of CMA pageblocks, and who has what of it."""

    bitmap: Buffer
    base: int
    frames: int
    order_per_bit: int

    def granules(self, count: int) -> int:
        """Return how many granules hold `count` frames."""
        return (count + (1 << self.order_per_bit) - 1) >> self.order_per_bit

    def pfn_of(self, granule: int) -> int:
        """Return the first frame of a granule."""
        return self.base + (granule << self.order_per_bit)

    def step(self, align: int) -> int:
        """Return after how many granules a PFN aligned to 2^align comes again."""
        return 1 << max(align - self.order_per_bit, 0)

    def find(self, count: int, align: int, start: int) -> int:
        """Return the first granule from `start` on where `count` frames can be had, its PFN aligned to 2^align.

        `NO_MEMORY` if there is none. O(granules). (`bitmap_find_next_zero_area_off`.)
        """
        step, wanted = self.step(align), self.granules(count)
        offset = (self.base & ((1 << align) - 1)) >> self.order_per_bit
        end = self.frames >> self.order_per_bit
        first = (start + offset + step - 1) // step * step - offset
        place = first
        while first + wanted <= end:
            if place == first + wanted:
                return first
            if self.bitmap[place]:
                first = (place + offset + step) // step * step - offset
                place = first
            else:
                place += 1
        return NO_MEMORY

    def mark(self, granule: int, count: int, taken: int) -> None:
        """Note that the granules of `count` frames from one on are taken (1), or no longer (0)."""
        for place in range(granule, granule + self.granules(count)):
            self.bitmap[place] = taken


def init_cma_reserved_pageblock(machine: Machine, pfn: int, cpu: int) -> int:
    """Make the reserved frames of the pageblock at `pfn` free memory of type CMA; 0, `REFUSED` or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    zone, pages = blocks.buddy.zone_at(pfn), 1 << blocks.order
    if not machine.ranges.is_reserved_range(pfn, pfn + pages):
        return REFUSED
    blocks.set_type(pfn, zone, CMA)
    status = machine.free(pfn, blocks.order, cpu)
    blocks.zones.row[zone * ZONE_ROW + MANAGED] += pages
    return status


def cma_activate_area(machine: Machine, area: CmaArea, cpu: int) -> int:
    """Hand the frames of an area, all reserved, over to the page allocator; 0, `REFUSED` or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    pages, end = 1 << blocks.order, area.base + area.frames
    if (area.base | area.frames) & (pages - 1) or area.order_per_bit > blocks.order:
        return REFUSED
    if not machine.ranges.is_reserved_range(area.base, end):
        return REFUSED
    status = 0
    for pfn in range(area.base, end, pages):
        if status == 0:
            status = init_cma_reserved_pageblock(machine, pfn, cpu)
    return status


def cma_alloc(machine: Machine, area: CmaArea, count: int, align: int, cpu: int, owner: int) -> int:
    """Allocate `count` frames in a row from an area, each by itself, the first aligned to 2^align.

    First fit; where a run has frames in use, the next place of that alignment is tried. PFN, `NO_MEMORY`, `CORRUPT`,
    or `REFUSED` if the area is not in the memory.
    """
    granule = area.find(count, align, 0) if count > 0 else NO_MEMORY
    while granule >= 0:
        pfn = area.pfn_of(granule)
        area.mark(granule, count, 1)
        status = alloc_contig_range(machine, pfn, pfn + count, CMA, cpu, owner)
        if status == 0:
            return pfn
        area.mark(granule, count, 0)
        if status != BUSY:
            return status
        granule = area.find(count, align, granule + area.step(align))
    return NO_MEMORY


def cma_release(machine: Machine, area: CmaArea, pfn: int, count: int, cpu: int) -> int:
    """Free `count` frames that `cma_alloc` gave, from `pfn` on; 0, `REFUSED` or `CORRUPT`."""
    if pfn < area.base or pfn + count > area.base + area.frames:
        return REFUSED
    status = free_contig_range(machine, pfn, pfn + count, cpu)
    if status == 0:
        area.mark((pfn - area.base) >> area.order_per_bit, count, 0)
    return status
