"""A machine that boots: its own metadata lie in the memory that it is about to manage.

Terminology: what was *taken* is memory that memblock gave before there was an allocator, and that nobody gets back.

Idea: memblock is the host (`structpage.hosting`). It gives the memmap first, then the tables of the placement, then
those of the zones, each where and as aligned as `memblock_alloc` would place it; the buffers that the allocator runs
on are views of that memory. What is left is handed over to the lists (`structpage.boot.handover`).

A descriptor may be larger than the words it models: 64 bytes is today's `struct page`, 32 the step between. Then as
much is taken, and the words lie at the start of it. The memmap is one table over all frames; the part of it that
describes holes, which a kernel with a virtual memmap leaves unmapped, has a row of its own.

Followed: Linux 6.1 mm/mm_init.c and mm/page_alloc.c for the order: `sparse_init`, `free_area_init`,
`memblock_free_all`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from structpage import mapping
from structpage.arguments import at_least, byte_size, named
from structpage.boot import Memblock
from structpage.boot.handover import SECTION, deferred_ranges, free_all, zones_of
from structpage.core.words import LAYOUTS
from structpage.errors import InvalidArgument, must
from structpage.frames import PAGE_SIZE, FrameMemory
from structpage.machine.supply import RULES, NodeSupply
from structpage.pages import PageArray
from structpage.placing import declared, placement_class, title
from structpage.tables import html_table, text_table
from structpage.zones import Zone, validated

if TYPE_CHECKING:
    from structpage.machine.calls import Machine

M = TypeVar("M", bound="Machine")
LOWEST, BELOW_4G, ABOVE_4G = 1 << 20, 3 << 30, 4 << 30
DESCRIPTOR_BYTES = (64, 32, 16, 8)
"""Sizes of a descriptor, from that of today to one word."""
OUTSIDE = ("trace", "hint")
"""Buffers of the simulator itself, which no kernel has."""
ZONE_TABLES = ("nr_free", "zone_start", "zone_end", "zonelist", "deferred", "zone_rows", "drift", "avoid_fragmentation")
TAKEN = np.dtype(
    [
        ("when", "U20"),
        ("who", "U20"),
        ("what", "U20"),
        ("address", np.int64),
        ("bytes", np.int64),
        ("share", np.float64),
    ]
)
"""A row of a boot report: when, by whom and for what memory was taken, where, how much, and its share of all memory."""


def memory_map(memory: Memblock | str | int) -> Memblock:
    """Return memblock for a machine: as it is, from an e820 map or /proc/iomem as text, or for a size as `"512M"`.

    Of a size, which may be bytes, it is as a PC has it: up to 3 GiB below 4 GiB, the rest above, all of node 0, and the
    first mebibyte reserved. Raises `TraceError` for a map that is none, `InvalidArgument` for less than 4 MiB.
    """
    if isinstance(memory, Memblock):
        _check_whole(memory)
        return memory
    if isinstance(memory, str) and " " in memory.strip():
        iomem = "System RAM" in memory and "BIOS-e820" not in memory
        return Memblock.from_iomem(memory) if iomem else Memblock.from_e820(memory)
    size = at_least("memory", byte_size("memory", memory), 4 << 20) // PAGE_SIZE * PAGE_SIZE
    made = Memblock()
    made.add(0, min(size, BELOW_4G), 0)
    made.add(ABOVE_4G, max(size - BELOW_4G, 0), 0)
    made.remove(0xA0000, 0x60000)
    made.reserve(0, LOWEST)
    return made


def _check_whole(memblock: Memblock) -> None:
    for region in memblock.memory:
        if region.base % PAGE_SIZE or region.size % PAGE_SIZE:
            rule = "whole pages to boot from, see trim_memory"
            raise InvalidArgument(must("regions of memory", rule, f"[{region.base:#x}, {region.end:#x})"))


def _check_zones(zones: Sequence[Zone], memblock: Memblock) -> tuple[Zone, ...]:
    end = max((region.end for region in memblock.memory), default=0) // PAGE_SIZE
    try:
        chosen = validated(zones, end)
    except TypeError as error:
        raise InvalidArgument(must("zones", "each a Zone", repr(zones))) from error
    if max(zone.end for zone in chosen) < end:
        raise InvalidArgument(must("zones", f"such that the last ends with the memory, at PFN {end}", chosen[-1]))
    return chosen


class BootReport(NamedTuple):
    """What was taken before the page allocator was up; `rows` is a structured array of `TAKEN`, in that order."""

    rows: npt.NDArray[np.void]
    memory: int
    """Bytes of memory that there are."""

    @property
    def taken(self) -> int:
        """Bytes that the metadata of the machine took."""
        return int(self.rows["bytes"].sum())

    def by(self, who: str) -> int:
        """Return the bytes that one of those in `rows["who"]` took."""
        return int(self.rows["bytes"][self.rows["who"] == who].sum())

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values: memory, what was taken of it, and the rows."""
        names = TAKEN.names or ()
        rows = [dict(zip(names, row, strict=True)) for row in self.rows.tolist()]
        return {"memory": self.memory, "taken": self.taken, "share": self.taken / self.memory, "rows": rows}

    def _cells(self) -> list[Sequence[object]]:
        total = ("", "", "all", "", self.taken, f"{self.taken / self.memory:.4%}")
        rows: list[Sequence[object]] = [
            (when, who, what, f"{address:#x}", size, f"{share:.4%}")
            for when, who, what, address, size, share in self.rows.tolist()
        ]
        return [*rows, total]

    def __str__(self) -> str:
        return text_table(TAKEN.names or (), self._cells())

    def __repr__(self) -> str:
        return f"<BootReport: {self.taken} of {self.memory} bytes taken, {self.taken / self.memory:.3%}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self).strip("<>"), TAKEN.names or (), self._cells())


class BootMemory:
    """Host of a machine that boots: gives memory of its own frames, by way of memblock."""

    def __init__(self, memblock: Memblock, zones: Sequence[Zone], placement: str, reserve: int) -> None:
        self.memblock, self.zones, self.placement = memblock, zones, placement
        self.memory: FrameMemory | None = FrameMemory(max(zone.end for zone in zones))
        self.reserve = at_least("reserve", reserve, 0)
        self.taken: list[tuple[str, str, str, int, int]] = []

    @property
    def frames(self) -> FrameMemory:
        """The content of the frames."""
        assert self.memory is not None
        return self.memory

    def descriptors(self, size: int, words: int) -> mapping.Words:
        """Return the words of all descriptors, `words` of each, of which each takes `size` bytes."""
        frames = self.frames.frames
        address = self.memblock.alloc(size * frames, PAGE_SIZE)
        holes = frames - _described(self.zones)
        self._note("sparse_init", "memmap", "descriptors", address, size * (frames - holes))
        if holes:
            self._note("sparse_init", "memmap of holes", "descriptors", address, size * holes)
        return self._view(address, words * frames)

    def words(self, name: str, count: int) -> mapping.Words:
        """Return memory for a buffer, aligned to a cache line."""
        if name in OUTSIDE:
            return mapping.zeros(count)
        address = self.memblock.alloc(8 * max(count, 1))
        who = "zones" if name in ZONE_TABLES else {"percpu": "per-CPU lists", "pageblocks": "pageblocks"}.get(name)
        self._note("free_area_init", who or self.placement, name, address, 8 * count)
        return self._view(address, count)

    def nodes(self, placement: type) -> tuple[int, int]:
        """Return the nodes of the reserve: how many, and where."""
        size = declared(placement).node_bytes
        if not size:
            if self.reserve:
                rule = f"0 for placement {self.placement}, which has no nodes"
                raise InvalidArgument(must("reserve", rule, self.reserve))
            return -1, 0
        if not self.reserve:
            return 0, 0
        address = self.memblock.alloc(size * self.reserve)
        self._note("free_area_init", self.placement, "reserve of nodes", address, size * self.reserve)
        return self.reserve, address // 8

    def report(self) -> BootReport:
        """Return what was taken so far."""
        memory = sum(region.size for region in self.memblock.memory)
        rows = [(*row, row[-1] / memory) for row in self.taken]
        return BootReport(np.array(rows, TAKEN), memory)

    def _note(self, when: str, who: str, what: str, address: int, size: int) -> None:
        self.taken.append((when, who, what, address, size))

    def _view(self, address: int, count: int) -> mapping.Words:
        return self.frames.words[address // 8 : address // 8 + count]


def _described(zones: Sequence[Zone]) -> int:
    # Frames of the sections in which a frame exists.
    end = max(zone.end for zone in zones)
    exists = np.zeros(-(-end // SECTION), np.bool_)
    for zone in zones:
        for start, stop in zone.present():
            exists[start // SECTION : (stop - 1) // SECTION + 1] = True
    beyond = len(exists) * SECTION - end  # of the last section, in which a frame exists
    return int(exists.sum()) * SECTION - beyond


def boot(
    cls: type[M],
    memory: Memblock | str | int,
    placement: str | type,
    *,
    descriptor_bytes: int | None,
    zones: Sequence[Zone] | None,
    start: str,
    reserve: int,
    nodes: str,
    **options: Any,
) -> M:
    """Return a machine of a class that booted from a memory map; `Machine.boot` tells the parameters."""
    named("start", start, ("free", "deferred"))
    chosen = placement_class(placement)
    layout = LAYOUTS[declared(chosen).layout]
    size = 8 * layout.words if descriptor_bytes is None else descriptor_bytes
    if size not in DESCRIPTOR_BYTES or size < 8 * layout.words:
        rule = f"one of {', '.join(str(one) for one in DESCRIPTOR_BYTES if one >= 8 * layout.words)}"
        raise InvalidArgument(must(f"descriptor_bytes for placement {title(chosen)}", rule, size))
    named("nodes", nodes, RULES)
    memblock = memory_map(memory)
    before = memblock.copy()
    bounds = zones_of(memblock) if zones is None else _check_zones(zones, memblock)
    try:
        host = BootMemory(memblock, bounds, title(chosen), reserve)
        words = host.descriptors(size, layout.words)
        pages = PageArray(host.frames.frames, layout=layout.name, words=words)
        machine = cls(pages, chosen, zones=bounds, start="reserved", host=host, **options)
        if declared(chosen).node_bytes:
            machine.supply = NodeSupply(machine, nodes)
        _hand_over(machine, memblock, host, deferred=start == "deferred")
    except BaseException:
        memblock.restore(before)
        raise
    return machine


def _hand_over(machine: Machine, memblock: Memblock, host: BootMemory, *, deferred: bool) -> None:
    machine.memblock, machine.boot_report = memblock, host.report()
    machine.booted = False
    free_all(machine, memblock, deferred=deferred)
    machine.booted = True
    if deferred:
        machine.late = deferred_ranges(machine, memblock)
    if machine.supply is not None:
        machine.supply.before_sizes(max(size.batch for size in machine.sizes()))
    machine.compute_sizes()
