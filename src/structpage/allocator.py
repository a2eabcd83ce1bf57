"""`BuddyAllocator`: the user's object over the core's buddy allocator.

It owns what the core does not know: names, errors, owners as objects, frame memory, consumers. Every
operation runs the core's own method on the engine's buffers; a status becomes an exception here and
nowhere else. Frames are counted in PFNs, sizes in orders, ranges as [start, end).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from structpage.arguments import a_pfn, a_range, an_int, at_least, between, named
from structpage.consumers import Consumer, made
from structpage.core.buddy import MERGE_LIKELY
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.core.words import DEFAULT_TYPE, LANE_SHIFT, TYPE_MASK, TYPE_NAMES, TYPES
from structpage.engines import Engine
from structpage.errors import InvalidArgument, InvalidFree, OutOfMemory, must
from structpage.frames import FrameMemory
from structpage.pages import PageArray
from structpage.refusal import why_no_block, why_not_allocated, why_not_free, why_not_reserved
from structpage.state import AllocatorState
from structpage.zones import Zone, last_of_nodes

if TYPE_CHECKING:
    from structpage.replay import Replay
    from structpage.request import Requests


class BuddyAllocator(AllocatorState):
    """A buddy allocator over a `PageArray`, with its free lists where `placement` puts them.

    Parameters: `pages`, a memmap or a number of frames; `placement`, a name, a class, an entry point or
    `module:Class`; `zones`, by default one zone Normal of all frames; `max_order`, the largest order
    (0-30, as the layout allows); `engine`, a name or an engine, by default compiled
    for long replays where numba is installed and plain for all else; `memory`, the frames' content, made when the
    placement or a consumer needs it; `stamp`, whether `"every"` frame of an allocation names its owner
    or its `"head"` alone; `start`, whether all frames begin `"free"`, `"deferred"` or `"reserved"`; `consumers`,
    what else has a claim on free pages, each a name, a class, or an object; `section_order`, log2 of the frames that
    are handed over at a time when they are deferred (15 on x86-64).

    Deferred frames are free memory that no list has yet, as with CONFIG_DEFERRED_STRUCT_PAGE_INIT: of the last zone
    of each node, all but the first section. An allocation for which the lists have no block hands over more; calls
    that name frames (`alloc_at`, `alloc_within`, `alloc_range`, `reserve`, `release`, `place`) refuse those that are
    deferred. Until then they cost nothing, whatever their number.

    Raises `LimitExceeded` beyond a stated limit of placement or layout, `UnknownName` for a name, `OutOfRange`
    and `InvalidArgument` for zones or sizes. Cost: O(frames / 2^max_order) for the frames that are handed over.
    """

    def __init__(
        self,
        pages: PageArray | int,
        placement: str | type = "side-table",
        *,
        zones: Iterable[Zone] | None = None,
        max_order: int = 10,
        engine: str | Engine | None = None,
        memory: FrameMemory | None = None,
        stamp: str = "every",
        start: str = "free",
        consumers: Sequence[str | type | Consumer] = (),
        section_order: int = 15,
    ) -> None:
        named("start", start, ("free", "reserved", "deferred"))
        self.consumers = tuple(made(consumer) for consumer in consumers)
        super().__init__(
            pages,
            placement,
            zones=zones,
            max_order=max_order,
            engine=engine,
            memory=memory,
            needs_memory=bool(consumers),
            stamp=stamp,
            deferred=start != "reserved",
            section_order=section_order,
        )
        for consumer in self.consumers:
            consumer.attach(self)
        self._before_free = [consumer.before_free for consumer in self.consumers]
        self._after_free = [consumer.after_free for consumer in self.consumers]
        self._after_alloc = [consumer.after_alloc for consumer in self.consumers]
        waiting = last_of_nodes(self.zones) if start == "deferred" else ()
        for zone in self.zones:
            self._grow(zone.number, 1 if zone in waiting else self.pages.frames)

    # Blocks

    def alloc(
        self,
        order: int = 0,
        *,
        migratetype: int = DEFAULT_TYPE,
        zone: str | None = None,
        node: int = 0,
        align_order: int = 0,
        owner: object = None,
    ) -> int:
        """Allocate a block of 2^order frames and return its PFN.

        `zone` is the highest zone that will do, by default the highest there is; lower ones and other nodes
        follow by distance. `migratetype` is the list; there is no fallback, and all memory starts as `DEFAULT_TYPE`,
        Movable. `align_order` aligns the block to more than its size. Raises `OutOfMemory`,
        `InvalidArgument`, `UnknownName`. O(max_order); with `align_order` above `order` O(blocks).
        """
        order = between("order", order, 0, self.max_order)
        align_order = between("align_order", align_order, 0, 62)
        migratetype = between("migratetype", migratetype, 0, TYPES - 1)
        wanted, reference = self._zone_index(zone, node), self.pages.owners.reference(owner)
        if align_order > order:
            self.engine.begin()
            return self._alloc_aligned(order, align_order, wanted, migratetype, reference)
        return self.alloc_from(wanted, order, migratetype, reference)

    def alloc_from(self, zone: int, order: int, migratetype: int = DEFAULT_TYPE, owner: int = 0) -> int:
        """Allocate a block as a replayed request does: the zone is a number, the owner a reference.

        Precondition: all are in range. Raises `OutOfMemory`. O(max_order).
        """
        self.engine.begin()
        pfn = self.core.alloc(order, migratetype, zone, owner)
        if pfn == NO_MEMORY:
            raise OutOfMemory(
                must("free memory", f"with a {TYPE_NAMES[migratetype]} block of order {order} or more", self._largest())
            )
        self._raise_if(pfn)
        return self._handed_out(pfn, order)

    def split(self, pfn: int, order: int) -> None:
        """Make the allocated block at `pfn` into blocks of `order`, of the same owner; raises `InvalidFree`."""
        order = between("order", order, 0, self.max_order)
        pfn = a_pfn(pfn, self.pages.frames)
        if self.ranges.split(pfn, order) == REFUSED:
            raise InvalidFree(why_not_allocated(self.pages, pfn, order))

    def free(self, pfn: int, order: int | None = None, *, migratetype: int | None = None) -> None:
        """Free the allocated block at `pfn`; with `order`, only if it is of that order.

        `migratetype` chooses the list, by default the type it was allocated for. Raises `OutOfRange`,
        `InvalidFree` for a frame that is free, a tail, reserved, or of another order. O(max_order).
        """
        pfn = a_pfn(pfn, self.pages.frames)
        if order is not None:
            order = between("order", order, 0, self.max_order)
        memmap = self.core.memmap
        size = memmap.order_of(pfn)
        if not memmap.is_allocated_head(pfn) or (order is not None and size != order):
            raise InvalidFree(why_not_allocated(self.pages, pfn, order))
        mt = memmap.lane_of(pfn) & TYPE_MASK
        if migratetype is not None:
            mt = between("migratetype", migratetype, 0, TYPES - 1)
        self.free_as(pfn, size, mt)

    def free_as(self, pfn: int, order: int, migratetype: int = DEFAULT_TYPE) -> None:
        """Free the block at `pfn` as a replayed request does: order and list are given.

        Precondition: all are in range. Raises `InvalidFree` for frames that are no allocated block of this order; the
        consumers have acted on them then. O(max_order).
        """
        self.engine.begin()
        for hook in self._before_free:
            hook(pfn, order)
        status = self.core.free(pfn, order, migratetype)
        if status:
            if status == REFUSED:
                raise InvalidFree(why_not_allocated(self.pages, pfn, order))
            self._raise_if(status)
        for hook in self._after_free:
            hook(pfn, order)

    # Chosen addresses

    def alloc_at(self, pfn: int, order: int = 0, *, owner: object = None) -> int:
        """Allocate exactly the block at `pfn`; raises `OutOfMemory` if a frame of it is not free. O(max_order)."""
        order = between("order", order, 0, self.max_order)
        pfn = a_pfn(pfn, self.pages.frames)
        if pfn % (1 << order):
            raise InvalidArgument(must("PFN", f"a multiple of {1 << order} for order {order}", pfn))
        return self.alloc_range(pfn, 1 << order, owner=owner)

    def alloc_within(self, start: int, end: int, order: int = 0, *, owner: object = None) -> int:
        """Allocate a block that lies wholly in [start, end); raises `OutOfMemory`. O(blocks in the range)."""
        order = between("order", order, 0, self.max_order)
        start, end = a_range(start, an_int("end", end) - an_int("start", start), self.pages.frames)
        pfn = self.ranges.find_block(start, end, order, order)
        if pfn < 0:
            raise OutOfMemory(why_no_block(self, start, end, order))
        return self.alloc_at(pfn, order, owner=owner)

    def alloc_range(self, start: int, count: int, *, owner: object = None) -> int:
        """Allocate exactly `count` frames from `start` on, any number, within a zone; free with `free_range`.

        They become the fewest aligned blocks. Raises `OutOfMemory` if one is not free. O(blocks in the range).
        """
        start, end = a_range(start, count, self.pages.frames)
        reference = self.pages.owners.reference(owner)
        self.engine.begin()
        status = self.ranges.alloc_range(start, end, DEFAULT_TYPE, reference)
        if status < 0 and status != CORRUPT:
            raise OutOfMemory(why_not_free(self, start, end))
        self._raise_if(status)
        pfn = start
        while pfn < end:
            order = self.core.memmap.order_of(pfn)
            self._handed_out(pfn, order)
            pfn += 1 << order
        return start

    def alloc_contig(self, count: int, *, owner: object = None) -> int:
        """Allocate `count` frames in a row, any number, at the lowest address; O(frames). Raises `OutOfMemory`."""
        count = at_least("count", count, 1)
        for zone in self.zones:
            pfn = self.ranges.find_run(zone.start, zone.end, count)
            while pfn < 0 and self._grow(zone.number, count):
                pfn = self.ranges.find_run(zone.start, zone.end, count)
            if pfn >= 0:
                return self.alloc_range(pfn, count, owner=owner)
        raise OutOfMemory(must("count", "at most the longest run of free frames", count))

    def free_range(self, start: int, count: int) -> None:
        """Free the allocated blocks that make up [start, end) exactly; raises `InvalidFree`. O(blocks)."""
        start, end = a_range(start, count, self.pages.frames)
        memmap, pfn, blocks = self.core.memmap, start, []
        while pfn < end and memmap.is_allocated_head(pfn):
            blocks.append((pfn, memmap.order_of(pfn)))
            pfn += 1 << memmap.order_of(pfn)
        if pfn != end:
            rule = "made up of allocated blocks"
            raise InvalidFree(must(f"range [{start}, {end})", rule, f"{self.pages[min(pfn, end - 1)]}"))
        for block, order in blocks:
            self.free(block, order)

    def reserve(self, start: int, count: int) -> None:
        """Take free frames out of the allocator, without an owner; raises `OutOfMemory` if one is not free."""
        start, end = a_range(start, count, self.pages.frames)
        status = self.ranges.reserve(start, end, DEFAULT_TYPE)
        if status < 0 and status != CORRUPT:
            raise OutOfMemory(why_not_free(self, start, end))
        self._raise_if(status)
        for pfn, order in self._chunks(start, end):
            self._handed_out(pfn, order)

    def release(self, start: int, count: int) -> None:
        """Put reserved frames back to the free memory; raises `InvalidFree` if one is not reserved. O(frames)."""
        start, end = a_range(start, count, self.pages.frames)
        if not self.ranges.is_reserved_range(start, end):
            raise InvalidFree(why_not_reserved(self, start, end))
        for pfn, order in self._chunks(start, end):
            for hook in self._before_free:
                hook(pfn, order)
        self._raise_if(self.core.hand_over(start, end, DEFAULT_TYPE, MERGE_LIKELY))
        for pfn, order in self._chunks(start, end):
            for hook in self._after_free:
                hook(pfn, order)

    def _chunks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            order = self.core.chunk(start, end)
            yield start, order
            start += 1 << order

    def _alloc_aligned(self, order: int, align: int, wanted: int, mt: int, reference: int) -> int:
        zonelist = self.buffers["zonelist"].view(np.int64)[wanted * (self.core.zones + 1) :].tolist()
        for index in zonelist[: zonelist.index(-1)]:
            start, end = self.core.zone_start[index], self.core.zone_end[index]
            pfn = self.ranges.find_block(start, end, order, align)
            while pfn < 0 and self._grow(index, 1 << align):
                pfn = self.ranges.find_block(start, end, order, align)
            if pfn >= 0:
                self._raise_if(self.ranges.take(pfn, order, mt))
                self.core.memmap.mark_allocated(pfn, order, index << LANE_SHIFT | mt, reference)
                return self._handed_out(pfn, order)
        raise OutOfMemory(must("align_order", f"one that a free block of order {order} has", align))

    def _handed_out(self, pfn: int, order: int) -> int:
        for hook in self._after_alloc:
            hook(pfn, order)
        return pfn

    # Memory and lists as they are

    def hand_over_deferred(self) -> None:
        """Hand over all frames that are deferred, ascending; O(those frames / 2^max_order)."""
        for zone in self.zones:
            self._grow(zone.number, self.pages.frames)

    def _grow(self, zone: int, count: int) -> bool:
        # Hand over at least `count` deferred frames of a zone, as far as there are; whether there were any.
        status = self.core.deferred_grow_zone(zone, count)
        self._raise_if(status)
        return status == 0

    def place(self, blocks: Iterable[tuple[int, int, int]]) -> None:
        """List blocks `(pfn, order, migratetype)` of reserved frames at the tails, in order, merging nothing.

        How recorded free lists are set up. Raises `OutOfRange`, `InvalidArgument` for a misaligned block and
        `InvalidFree` for frames that are not reserved; the blocks before the bad one stay.
        """
        for pfn, order, mt in blocks:
            order = between("order", order, 0, self.max_order)
            pfn, _ = a_range(pfn, 1 << order, self.pages.frames)
            mt = between("migratetype", mt, 0, TYPES - 1)
            if pfn % (1 << order):
                raise InvalidArgument(must("PFN", f"a multiple of {1 << order} for order {order}", pfn))
            if not self.ranges.is_reserved_range(pfn, pfn + (1 << order)):
                raise InvalidFree(why_not_reserved(self, pfn, pfn + (1 << order)))
            self.core.place(pfn, order, self.core.zone_at(pfn) << LANE_SHIFT | mt)

    # Replay, check, pictures

    def replay(self, requests: Requests, *, every: int = 0) -> Replay:
        """Run requests through the core's replay loop; see `structpage.replay.replay`."""
        from structpage.replay import replay

        return replay(self, requests, every=every)

    # Arguments and statuses

    def _largest(self) -> str:
        orders = np.flatnonzero(self.free_counts)
        return f"with none above order {orders[-1]}" if len(orders) else "exhausted"
