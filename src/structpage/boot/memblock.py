"""`Memblock`: the allocator of boot, before there are page frames to allocate.

Terminology: *memory* are the regions that exist, *reserved* those that somebody has, in both cases the kernel's own
arrays; what is in the first and not in the second is *free*. A *range* is bytes [base, base + size) or [start, end).
Allocations are taken from the top of free memory down, or with `bottom_up` from its bottom up, and are remembered as
reserved regions and nothing else: an address alone cannot be freed, its size must be told.

Idea: memory and reserved are two ordered arrays; free memory is what they leave, and needs no array of its own.
Whatever is added covers only what was not there, so no call depends on whether ranges overlap; regions split where a
range ends and merge where two are alike.

Functions of the kernel are named at the methods. Followed: Linux 6.1 mm/memblock.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

from structpage.arguments import between
from structpage.boot.maps import parse_e820, parse_iomem
from structpage.boot.regions import FLAGS, MIRROR, NOMAP, PHYS_ADDR_MAX, REGION_BYTES, Region, Regions
from structpage.boot.state import (
    ACCESSIBLE,
    ANYWHERE,
    CACHE_LINE,
    NO_NODE,
    NOLEAKTRACE,
    PAGE,
    MemblockState,
    address,
    alignment,
    range_of,
    round_up,
)
from structpage.errors import OutOfMemory, must

BIOS_RANGE = (0xA0000, 0x60000)
"""Base and size of what lies below 1 MiB and is no memory, whatever firmware says (`trim_bios_range`)."""


class Memblock(MemblockState):
    """Regions of memory and reserved regions, as Linux 6.1 keeps them until the page allocator is up.

    Parameters: `numa`, whether regions have nodes (CONFIG_NUMA), else all are of node 0; `max_nodes`, MAX_NUMNODES, the
    nid of a region that was given none; `bottom_up`, the direction of allocation; `current_limit`, the end of memory
    that may be allocated without an end; `can_resize`, whether a full array of regions (128) is doubled, its memory
    taken from here; `movable_node` and `mirrored_kernelcore`, options of the kernel's command line that make it avoid
    hotpluggable memory, and prefer mirrored.

    Addresses and sizes are bytes, between 0 and 2^64 - 1; ranges that would reach beyond end there. As in the kernel, a
    range may overlap regions, cover none or be empty: that is no error. What is none of these is `InvalidArgument`, a
    full array or no free memory is `OutOfMemory`; nothing is changed then, no array is longer or elsewhere. To take
    more than a call back, see `copy` and `restore`. O(regions) each.
    """

    @classmethod
    def from_e820(cls, text: str, **options: Any) -> Self:
        """Return one with the usable memory of a firmware's map, as the kernel prints it (`BIOS-e820:` in dmesg).

        In whole pages, without the first page and what lies from 640 KiB to 1 MiB, and all of node 0, as x86 has it
        where firmware tells no nodes; what it calls soft reserved is reserved. Raises `TraceError` for a text with no
        such lines, or with ranges that are empty or overlap.
        """
        made = cls(**options)
        for one in parse_e820(text):
            if one.kind in ("usable", "System RAM"):
                made.add(one.start, one.end - one.start)
            elif one.kind.lower() == "soft reserved":
                made.reserve(one.start, one.end - one.start)
        made.remove(0, PAGE)
        made.remove(*BIOS_RANGE)
        made.trim_memory(PAGE)
        made.set_node(0, ANYWHERE, 0)
        return made

    @classmethod
    def from_iomem(cls, text: str, **options: Any) -> Self:
        """Return one with the System RAM of /proc/iomem, of node 0 and in whole pages; what is within it is reserved.

        That is the kernel itself, and what else has a name there. Raises `TraceError` for a text that is none of such
        a file, or whose addresses are zeros, as they are for anybody but root.
        """
        made, within = cls(**options), False
        for one in parse_iomem(text):
            within = one.kind == "System RAM" if one.depth == 0 else within
            if within:
                (made.reserve if one.depth else made.add)(one.start, one.end - one.start)
        made.trim_memory(PAGE)
        made.set_node(0, ANYWHERE, 0)
        return made

    # Adding and removing

    def add(self, base: int, size: int, nid: int | None = None, flags: int = 0) -> None:
        """Add what exists and is not there yet (`memblock_add`, and with `nid` `memblock_add_node`)."""
        self._add(self._memory, base, size, nid, flags)

    def reserve(self, base: int, size: int) -> None:
        """Reserve what is not reserved yet, memory or not (`memblock_reserve`)."""
        self._add(self._reserved, base, size, None, 0)

    def remove(self, base: int, size: int) -> None:
        """Take a range out of memory (`memblock_remove`); what is reserved stays so."""
        self._take(self._memory, *range_of(base, size))

    def free(self, base: int, size: int) -> None:
        """Give back what is reserved of a range (`memblock_phys_free`)."""
        self._take(self._reserved, *range_of(base, size))

    def trim_memory(self, align: int) -> None:
        """Shrink regions of memory to multiples of `align`; those that have none are gone (`memblock_trim_memory`)."""
        align = alignment(align)
        trimmed = (
            region._replace(base=(low := round_up(region.base, align)), size=region.end // align * align - low)
            for region in self._memory.rows
        )
        self._memory.rows = [region for region in trimmed if region.size > 0]

    def enforce_memory_limit(self, limit: int) -> None:
        """Keep the lowest `limit` bytes of memory, and what is reserved below their end; 0 is no limit."""
        left = address("limit", limit)
        for region in self._memory.rows if left else ():
            if left <= region.size:
                end = region.base + left
                with self._all_or_nothing():
                    self._take(self._memory, end, PHYS_ADDR_MAX)
                    self._take(self._reserved, end, PHYS_ADDR_MAX)
                return
            left -= region.size

    def cap_memory_range(self, base: int, size: int) -> None:
        """Keep what is within a range, and memory that is not mapped; an empty range changes nothing."""
        base, end = range_of(base, size)
        if base == end or not self._memory.rows:
            return
        with self._all_or_nothing():
            inside = self._isolate(self._memory, base, end)
            rows = self._memory.rows
            self._memory.rows = [region for at, region in enumerate(rows) if at in inside or region.flags & NOMAP]
            self._take(self._reserved, 0, base)
            self._take(self._reserved, end, PHYS_ADDR_MAX)

    def _add(self, regions: Regions, base: int, size: int, nid: int | None, flags: int) -> None:
        base, end = range_of(base, size)
        nid, flags = self._told_nid(nid), between("flags", flags, 0, FLAGS)
        with self._all_or_nothing():
            while len(regions.rows) + len(regions.gaps(base, end)) > regions.max:
                self._double(regions, base, end)
        regions.add(base, end, nid, flags)

    def _isolate(self, regions: Regions, base: int, end: int) -> range:
        with self._all_or_nothing():
            while base < end and len(regions.rows) + 2 > regions.max:
                self._double(regions, base, end)
        return regions.isolate(base, end)

    def _take(self, regions: Regions, base: int, end: int) -> None:
        inside = self._isolate(regions, base, end)
        del regions.rows[inside.start : inside.stop]

    def _double(self, regions: Regions, start: int, end: int) -> None:
        # The new array lies in free memory, beyond or else below the range that is about to be reserved.
        # The other array may have to grow for it too: a kernel that cannot stops (BUG_ON), here the caller takes all
        # back. (`memblock_double_array`)
        size = round_up(2 * regions.max * REGION_BYTES, PAGE)
        if regions is not self._reserved:
            start = end = 0
        where = 0
        if self.can_resize:
            where = self._find_mirrored(size, PAGE, end, self.current_limit)
        if self.can_resize and not where and start < end:
            where = self._find_mirrored(size, PAGE, 0, min(start, self.current_limit))
        if not where:
            rule = f"at most {regions.max}, or {size} bytes free for a longer array and can_resize set"
            raise OutOfMemory(must("regions", rule, "more"))
        old, room = regions.where, round_up(regions.max * REGION_BYTES, PAGE)
        regions.where, regions.max = where, 2 * regions.max
        if old:
            self.free(old, room)
        self.reserve(where, size)

    # Nodes and flags

    def set_node(self, base: int, size: int, nid: int, *, reserved: bool = False) -> None:
        """Set the node of memory in a range, or of what is reserved there (`memblock_set_node`)."""
        nid = self._told_nid(nid)
        self._change(self._reserved if reserved else self._memory, base, size, lambda old: old._replace(nid=nid))

    def mark(self, base: int, size: int, flag: int) -> None:
        """Set `HOTPLUG`, `MIRROR` or `NOMAP` of memory in a range (`memblock_mark_hotplug` and so on).

        Without `mirrored_kernelcore` memory is not marked as mirrored.
        """
        flag = between("flag", flag, 1, FLAGS)
        if flag & MIRROR and not self.mirrored_kernelcore:
            return
        self._change(self._memory, base, size, lambda old: old._replace(flags=old.flags | flag))
        self._has_mirror |= bool(flag & MIRROR)

    def clear(self, base: int, size: int, flag: int) -> None:
        """Clear a flag of memory in a range (`memblock_clear_hotplug`, `memblock_clear_nomap`)."""
        flag = between("flag", flag, 1, FLAGS)
        self._change(self._memory, base, size, lambda old: old._replace(flags=old.flags & ~flag))

    def _change(self, regions: Regions, base: int, size: int, changed: Callable[[Region], Region]) -> None:
        for at in self._isolate(regions, *range_of(base, size)):
            regions.rows[at] = changed(regions.rows[at])
        regions.merge()

    def _told_nid(self, nid: int | None) -> int:
        told = self.max_nodes if nid is None else between("nid", nid, NO_NODE, self.max_nodes)
        return told if self.numa else 0

    # Allocating

    def alloc(
        self,
        size: int,
        align: int = CACHE_LINE,
        *,
        start: int = 0,
        end: int = ACCESSIBLE,
        nid: int = NO_NODE,
        exact: bool = False,
    ) -> int:
        """Reserve `size` free bytes at a multiple of `align`, and return their address.

        They lie in [start, end), or below if there is no room; at most below `current_limit`. Those of node `nid` are
        tried first, and with `exact` no others. Raises `OutOfMemory`. (`memblock_alloc_try_nid`,
        `memblock_alloc_exact_nid_raw`, and with less told `memblock_alloc`, `memblock_alloc_from` and so on.)
        """
        end = min(address("end", end), self.current_limit)
        starts = (start, 0) if start else (start,)
        found = next(filter(None, (self._alloc(size, align, low, end, nid, exact) for low in starts)), 0)
        if not found:
            self._none(size, align, 0, end, nid)
        return found

    def phys_alloc_range(
        self,
        size: int,
        align: int = CACHE_LINE,
        start: int = 0,
        end: int = ACCESSIBLE,
        *,
        nid: int = NO_NODE,
        exact: bool = False,
    ) -> int:
        """Reserve bytes as `alloc` does, but none below `start`, and with an `end` beyond `current_limit` too.

        (`memblock_alloc_range_nid`, and with less told `memblock_phys_alloc_range`, `memblock_phys_alloc_try_nid`.)
        """
        found = self._alloc(size, align, start, end, nid, exact)
        if not found:
            self._none(size, align, start, end, nid)
        return found

    def _alloc(self, size: int, align: int, start: int, end: int, nid: int, exact: bool) -> int:
        size, align = address("size", size), alignment(align or CACHE_LINE)
        start, end, nid = address("start", start), address("end", end), self._wanted_nid(nid)
        for flags in (MIRROR, 0) if self._has_mirror else (0,):
            for node in (nid, NO_NODE) if nid != NO_NODE and not exact else (nid,):
                found = self._find(size, align, start, end, node, flags)
                if found and self._reserves(found, size):
                    return found
        return 0

    def _reserves(self, base: int, size: int) -> bool:
        try:
            self.reserve(base, size)
        except OutOfMemory:
            return False
        return True

    def _none(self, size: int, align: int, start: int, end: int, nid: int) -> NoReturn:
        end = self.current_limit if end in (ACCESSIBLE, NOLEAKTRACE) else end
        free = max((high - low for low, high, _ in self.free_ranges()), default=0)
        rule = f"{size} free bytes at a multiple of {align} in [{start:#x}, {end:#x})"
        rule += f" of node {nid}" if nid != NO_NODE else ""
        raise OutOfMemory(must("memory", rule, f"{free} in a row at most"))
