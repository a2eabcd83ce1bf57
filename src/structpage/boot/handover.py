"""The end of boot: the zones of a memory map, and its free memory put on their lists.

Terminology: a *section* is 2^15 frames, aligned. Of the zone of each node that ends last only the frames below the
*first deferred* PFN are known early, which is the start of a section with a section of frames or more below it in the
zone; the others follow once threads can run (CONFIG_DEFERRED_STRUCT_PAGE_INIT).

Idea: free ranges ascend, each in the largest chunks that are aligned and fit, merged with what is free already and put
at the tails, so lists ascend too. Frames that are only in part within a range are left. A pageblock becomes Movable
when its first frame is described: early those of all memory, late those of free memory; so a deferred pageblock whose
first frame is reserved stays Unmovable.

Followed: Linux 6.1 mm/memblock.c, `memblock_free_all`; mm/page_alloc.c, `free_area_init`, `defer_init`,
`deferred_init_memmap`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from structpage.boot.memblock import Memblock
from structpage.boot.regions import HOTPLUG
from structpage.boot.state import ANYWHERE, PAGE
from structpage.core.words import MOVABLE, UNMOVABLE
from structpage.errors import InvalidArgument, must
from structpage.zones import Zone, last_of_nodes, x86_64_zones

if TYPE_CHECKING:
    from structpage.machine.handed import HandedMachine as Machine

SECTION = 1 << 15
"""Frames of a section, as x86-64 has them."""


def zones_of(memblock: Memblock) -> tuple[Zone, ...]:
    """Return the zones that x86-64 makes of a memory map: those of each node that have frames, with their holes.

    Raises `InvalidArgument` if there is no memory of a whole page, or its nodes were not set. O(regions x zones).
    """
    frames = _frames_of_nodes(memblock)
    if not frames or memblock.max_nodes in frames:
        found = "without any" if not frames else "without, call set_node"
        raise InvalidArgument(must("memory", "regions of a page or more with their nodes", found))
    highest = max(ranges[-1][1] for ranges in frames.values())
    zones = []
    for node, ranges in sorted(frames.items()):
        for bounds in x86_64_zones(highest):
            start, end = max(bounds.start, ranges[0][0]), min(bounds.end, ranges[-1][1])
            present = [(max(first, start), min(last, end)) for first, last in ranges if first < end and last > start]
            if present:
                zones.append(Zone(bounds.name, start, end, node, _holes(start, end, present)))
    return tuple(zones)


def _frames_of_nodes(memblock: Memblock) -> dict[int, list[tuple[int, int]]]:
    frames = defaultdict(list)
    for region in memblock.memory:
        start, end = _whole(region.base, region.end)
        if start < end:
            frames[region.nid].append((start, end))
    return dict(frames)


def _holes(start: int, end: int, present: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    bounds = [start, *(bound for part in present for bound in part), end]
    return tuple((low, high) for low, high in zip(bounds[::2], bounds[1::2], strict=True) if low < high)


def _whole(base: int, end: int) -> tuple[int, int]:
    return -(-base // PAGE), end // PAGE


def first_deferred(zone: Zone, section: int = SECTION) -> int:
    """Return the first deferred PFN of a zone that ends last of its node; its end if none is (`defer_init`)."""
    known = 0
    for start, end in zone.present():
        pfn = -(-(start + max(section - known, 0)) // section) * section
        if pfn < end:
            return pfn
        known += end - start
    return zone.end


def free_all(machine: Machine, memblock: Memblock, *, deferred: bool = True, section: int = SECTION) -> None:
    """Put the free memory of a map on a machine's lists, but what is deferred (`memblock_free_all`).

    Precondition: the machine has the zones of the map (`zones_of`), and all of its frames are reserved. Memory is not
    hotpluggable any more afterwards. O(regions + frames / 2^max_order).
    """
    memblock.clear(0, ANYWHERE, HOTPLUG)
    last = last_of_nodes(machine.zones) if deferred else set()
    types = machine.words("pageblocks")
    for zone in machine.zones:
        limit = first_deferred(zone, section) if zone in last else zone.end
        if limit < zone.end:
            late = types[limit >> machine.pageblock_order : (zone.end - 1 >> machine.pageblock_order) + 1]
            late[late == MOVABLE] = UNMOVABLE
        for start, end in _free_frames(memblock, zone, zone.start, limit):
            machine.hand_over(zone, start, end)


def deferred_ranges(machine: Machine, memblock: Memblock, *, section: int = SECTION) -> list[tuple[Zone, int, int]]:
    """Return the deferred frames of a map as (zone, start, end), in the order in which they follow; O(regions)."""
    return [
        (zone, start, end)
        for zone in sorted(last_of_nodes(machine.zones), key=lambda zone: zone.number)
        for start, end in _free_frames(memblock, zone, first_deferred(zone, section), zone.end)
    ]


def free_late(machine: Machine, zone: Zone, start: int, end: int) -> None:
    """Put deferred frames [start, end) of a zone on a machine's lists, all of them free (`deferred_init_maxorder`)."""
    types, order = machine.words("pageblocks"), machine.pageblock_order
    types[-(-start >> order) : (end - 1 >> order) + 1] = MOVABLE
    machine.hand_over(zone, start, end)


def free_deferred(machine: Machine, memblock: Memblock, *, section: int = SECTION) -> None:
    """Put the deferred memory of a map on a machine's lists, after `free_all` (`deferred_init_memmap`)."""
    for zone, start, end in deferred_ranges(machine, memblock, section=section):
        free_late(machine, zone, start, end)


def _free_frames(memblock: Memblock, zone: Zone, low: int, high: int) -> list[tuple[int, int]]:
    ranges = (_whole(start, end) for start, end, _ in memblock.free_ranges(zone.node))
    return [(max(start, low), min(end, high)) for start, end in ranges if max(start, low) < min(end, high)]
