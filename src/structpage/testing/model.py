"""The reference model: an allocator that is too simple to be wrong, and slow.

All it keeps is a set of free frames and a dict of allocated blocks; a frame in neither is reserved, or deferred. It
chooses nothing: asked where a call may put a block (`where_...`), it answers with the set of PFNs that are
right, and told what the allocator did (`alloc`, `free`, ...), it does the same or raises `ModelError`. To be asked for
what the free frames have no room for makes deferred frames free, as it does in the allocator.

Free blocks follow from free frames alone. Two free buddies of a zone always merge, at once, up to
`max_order`, so whatever the history was, the free blocks are the largest aligned ones that are free as a
whole: `free_blocks`. That an allocator's lists hold exactly these is the test that few mistakes survive.
"""

from __future__ import annotations

from collections.abc import Iterable

from structpage.errors import must
from structpage.zones import Zone, last_of_nodes, validated

Block = tuple[int, int]
"""PFN of the head, and order."""


class ModelError(AssertionError):
    """What was done is not possible in the state that the model is in."""


class Model:
    """Frames of a machine, each free, allocated, reserved or deferred; the parameters are those of `BuddyAllocator`.

    `free_set` holds the free PFNs, `blocks` maps the head of each allocated block to its order, and `deferred` each
    zone to the PFNs that it was not handed over yet.
    """

    def __init__(
        self,
        frames: int,
        zones: Iterable[Zone] | None = None,
        *,
        max_order: int = 10,
        start: str = "free",
        section_order: int = 15,
    ) -> None:
        self.frames, self.max_order = frames, max_order
        self.zones = validated(zones, frames)
        self.free_set: set[int] = set()
        self.blocks: dict[int, int] = {}
        self.section = 1 << section_order
        self.deferred: dict[Zone, list[int]] = {zone: [] for zone in self.zones}
        for zone in self.zones if start != "reserved" else ():
            self.deferred[zone] = [pfn for first, end in zone.present() for pfn in range(first, end)]
            self.grow(zone, 1 if start == "deferred" and zone in last_of_nodes(self.zones) else frames)

    # Asking

    def zone_of(self, pfn: int) -> Zone | None:
        """Return the zone that bounds a PFN."""
        return next((zone for zone in self.zones if zone.start <= pfn < zone.end), None)

    def is_free(self, start: int, end: int) -> bool:
        """Whether frames [start, end) are all free and of one zone."""
        return self._one_zone(start, end) and self.free_set.issuperset(range(start, end))

    def is_reserved(self, start: int, end: int) -> bool:
        """Whether frames [start, end) are all reserved and of one zone."""
        return self._one_zone(start, end) and self.reserved_set().issuperset(range(start, end))

    def _one_zone(self, start: int, end: int) -> bool:
        zone = self.zone_of(start)
        return zone is not None and end <= zone.end

    def reserved_set(self) -> set[int]:
        """Return the frames that are not free, deferred, allocated or in a hole; those of no zone are among them."""
        allocated = {pfn + i for pfn, order in self.blocks.items() for i in range(1 << order)}
        holes = {pfn for zone in self.zones for start, end in zone.holes for pfn in range(start, end)}
        return {*range(self.frames)} - self.free_set - self.deferred_set() - allocated - holes

    def deferred_set(self) -> set[int]:
        """Return the frames that were not handed over yet, of all zones."""
        return {pfn for waiting in self.deferred.values() for pfn in waiting}

    def free_blocks(self) -> set[Block]:
        """Return the free blocks that eager merging makes of the free frames."""
        merged: set[Block] = set()
        heads = set(self.free_set)
        for order in range(self.max_order + 1):
            pairs = {pfn for pfn in heads if self._merges(pfn, order, heads)}
            merged |= {(pfn, order) for pfn in heads if pfn & ~(1 << order) not in pairs}
            heads = pairs
        return merged

    def _merges(self, pfn: int, order: int, heads: set[int]) -> bool:
        buddy = pfn + (1 << order)
        aligned = pfn % (2 << order) == 0 and order < self.max_order
        return aligned and buddy in heads and self.zone_of(pfn) is self.zone_of(buddy)

    def free_blocks_of(self, zone: Zone) -> set[Block]:
        """Return the free blocks of one zone."""
        return {block for block in self.free_blocks() if self.zone_of(block[0]) == zone}

    def where_alloc(self, order: int, wanted: Zone | None = None, align_order: int = 0) -> set[int]:
        """Return the PFNs that an allocation may get: none when it must fail.

        The first zone of `wanted`'s zonelist that has a sufficient block serves it, from a smallest such
        block, at its lowest PFN; aligned to more than its size, at the lowest PFN of all. `wanted` is by
        default the highest of node 0.
        """
        for zone in self._zonelist(wanted):
            places = self._places(zone, order, align_order)
            while not places and self.grow(zone, 1 << max(order, align_order)):
                places = self._places(zone, order, align_order)
            if places:
                return places
        return set()

    def _places(self, zone: Zone, order: int, align_order: int) -> set[int]:
        blocks = self.free_blocks_of(zone)
        if align_order > order:
            return self._smallest(blocks, zone.start, zone.end, order, align_order)
        sizes = [size for _, size in blocks if size >= order]
        return {pfn for pfn, size in blocks if size == min(sizes, default=-1)}

    def _zonelist(self, wanted: Zone | None) -> list[Zone]:
        if wanted is None:
            wanted = max((zone for zone in self.zones if zone.node == 0), key=lambda zone: zone.zid)
        node, usable = wanted.node, [zone for zone in self.zones if zone.zid <= wanted.zid]
        return sorted(usable, key=lambda zone: (abs(zone.node - node), zone.node, -zone.zid))

    def where_within(self, start: int, end: int, order: int) -> set[int]:
        """Return the PFN that a block in [start, end) must get, the lowest of a smallest free block; or none."""
        return self._smallest(self.free_blocks(), start, end, order, order)

    def _smallest(self, blocks: set[Block], start: int, end: int, order: int, align: int) -> set[int]:
        step, size = 1 << max(order, align), 1 << order
        fits = [
            (held, pfn)
            for head, held in blocks
            for pfn in range(-(-max(head, start) // step) * step, min(head + (1 << held), end) - size + 1, step)
        ]
        return {min(fits)[1]} if fits else set()

    def where_contig(self, count: int) -> set[int]:
        """Return the PFN that `count` frames in a row must get, the lowest in the first zone; or none."""
        for zone in self.zones:
            asked = True
            while asked:
                for pfn in range(zone.start, zone.end - count + 1):
                    if self.is_free(pfn, pfn + count):
                        return {pfn}
                asked = self.grow(zone, count)
        return set()

    def chunks(self, start: int, end: int) -> list[Block]:
        """Return [start, end) as the fewest aligned blocks."""
        blocks = []
        while start < end:
            order = self.max_order
            while start % (1 << order) or start + (1 << order) > end:
                order -= 1
            blocks.append((start, order))
            start += 1 << order
        return blocks

    # Doing

    def grow(self, zone: Zone, count: int) -> bool:
        """Make deferred frames of a zone free, whole sections' worth of them, up to a section's end.

        As many as `count`, or all there are; returns whether there were any.
        """
        waiting, given, last = self.deferred[zone], 0, -1
        while waiting and (given < -(-count // self.section) * self.section or waiting[0] // self.section == last):
            last = waiting[0] // self.section
            self.free_set.add(waiting.pop(0))
            given += 1
        return given > 0

    def alloc(self, pfn: int, order: int) -> None:
        """Note that a block was allocated."""
        demand(pfn % (1 << order) == 0, f"PFN {pfn}", f"a multiple of {1 << order}")
        demand(self.is_free(pfn, pfn + (1 << order)), f"block of order {order} at PFN {pfn}", "free, in one zone")
        self.free_set.difference_update(range(pfn, pfn + (1 << order)))
        self.blocks[pfn] = order

    def free(self, pfn: int, order: int | None = None) -> None:
        """Note that a block was freed."""
        held = self.blocks.get(pfn)
        demand(held is not None and order in (None, held), f"PFN {pfn}", "the head of an allocated block")
        self.free_set.update(range(pfn, pfn + (1 << self.blocks.pop(pfn))))

    def alloc_range(self, start: int, end: int) -> None:
        """Note that frames [start, end) were allocated, as the fewest blocks."""
        for pfn, order in self.chunks(start, end):
            self.alloc(pfn, order)

    def blocks_in(self, start: int, end: int) -> list[Block]:
        """Return the allocated blocks that make up [start, end) exactly; empty when they do not."""
        blocks = []
        while start < end and start in self.blocks:
            blocks.append((start, self.blocks[start]))
            start += 1 << self.blocks[start]
        return blocks if start == end else []

    def free_range(self, start: int, end: int) -> None:
        """Note that the blocks that make up [start, end) were freed."""
        blocks = self.blocks_in(start, end)
        demand(bool(blocks), f"range [{start}, {end})", "made up of allocated blocks")
        for pfn, _ in blocks:
            self.free(pfn)

    def reserve(self, start: int, end: int) -> None:
        """Note that free frames were taken out."""
        demand(self.is_free(start, end), f"range [{start}, {end})", "free, in one zone")
        self.free_set.difference_update(range(start, end))

    def release(self, start: int, end: int) -> None:
        """Note that reserved frames were put back."""
        demand(self.is_reserved(start, end), f"range [{start}, {end})", "reserved, in one zone")
        self.free_set.update(range(start, end))


def demand(kept: bool, subject: str, rule: object, found: object = "otherwise") -> None:
    """Raise `ModelError` unless a rule was kept."""
    if not kept:
        raise ModelError(must(subject, str(rule), found))
