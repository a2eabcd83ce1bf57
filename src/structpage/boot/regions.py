"""`Regions`: an array of memory regions, ascending and apart, as memblock keeps two of.

Terminology: a *region* is the bytes [base, end) with the node they belong to and their flags. Two regions *touch* if
one ends where the other begins; those that touch and are alike in node and flags are one region, but for a moment
after `isolate`, which cuts regions at the bounds of a range so that whole ones can be changed.

Record: base, size, nid and flags, all ints; 24 bytes each in a kernel, whose array has room for so many and is doubled
when it is full. `max` and `where` tell that room and its address; whoever adds makes the room first.

Followed: Linux 6.1 mm/memblock.c, `memblock_add_range`, `memblock_isolate_range`, `memblock_merge_regions`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, Self

PHYS_ADDR_MAX = (1 << 64) - 1
"""The highest address; a range that would reach beyond it ends there."""
HOTPLUG, MIRROR, NOMAP, DRIVER_MANAGED = 1, 2, 4, 8
"""Flags: memory that may be taken away, that is kept twice, that is not mapped, that a driver brought."""
FLAGS = 0x3F
"""All bits that kernels up to 7.3 use."""
INIT_REGIONS = 128
"""Regions that the array of a kernel has room for at first."""
REGION_BYTES = 24


class Region(NamedTuple):
    """The bytes [base, base + size) of a node, with flags."""

    base: int
    size: int
    nid: int = 0
    flags: int = 0

    @property
    def end(self) -> int:
        """The first byte beyond."""
        return self.base + self.size


def end_of(base: int, size: int) -> int:
    """Return where a range ends, at the highest address at the latest (`memblock_cap_size`)."""
    return min(base + size, PHYS_ADDR_MAX)


class Regions:
    """Regions in their order; O(regions) each, as in the kernel."""

    def __init__(self, rows: Iterable[Region] = ()) -> None:
        self.rows = list(rows)
        self.max = INIT_REGIONS
        self.where = 0
        """Address of the array; 0 for the one that the kernel's image has."""

    def copy(self) -> Self:
        """Return one of the same regions, room and address, that changes alone."""
        made = type(self)(self.rows)
        made.max, made.where = self.max, self.where
        return made

    def gaps(self, base: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [base, end) that no region covers, ascending."""
        found = []
        for region in self.rows:
            if region.base >= end or base >= end:
                break
            if region.end > base:
                if region.base > base:
                    found.append((base, region.base))
                base = region.end
        return [*found, (base, end)] if base < end else found

    def add(self, base: int, end: int, nid: int, flags: int) -> None:
        """Make regions of the parts of [base, end) that no region covers; what is there stays as it is."""
        new = [Region(start, stop - start, nid, flags) for start, stop in self.gaps(base, end)]
        if new:
            self.rows = sorted([*self.rows, *new])
            self.merge()

    def merge(self) -> None:
        """Make one region of those that touch and are alike."""
        merged: list[Region] = []
        for region in self.rows:
            last = merged[-1] if merged else None
            if last and last.end == region.base and last[2:] == region[2:]:
                merged[-1] = last._replace(size=last.size + region.size)
            else:
                merged.append(region)
        self.rows = merged

    def isolate(self, base: int, end: int) -> range:
        """Cut regions at the bounds of [base, end), and return the places of those inside."""
        for bound in (base, end):
            at = bisect_right(self.rows, bound, key=lambda region: region.base) - 1
            if base < end and at >= 0 and self.rows[at].base < bound < self.rows[at].end:
                low = self.rows[at]
                high = low._replace(base=bound, size=low.end - bound)
                self.rows[at : at + 1] = [low._replace(size=bound - low.base), high]
        inside = [at for at, region in enumerate(self.rows) if base <= region.base and region.end <= end]
        return range(inside[0], inside[-1] + 1) if inside and base < end else range(0)

    def overlap(self, base: int, end: int) -> bool:
        """Whether a region has a byte of [base, end)."""
        return any(region.base < end and base < region.end for region in self.rows)

    def between(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges between regions, ascending: that below the first and that above the last too."""
        bounds = [0, *(bound for region in self.rows for bound in (region.base, region.end)), PHYS_ADDR_MAX]
        return zip(bounds[::2], bounds[1::2], strict=True)

    def misplaced(self) -> Region | None:
        """Return the first region that is empty, beyond the addresses, or not above the one before it."""
        for region in self.rows:
            if region.size <= 0 or region.base < 0 or region.end > PHYS_ADDR_MAX:
                return region
        return next((upper for lower, upper in pairwise(self.rows) if upper.base < lower.end), None)
