"""`AllocatorState`: the buffers of a buddy allocator, built for a placement and an engine, and read.

It has everything but the operations, which are in `structpage.allocator`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from structpage import mapping, metrics, placing, registry
from structpage.arguments import between, named
from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer, Memmap, Room
from structpage.core.memmap import OneWord, TwoWord
from structpage.core.placements import BUILTIN
from structpage.core.ranges import Ranges
from structpage.core.status import CORRUPT
from structpage.core.words import LANE_SHIFT, TAGS, TYPES, ZIDS
from structpage.engines import Engine, engine_of
from structpage.errors import CorruptionError, InvalidArgument, UnknownName, must
from structpage.frames import FrameMemory
from structpage.hosting import Beside, Host
from structpage.pages import PageArray
from structpage.refusal import corruption
from structpage.tables import html_table
from structpage.zones import Zone, deferred_table, validated, zonelists

if TYPE_CHECKING:
    from structpage.consumers import Consumer
    from structpage.slab.layer import SlabLayer

MEMMAPS: dict[str, type[TwoWord] | type[OneWord]] = {"two-word": TwoWord, "one-word": OneWord}
STAMPS = {"every": 1, "head": 0}


class AllocatorState:
    """Memmap, lists and counts of a buddy allocator, and what they say. `BuddyAllocator` tells the parameters."""

    consumers: tuple[Consumer, ...] = ()
    slabs: SlabLayer | None = None
    """The slab layer over the allocator, once there is a cache."""

    def __init__(
        self,
        pages: PageArray | int,
        placement: str | type,
        *,
        zones: Iterable[Zone] | None,
        max_order: int,
        engine: str | Engine | None,
        memory: FrameMemory | None,
        needs_memory: bool,
        stamp: str,
        deferred: bool,
        section_order: int,
        more_lists: int = 0,
        host: Host | None = None,
    ) -> None:
        self.host = host or Beside()
        cls = placing.placement_class(placement)
        if not isinstance(pages, PageArray):
            pages = PageArray(pages, layout=placing.declared(cls).layout)
        self.pages = pages
        self.max_order = between("max_order", max_order, 0, 30)
        self.section_order = between("section_order", section_order, 0, 62)
        self.zones = validated(zones, pages.frames)
        slots = max(zone.number for zone in self.zones) + 1
        self._zone_lists = (slots << LANE_SHIFT) * (self.max_order + 1)
        lists = self._zone_lists + more_lists
        placing.check_limits(cls, pages, max_order, lists)
        self.stamp = named("stamp", stamp, STAMPS)
        self.placement = registry.name_of(BUILTIN, cls)
        self.engine = engine_of(engine)
        self.buffers: dict[str, mapping.Words] = {"words": pages.words}
        needs_memory |= placing.declared(cls).touches_free_pages
        self.memory = _memory_for(pages, memory or self.host.memory, needs_memory)
        pages.claim(self)
        self._build(cls, slots, lists, deferred_table(self.zones if deferred else (), slots))

    def _build(self, cls: type, slots: int, lists: int, deferred: npt.NDArray[np.int64]) -> None:
        engine, pages = self.engine, self.pages
        nodes, nodes_at = self.host.nodes(cls)
        linked = self.host.memory is not None or placing.declared(cls).touches_free_pages
        memory_words = self.memory.words if self.memory is not None and linked else np.empty(0, np.uint64)
        memory = engine.buffer("memory", memory_words)
        word = engine.buffer("words", pages.words)
        memmap = MEMMAPS[pages.layout.name](word, engine.fill("words", pages.words), STAMPS[self.stamp])
        orders = self.max_order + 1
        wanted = -(-slots // ZIDS) * ZIDS
        room = Room(
            pages.frames, lists, word, memory, self._new_buffer, orders, nodes, nodes_at, order_of=self._order_of
        )
        core = Buddy(
            cast(Memmap, memmap),
            placing.build(cls, room),
            self._new_buffer("nr_free", slots * orders),
            self._new_buffer("zone_start", slots),
            self._new_buffer("zone_end", slots),
            self._new_buffer("zonelist", wanted * (slots + 1)),
            self._new_buffer("deferred", len(deferred)),
            pages.frames,
            orders,
            slots,
            self.section_order,
        )
        self.ranges = engine.adopt(Ranges(core))
        self.core, self.lists = self.ranges.buddy, self.ranges.buddy.lists
        for zone in self.zones:
            for start, end in zone.holes:
                self.pages.allocator[start:end] = TAGS["offline"]
            self.buffers["zone_start"][zone.number] = zone.start
            self.buffers["zone_end"][zone.number] = zone.end
        self.buffers["zonelist"].view(np.int64)[:] = zonelists(self.zones, wanted, slots)
        self.buffers["deferred"].view(np.int64)[:] = deferred

    def _order_of(self, lst: int) -> int:
        # The order of the blocks on a list; of lists after those of the zones nothing is known.
        return lst % (self.max_order + 1) if lst < self._zone_lists else 0

    def _new_buffer(self, name: str, words: int) -> Buffer:
        if name in self.buffers:
            raise InvalidArgument(must("buffer name", f"other than {', '.join(self.buffers)}", repr(name)))
        self.buffers[name] = self.host.words(name, words)
        return self.engine.buffer(name, self.buffers[name])

    def free_list(
        self, order: int, *, zone: str | None = None, node: int = 0, migratetype: int | None = None
    ) -> list[int]:
        """Return the PFNs on the free lists of an order, head to tail; one type, or all types in turn. O(blocks)."""
        order = between("order", order, 0, self.max_order)
        index = self._zone_index(zone, node)
        types = range(TYPES) if migratetype is None else (between("migratetype", migratetype, 0, TYPES - 1),)
        pfns: list[int] = []
        for mt in types:
            pfns += self._walk((index << LANE_SHIFT | mt) * self.core.orders + order, zone, f"order {order}")
        return pfns

    def _walk(self, lst: int, zone: str | None, name: str) -> list[int]:
        pfns, pfn = list[int](), self.lists.first(lst)
        while pfn >= 0 and len(pfns) <= self.pages.frames:
            pfns.append(pfn)
            pfn = self.lists.next(lst, pfn)
        if pfn != -1:
            found = "a cycle" if pfn >= 0 else "a link outside the memory"
            raise CorruptionError("list", "one that ends at its head", found, zone=zone, list=name)
        return pfns

    @property
    def free_counts(self) -> npt.NDArray[np.int64]:
        """Free blocks per order 0..max_order over all zones, what /proc/buddyinfo shows; int64."""
        counts: npt.NDArray[np.int64] = self.free_counts_by_zone.sum(axis=0)
        return counts

    @property
    def free_counts_by_zone(self) -> npt.NDArray[np.int64]:
        """Free blocks, a row per zone in `zones` and a column per order; int64."""
        counts = self.buffers["nr_free"].view(np.int64).reshape(-1, self.core.orders)
        chosen: npt.NDArray[np.int64] = counts[[zone.number for zone in self.zones]]
        return chosen

    @property
    def free_frames(self) -> int:
        """Number of free frames, from the counts; deferred ones are not among them. O(zones x orders)."""
        return int(metrics.free_pages(self.free_counts))

    @property
    def deferred_frames(self) -> int:
        """Number of frames that are still to be handed over. O(zones + holes)."""
        return sum(end - start for zone in self.zones for start, end in self.deferred_ranges(zone))

    def deferred_ranges(self, zone: Zone) -> list[tuple[int, int]]:
        """Return the ranges of frames [start, end) of a zone that are still to be handed over, ascending."""
        table = self.buffers["deferred"].tolist()
        row, ranges = table[zone.number], list[tuple[int, int]]()
        while 0 < row < len(table) - 1 and table[row + 1]:
            ranges.append((table[row], table[row + 1]))
            row += 2
        return ranges

    @property
    def metadata_bytes(self) -> int:
        """Bytes of everything but the frames themselves: memmap, links, heads, counts.

        What a placement takes as it goes counts as far as it was ever taken.
        """
        untouched = getattr(self.lists, "untouched_bytes", lambda: 0)()
        return sum(words.nbytes for words in self.buffers.values()) - int(untouched)

    @property
    def merged_below(self) -> int:
        """The order below which no two free buddies are ever left apart."""
        return self.max_order

    def check(self) -> None:
        """Verify every invariant from the words, lists and counts; raises `CorruptionError`. O(frames)."""
        from structpage.check import check

        check(self)

    def _raise_if(self, status: int) -> None:
        if status == CORRUPT:
            raise corruption(self)

    def explain(self) -> str:
        """Return a picture of the state: blocks, words and lists; for small memories and lessons."""
        from structpage.display import explain

        return explain(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} of order {order}" for order, count in enumerate(self.free_counts) if count)
        waiting = f", {self.deferred_frames} deferred" if self.deferred_frames else ""
        return (
            f"<BuddyAllocator: {self.placement}, {self.pages.frames} frames, {self.free_frames} free{waiting}"
            f"{': ' + counts if counts else ''}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (zone.node, zone.name, *counts)
            for zone, counts in zip(self.zones, self.free_counts_by_zone.tolist(), strict=True)
        ]
        waiting = f", {self.deferred_frames} deferred" if self.deferred_frames else ""
        caption = f"BuddyAllocator: {self.placement}, {self.free_frames} of {self.pages.frames} frames free{waiting}"
        return html_table(caption, ("node", "zone", *range(self.core.orders)), rows)

    def _zone_index(self, name: str | None, node: int) -> int:
        here = [zone for zone in self.zones if zone.node == node]
        if name is None:
            if not here:
                raise UnknownName(must("node", f"one of {sorted({zone.node for zone in self.zones})}", node))
            return max(zone.number for zone in here)
        for zone in here:
            if zone.name == name:
                return zone.number
        known = ", ".join(f"{zone.name} of node {zone.node}" for zone in self.zones)
        raise UnknownName(must("zone", f"one of {known}", f"{name} of node {node}"))


def _memory_for(pages: PageArray, memory: FrameMemory | None, needed: bool) -> FrameMemory | None:
    if memory is None:
        return FrameMemory(pages.frames) if needed else None
    if memory.frames < pages.frames:
        raise InvalidArgument(must("memory", f"of at least {pages.frames} frames", f"{memory.frames} frames"))
    return memory
