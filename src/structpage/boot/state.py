"""`MemblockState`: the two arrays of memblock, what they say, and where free memory is.

What changes them is in `structpage.boot.memblock`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from structpage.arguments import an_int, between
from structpage.boot.regions import DRIVER_MANAGED, HOTPLUG, MIRROR, NOMAP, PHYS_ADDR_MAX, Region, Regions, end_of
from structpage.errors import InvalidArgument, must

NO_NODE = -1
"""NUMA_NO_NODE: wanted from any node."""
ANYWHERE = PHYS_ADDR_MAX
"""MEMBLOCK_ALLOC_ANYWHERE: an end that is none."""
ACCESSIBLE, NOLEAKTRACE = 0, 1
"""MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_NOLEAKTRACE: ends that mean `current_limit`."""
CACHE_LINE = 64
"""SMP_CACHE_BYTES of x86-64, the alignment where none is told."""
PAGE = 4096


class MemblockState:
    """Memory and reserved regions. `Memblock` tells the parameters."""

    def __init__(
        self,
        *,
        numa: bool = True,
        max_nodes: int = 1024,
        bottom_up: bool = False,
        current_limit: int = ANYWHERE,
        can_resize: bool = True,
        movable_node: bool = False,
        mirrored_kernelcore: bool = False,
    ) -> None:
        self.numa, self.bottom_up, self.can_resize = bool(numa), bool(bottom_up), bool(can_resize)
        self.movable_node, self.mirrored_kernelcore = bool(movable_node), bool(mirrored_kernelcore)
        self.max_nodes = between("max_nodes", max_nodes, 1, 1 << 20)
        self.current_limit = address("current_limit", current_limit)
        self._memory, self._reserved = Regions(), Regions()
        self._has_mirror = False

    @classmethod
    def from_regions(
        cls, memory: Iterable[Iterable[int]], reserved: Iterable[Iterable[int]] = (), **options: Any
    ) -> Self:
        """Return one with these arrays, each region (base, size, nid, flags), or less of that; `options` as above.

        They are kept as they are: neighbours that are alike are not merged. Raises `InvalidArgument` for what is no
        such row, and for regions that are empty, overlap, or do not ascend.
        """
        made = cls(**options)
        for name, rows, regions in (("memory", memory, made._memory), ("reserved", reserved, made._reserved)):
            regions.rows = [_region(row) for row in _listed(name, "rows of base and size", rows)]
            wrong = regions.misplaced()
            if wrong is not None:
                found = f"[{wrong.base:#x}, {wrong.end:#x})"
                raise InvalidArgument(must(f"region of {name}", "not empty, and above the one before it", found))
            while regions.max < len(regions.rows):
                regions.max *= 2
            made._has_mirror |= any(region.flags & MIRROR for region in regions.rows)
        return made

    # What there is

    @property
    def memory(self) -> tuple[Region, ...]:
        """The regions that exist, ascending."""
        return tuple(self._memory.rows)

    @property
    def reserved(self) -> tuple[Region, ...]:
        """The regions that somebody has, ascending."""
        return tuple(self._reserved.rows)

    def is_memory(self, base: int, size: int = 1) -> bool:
        """Whether a range is within one region of memory (`memblock_is_region_memory`)."""
        base, end = range_of(base, size)
        return any(region.base <= base < region.end and end <= region.end for region in self._memory.rows)

    def is_reserved(self, base: int, size: int = 1) -> bool:
        """Whether somebody has a byte of a range (`memblock_is_region_reserved`)."""
        return self._reserved.overlap(*range_of(base, size))

    def free_ranges(
        self, nid: int = NO_NODE, flags: int = 0, *, reverse: bool = False
    ) -> Iterator[tuple[int, int, int]]:
        """Yield free memory as (start, end, nid), region by region, ascending or in reverse.

        With `nid` that of a node only. `flags` are those of regions wanted: of mirrored ones only, or also those that
        are not mapped, that a driver manages or, with `movable_node`, that are hotpluggable.
        (`for_each_free_mem_range`, `for_each_free_mem_range_reverse`.)
        """
        nid = self._wanted_nid(nid)
        gaps = list(self._reserved.between())
        for region in reversed(self._memory.rows) if reverse else tuple(self._memory.rows):
            if not self._is_wanted(region, nid, flags):
                continue
            for start, end in reversed(gaps) if reverse else gaps:
                low, high = max(region.base, start), min(region.end, end)
                if low < high:
                    yield low, high, region.nid

    def _wanted_nid(self, nid: int) -> int:
        return NO_NODE if between("nid", nid, NO_NODE, self.max_nodes) == self.max_nodes else nid

    def _is_wanted(self, region: Region, nid: int, flags: int) -> bool:
        unwanted = (NOMAP | DRIVER_MANAGED | (HOTPLUG if self.movable_node else 0)) & ~flags
        if nid not in (NO_NODE, region.nid) or region.flags & unwanted:
            return False
        return bool(region.flags & MIRROR) or not flags & MIRROR

    # Finding free memory

    def _find_mirrored(self, size: int, align: int, start: int, end: int) -> int:
        tries = (MIRROR, 0) if self._has_mirror else (0,)
        return next(filter(None, (self._find(size, align, start, end, NO_NODE, flags) for flags in tries)), 0)

    def _find(self, size: int, align: int, start: int, end: int, nid: int, flags: int) -> int:
        # An address, or 0: the first page is never given. (`memblock_find_in_range_node`)
        start = max(start, PAGE)
        end = max(start, self.current_limit if end in (ACCESSIBLE, NOLEAKTRACE) else end)
        for low, high, _ in self.free_ranges(nid, flags, reverse=not self.bottom_up):
            low, high = min(max(low, start), end), min(max(high, start), end)
            found = round_up(low, align) if self.bottom_up else (high - size) // align * align
            if low <= found and found + size <= high and (found < high or not self.bottom_up):
                return found
        return 0

    # Taking back

    def copy(self) -> Self:
        """Return one with the same arrays, their room and addresses, and options; changes of one leave the other alone.

        For trying something: `restore` takes it back. O(regions).
        """
        made = copy.copy(self)
        made._memory, made._reserved = self._memory.copy(), self._reserved.copy()
        return made

    def restore(self, other: MemblockState) -> None:
        """Take over all that `copy` copies from another, which stays as it is.

        Raises `InvalidArgument` for what is no `Memblock`. O(regions).
        """
        if not isinstance(other, MemblockState):
            raise InvalidArgument(must("other", "a Memblock, as copy returns", repr(other)))
        vars(self).update(vars(other.copy()))

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        before = self.copy()
        try:
            yield
        except BaseException:
            self.restore(before)
            raise

    # Being looked at

    def __repr__(self) -> str:
        memory, reserved = (sum(region.size for region in rows) for rows in (self.memory, self.reserved))
        return f"<Memblock: memory {memory} bytes, reserved {reserved}>"

    def __str__(self) -> str:
        """Return both arrays as the kernel prints them with memblock=debug."""
        sizes = [sum(region.size for region in rows) for rows in (self.memory, self.reserved)]
        lines = [f" memory size = {sizes[0]:#018x} reserved size = {sizes[1]:#018x}"]
        for name, rows in (("memory", self.memory), ("reserved", self.reserved)):
            lines.append(f" {name}.cnt  = {max(len(rows), 1):#x}")
            for at, region in enumerate(rows):
                node = f" on node {region.nid}" if self.numa and region.nid != self.max_nodes else ""
                place = f"[{region.base:#018x}-{region.end - 1:#018x}], {region.size:#018x} bytes"
                lines.append(f" {name}[{at:#x}]\t{place}{node} flags: {region.flags:#x}")
        return "\n".join(lines)


def _region(row: Iterable[int]) -> Region:
    rule = "base and size, and perhaps nid and flags"
    words = [an_int("word of a region", word) for word in _listed("region", rule, row)]
    if not 2 <= len(words) <= 4:
        raise InvalidArgument(must("region", rule, words))
    return Region(*words)


def _listed(name: str, rule: str, values: Iterable[Any]) -> Iterator[Any]:
    try:
        if not isinstance(values, str | bytes):
            return iter(values)
    except TypeError:
        pass
    raise InvalidArgument(must(name, rule, repr(values)))


def address(name: str, value: int) -> int:
    """Return an address or a size in bytes; raises `InvalidArgument`."""
    return between(name, value, 0, PHYS_ADDR_MAX)


def range_of(base: int, size: int) -> tuple[int, int]:
    """Return a range as [base, end); raises `InvalidArgument`."""
    base = address("base", base)
    return base, end_of(base, address("size", size))


def alignment(align: int) -> int:
    """Return a power of two; raises `InvalidArgument`."""
    align = address("align", align)
    if align & align - 1 or not align:
        raise InvalidArgument(must("align", "a power of two", align))
    return align


def round_up(address: int, align: int) -> int:
    """Return the lowest multiple of `align` not below an address."""
    return -(-address // align) * align
