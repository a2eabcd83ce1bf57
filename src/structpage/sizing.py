"""Sizes that the kernel computes at boot: watermarks, reserves, and the limits of per-CPU lists and counters.

Pure functions of ints, in pages of 4 KiB where nothing else is said, divided as the kernel divides. `sizes` puts them
together for a machine; `Tuning` has what an administrator may set. Terminology: pages are *managed* once they were
handed over to the allocator; *low memory* is all of it that the kernel can address at all times, which on 64 bits is
all.

Followed: Linux 6.1 mm/page_alloc.c, `calculate_min_free_kbytes`, `__setup_per_zone_wmarks`,
`setup_per_zone_lowmem_reserve`, `zone_batchsize`, `zone_highsize`; mm/khugepaged.c, `set_recommended_min_free_kbytes`;
mm/vmstat.c, `calculate_normal_threshold` and `calculate_pressure_threshold`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from structpage.zones import ZONE_NAMES, Zone

KB_PER_PAGE = 4
PAGES_PER_MB_SHIFT = 8
TYPES_ON_CPU_LISTS = 3
Marks = tuple[int, int, int]
NORMAL, HIGHMEM, MOVABLE = map(ZONE_NAMES.index, ("Normal", "HighMem", "Movable"))


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be set of a kernel; names are those of /proc/sys/vm, where there is such a file."""

    min_free_kbytes: int | None = None
    """`None` for what the kernel computes."""
    watermark_scale_factor: int = 10
    """Distance of the watermarks, in 1/10000 of the zone."""
    watermark_boost_factor: int = 15000
    """Most that thefts raise the watermarks, in 1/10000 of the high one."""
    lowmem_reserve_ratio: tuple[int, ...] = (256, 256, 32, 0, 0, 0)
    """For each zone of a node, DMA first; 0 for none."""
    percpu_pagelist_high_fraction: int = 0
    """The part of a zone that may wait on per-CPU lists; 0 for what the kernel computes."""
    thp: bool = True
    """Whether khugepaged runs, which wants more kept free."""


class Sizes(NamedTuple):
    """The sizes of a zone."""

    min: int
    low: int
    high: int
    lowmem_reserve: tuple[int, ...]
    """Pages withheld from requests whose highest zone is 0 (DMA), 1, ..."""
    batch: int
    pcp_high: int
    threshold: int
    """How far a CPU's difference of a counter goes."""


def min_free_kbytes(lowmem_kbytes: int) -> int:
    """Return vm.min_free_kbytes for so much low memory."""
    return min(max(isqrt(16 * lowmem_kbytes), 128), 262144)


def khugepaged_min_free_kbytes(zones: int, lowmem: int, pageblock_order: int = 9) -> int:
    """Return what khugepaged raises vm.min_free_kbytes to, if it is less.

    For every of `zones` zones two pageblocks of each type that memory is grouped by, and two for each type that each
    may fall back to; at most 5 % of `lowmem`, the low pages above the high watermarks.
    """
    pages = (zones << pageblock_order) * (2 + TYPES_ON_CPU_LISTS * TYPES_ON_CPU_LISTS)
    return min(pages, lowmem // 20) * KB_PER_PAGE


def watermarks(min_free_kb: int, managed: int, lowmem: int, scale: int = 10, *, high: bool = False) -> Marks:
    """Return the min, low and high watermark of a zone of `managed` pages, of `lowmem` in the machine.

    `high` for a zone of high memory, whose own min watermark is small.
    """
    share = min_free_kb // KB_PER_PAGE * managed // lowmem if lowmem else 0
    least = min(max(managed // 1024, 32), 128) if high else share
    gap = max(share // 4, managed * scale // 10000)
    return least, least + gap, least + 2 * gap


def lowmem_reserve(managed: Sequence[int], ratio: Sequence[int]) -> list[tuple[int, ...]]:
    """Return for each zone of a node the pages it withholds from requests whose highest zone is each of them.

    `managed` are the pages of the node's zones, 0 for one that it does not have, `ratio` the divisors.
    """
    rows = []
    for zone, (own, divisor) in enumerate(zip(managed, ratio, strict=True)):
        above = [sum(managed[zone + 1 : upper + 1]) for upper in range(len(managed))]
        rows.append(tuple(pages // divisor if own and divisor else 0 for pages in above))
    return rows


def percpu_batch(managed: int) -> int:
    """Return how many pages per-CPU lists take from a zone, or give back to it, at a time."""
    batch = max(min(managed >> 10, 256) // 4, 1)
    return max((1 << (batch + batch // 2).bit_length() - 1) - 1, 1)


def percpu_high(low: int, managed: int, cpus: int, batch: int, fraction: int = 0) -> int:
    """Return how many pages wait on the lists of one of `cpus` CPUs near a zone, before some are given back."""
    return max((managed // fraction if fraction else low) // cpus, 4 * batch)


def normal_threshold(managed: int, cpus: int) -> int:
    """Return how far a CPU's difference of a zone's counter goes."""
    return min(125, 2 * cpus.bit_length() * (1 + (managed >> 7 + PAGES_PER_MB_SHIFT).bit_length()))


def pressure_threshold(low: int, minimum: int, cpus: int) -> int:
    """Return the same while kswapd runs: so little that all CPUs together never hide the min watermark."""
    return min(125, max(1, (low - minimum) // cpus))


def sizes(
    zones: Sequence[Zone],
    managed: Sequence[int],
    cpu_node: Sequence[int],
    tuning: Tuning,
    pageblock_order: int = 9,
) -> list[Sizes]:
    """Return the sizes of each zone of a machine, whose CPU i is of node `cpu_node[i]`."""
    highmem = any(zone.zid == HIGHMEM for zone in zones)
    high = [highmem and zone.zid in (HIGHMEM, MOVABLE) for zone in zones]
    lowmem = sum(pages for pages, is_high in zip(managed, high, strict=True) if not is_high)
    shared = [(zone, pages) for zone, pages in zip(zones, managed, strict=True) if zone.zid <= NORMAL and pages]

    def marks(kbytes: int) -> list[Marks]:
        scale = tuning.watermark_scale_factor
        return [watermarks(kbytes, pages, lowmem, scale, high=h) for pages, h in zip(managed, high, strict=True)]

    kbytes = tuning.min_free_kbytes
    if kbytes is None:
        kbytes = min_free_kbytes(sum(pages for _, pages in shared) * KB_PER_PAGE)
        if tuning.thp:
            above = dict(zip(zones, marks(kbytes), strict=True))
            spare = sum(max(pages - above[zone][2], 0) for zone, pages in shared)
            kbytes = max(kbytes, khugepaged_min_free_kbytes(len(shared), spare, pageblock_order))
    reserves = _reserves(zones, managed, tuning.lowmem_reserve_ratio)
    found = []
    for zone, pages, mark in zip(zones, managed, marks(kbytes), strict=True):
        batch = percpu_batch(pages)
        near = list(cpu_node).count(zone.node) or len(cpu_node)
        most = percpu_high(mark[1], pages, near, batch, tuning.percpu_pagelist_high_fraction)
        found.append(Sizes(*mark, reserves[zone], batch, most, normal_threshold(pages, len(cpu_node))))
    return found


def _reserves(zones: Sequence[Zone], managed: Iterable[int], ratio: Sequence[int]) -> dict[Zone, tuple[int, ...]]:
    of_node: dict[int, list[int]] = {}
    for zone, pages in zip(zones, managed, strict=True):
        of_node.setdefault(zone.node, [0] * len(ZONE_NAMES))[zone.zid] = pages
    rows = {node: lowmem_reserve(pages, ratio) for node, pages in of_node.items()}
    return {zone: rows[zone.node][zone.zid] for zone in zones}
