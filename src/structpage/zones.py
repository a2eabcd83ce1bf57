"""`Zone`: a run of frames of one node that blocks never merge out of.

Zone numbers within a node are those of the field `zid`: DMA 0, DMA32 1, Normal 2, HighMem 3, Movable 4,
Device 5 (Linux 6.1, include/linux/mmzone.h, `enum zone_type`, with everything configured).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.core.words import TWO_WORD, ZIDS
from structpage.errors import InvalidArgument, OutOfRange, UnknownName, must

ZONE_NAMES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
MAX_NODES = TWO_WORD.field("nid").max + 1


class Zone(NamedTuple):
    """Frames [start, end) of a node, less the holes, which are ranges of frames too."""

    name: str
    start: int
    end: int
    node: int = 0
    holes: tuple[tuple[int, int], ...] = ()

    @property
    def zid(self) -> int:
        """Its number within the node."""
        return ZONE_NAMES.index(self.name)

    @property
    def number(self) -> int:
        """Its number in the machine, as it stands in the words: `node * ZIDS + zid`."""
        return self.node * ZIDS + self.zid

    def present(self) -> list[tuple[int, int]]:
        """Return the ranges of frames that exist, ascending."""
        ranges, start = [], self.start
        for hole, after in sorted(self.holes):
            if hole > start:
                ranges.append((start, hole))
            start = max(start, after)
        if start < self.end:
            ranges.append((start, self.end))
        return ranges


def zone_name(index: int) -> str:
    """Return the name of the zone with this number in the machine."""
    zid = index % ZIDS
    return ZONE_NAMES[zid] if zid < len(ZONE_NAMES) else f"zid {zid}"


def validated(zones: Iterable[Zone] | None, frames: int) -> tuple[Zone, ...]:
    """Return the zones by number; one zone Normal of all frames where none are given.

    Raises `UnknownName`, `OutOfRange` or `InvalidArgument` for zones that are not of this memory, empty, twice
    the same, or overlapping.
    """
    chosen = (Zone("Normal", 0, frames),) if zones is None else tuple(Zone(*zone) for zone in zones)
    if not chosen:
        raise InvalidArgument(must("zones", "at least one", "none"))
    for zone in chosen:
        _validate(zone, frames)
    by_start = sorted(chosen, key=lambda zone: zone.start)
    for lower, upper in pairwise(by_start):
        if upper.start < lower.end:
            place = f"[{upper.start}, {upper.end})"
            raise InvalidArgument(
                must(f"zone {upper.name} of node {upper.node}", f"above {lower.name}'s end, {lower.end}", place)
            )
    by_index = sorted(chosen, key=lambda zone: zone.number)
    for one, other in pairwise(by_index):
        if one.number == other.number:
            raise InvalidArgument(must("zones", "different in name or node", f"{one.name} of node {one.node} twice"))
    return tuple(by_index)


def _validate(zone: Zone, frames: int) -> None:
    if zone.name not in ZONE_NAMES:
        raise UnknownName(must("zone name", f"one of {', '.join(ZONE_NAMES)}", repr(zone.name)))
    if not 0 <= zone.node < MAX_NODES:
        raise InvalidArgument(must("node", f"between 0 and {MAX_NODES - 1}", zone.node))
    if not 0 <= zone.start < zone.end:
        raise InvalidArgument(must(f"zone {zone.name}", "a non-empty range of frames", f"[{zone.start}, {zone.end})"))
    if zone.end > frames:
        raise OutOfRange(
            must(f"zone {zone.name}", f"within the {frames} frames of memory", f"[{zone.start}, {zone.end})")
        )
    for start, end in zone.holes:
        if not zone.start <= start < end <= zone.end:
            raise InvalidArgument(must(f"hole of zone {zone.name}", "a range of its frames", f"[{start}, {end})"))


def x86_64_zones(frames: int) -> tuple[Zone, ...]:
    """Return the zones that x86-64 cuts a memory without holes into: DMA to 16 MiB, DMA32 to 4 GiB, Normal."""
    bounds = (("DMA", 0, 1 << 12), ("DMA32", 1 << 12, 1 << 20), ("Normal", 1 << 20, frames))
    return tuple(Zone(name, start, min(end, frames)) for name, start, end in bounds if start < frames)


def node_orders(
    nodes: Collection[int], with_cpus: Collection[int], distance: Sequence[Sequence[int]] | None = None
) -> dict[int, list[int]]:
    """Return for each node, ascending, the nodes to try: itself, then the others by distance.

    `distance[a][b]` is as firmware tells it, 10 for a node itself; without it all others are at 20. Of nodes equally
    far, those without CPUs come first, then those that are first choice of fewer nodes so far, then the next one up.
    Followed: Linux 6.1 mm/page_alloc.c, `find_next_best_node` and `build_zonelists`.
    """
    load = dict.fromkeys(nodes, 0)
    orders: dict[int, list[int]] = {}
    for node in sorted(nodes):
        far = {other: 20 if distance is None else distance[node][other] for other in nodes}
        order, last = [node], distance[node][node] if distance is not None else 10
        left = sorted(set(nodes) - {node})
        while left:
            best = min(left, key=lambda other: (far[other] + (other < node) + (other in with_cpus), load[other], other))
            load[best] += far[best] != last
            last = far[best]
            left.remove(best)
            order.append(best)
        orders[node] = order
    return orders


def zonelists(
    zones: Sequence[Zone], wanted: int, slots: int, orders: Mapping[int, Sequence[int]] | None = None
) -> npt.NDArray[np.int64]:
    """Return for each of `wanted` zone numbers the zones to try, a row of `slots` + 1 each, ended by -1.

    The wanted node's zones from the wanted one down, then those of the other nodes, in the order of `orders`, or by
    the distance of their numbers (Linux 6.1, mm/page_alloc.c, `build_zonelists`).
    """
    table = np.full((wanted, slots + 1), -1, np.int64)
    for slot in range(wanted):
        node, highest = divmod(slot, ZIDS)
        place = {other: i for i, other in enumerate((orders or {}).get(node, ()))}
        usable = [zone for zone in zones if zone.zid <= highest]
        usable.sort(key=lambda zone: (place.get(zone.node, 0), abs(zone.node - node), zone.node, -zone.zid))
        table[slot, : len(usable)] = [zone.number for zone in usable]
    return table.ravel()


def deferred_table(zones: Sequence[Zone], slots: int) -> npt.NDArray[np.int64]:
    """Return the table of deferred ranges, as `core.buddy` tells it, with all frames of `zones` deferred."""
    places, rows = [0] * slots, list[int]()
    for zone in zones:
        present = zone.present()
        if present:
            places[zone.number] = slots + len(rows)
            rows += [pfn for part in (*present, (0, 0)) for pfn in part]
    return np.array(places + rows, np.int64)


def last_of_nodes(zones: Iterable[Zone]) -> set[Zone]:
    """Return the zone of each node that ends last: the only one that may have deferred frames."""
    return set({zone.node: zone for zone in sorted(zones, key=lambda zone: zone.end)}.values())
