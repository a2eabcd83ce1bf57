"""`check()`: walks everything and trusts nothing.

The words are read as arrays, every list is walked both ways, the counts are recounted, and all of them
are held against each other. The first thing wrong is raised as a `CorruptionError` that says zone, list,
PFN, field, expected and found. Lists are bounded by the number of frames, so a cycle ends the walk.
What a machine has more than free lists is held against them in `structpage.machine.check`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.core.words import LANE_SHIFT, TAGS, TYPE_MASK, TYPE_NAMES, ZIDS
from structpage.errors import CorruptionError
from structpage.zones import zone_name

if TYPE_CHECKING:
    from structpage.state import AllocatorState

Tags = npt.NDArray[np.uint8]
Pfns = npt.NDArray[np.int64]
STEP = 1 << 20
"""Frames whose tags are looked at together."""
Listed = dict[int, tuple[int, int, int]]
"""PFN of a listed block to the zone, order and type of its list."""
STATES = {"free": "is_free_head", "pcp": "is_pcp_head"}
"""States of blocks that are on lists, and what of the memmap tells them."""


def list_name(index: int, orders: int) -> str:
    """Return the readable name of a list number: order and type."""
    mt = index // orders & TYPE_MASK
    return f"order {index % orders} {TYPE_NAMES[mt] if mt < len(TYPE_NAMES) else f'type {mt}'}"


def zone_title(zone: int) -> str:
    """Return the readable name of a zone number: name and node."""
    return f"{zone_name(zone)} of node {zone // ZIDS}"


def check(buddy: AllocatorState) -> Listed:
    """Verify every invariant of an allocator, and return the free blocks; raises `CorruptionError`.

    O(frames + blocks).
    """
    tags = buddy.pages.tag
    _check_tags(tags)
    _check_deferred(buddy, tags)
    listed: Listed = {}
    for index in range((buddy.core.zones << LANE_SHIFT) * buddy.core.orders):
        _check_list(buddy, index, listed)
    _check_listed(buddy, *buddy.pages.free_heads(), listed)
    _check_counts(buddy, listed)
    _check_blocks(buddy, tags)
    _check_merged(buddy, listed)
    for consumer in buddy.consumers:
        consumer.check()
    if buddy.slabs is not None:
        buddy.slabs.check()
    return listed


def _check_tags(tags: Tags) -> None:
    known = [*TAGS.values(), TAGS["free"] | 2]
    for pfn in _where(tags, known, invert=True)[:1].tolist():
        raise CorruptionError("tag", f"one of {sorted(known)}", int(tags[pfn]), pfn=pfn)


def _where(tags: Tags, wanted: list[int], *, invert: bool = False) -> Pfns:
    # The frames whose tag is wanted, or with `invert` is not; part by part, for a terabyte has many.
    parts = range(0, len(tags), STEP)
    return np.concatenate([np.flatnonzero(np.isin(tags[at : at + STEP], wanted, invert=invert)) + at for at in parts])


def _check_deferred(buddy: AllocatorState, tags: Tags) -> None:
    """What a zone was not handed over is all that exists of it from some frame on, and its words are zeros."""
    for zone in buddy.zones:
        ranges = buddy.deferred_ranges(zone)
        if not ranges:
            continue
        first = ranges[0][0]
        expected = [(max(start, first), end) for start, end in zone.present() if end > first]
        if ranges != expected:
            raise CorruptionError("deferred", expected, ranges, zone=zone_title(zone.number))
        for start, end in ranges:
            for at in np.flatnonzero(tags[start:end])[:1]:
                pfn = start + int(at)
                raise CorruptionError(
                    "state", "reserved while deferred", buddy.pages.state(pfn), zone=zone_title(zone.number), pfn=pfn
                )


class Place(NamedTuple):
    """Where in the lists something is wrong."""

    zone: str
    list: str

    def broken(self, field: str, expected: object, found: object, pfn: int | None) -> CorruptionError:
        """Return the error for a field of the block at `pfn`."""
        return CorruptionError(field, expected, found, zone=self.zone, list=self.list, pfn=pfn)


def _check_list(buddy: AllocatorState, index: int, listed: Listed) -> None:
    lane, order = divmod(index, buddy.core.orders)
    zone, mt = lane >> LANE_SHIFT, lane & TYPE_MASK
    place = Place(zone_title(zone), list_name(index, buddy.core.orders))
    for pfn in walk(buddy, index, place, "free", order, listed):
        listed[pfn] = (zone, order, mt)
        _check_fields(buddy, pfn, zone, mt, place)


def walk(buddy: AllocatorState, index: int, place: Place, state: str, order: int, listed: Collection[int]) -> list[int]:
    """Return the PFNs on a list, head to tail, whose blocks are all in a state, of an order, and on no list before.

    Its links back are walked too, where the placement has any.
    """
    lists, at_head = buddy.lists, getattr(buddy.core.memmap, STATES[state])
    walked: dict[int, None] = {}
    pfn = lists.first(index)
    while pfn != -1:
        if not 0 <= pfn < buddy.pages.frames:
            last = next(reversed(walked), None)
            raise place.broken("next", "a frame or a list head", _raw(pfn), last)
        if not at_head(pfn):
            raise place.broken("state", state, buddy.pages.state(pfn), pfn)
        if buddy.core.memmap.order_of(pfn) != order:
            raise place.broken("order", order, buddy.core.memmap.order_of(pfn), pfn)
        if pfn in listed or pfn in walked:
            raise place.broken("list membership", "one list, once", "a second time", pfn)
        walked[pfn] = None
        pfn = lists.next(index, pfn)
    pfns = list(walked)
    if hasattr(lists, "prev") and hasattr(lists, "last"):
        _check_backwards(buddy, index, pfns, place)
    return pfns


def _raw(status: int) -> str:
    return "a link outside the memory" if status < 0 else str(status)


def _check_fields(buddy: AllocatorState, pfn: int, zone: int, mt: int, place: Place) -> None:
    check_zone(buddy, pfn, zone, place)
    if buddy.pages.layout.words == 2 and buddy.pages[pfn].migratetype != mt:
        raise place.broken("migratetype", mt, buddy.pages[pfn].migratetype, pfn)


def check_zone(buddy: AllocatorState, pfn: int, zone: int, place: Place) -> None:
    """Verify that a listed block lies in the zone of its list, and that its word says so."""
    core = buddy.core
    if not core.zone_start[zone] <= pfn < core.zone_end[zone]:
        found = core.zone_at(pfn)
        raise place.broken("zone", place.zone, zone_name(found) if found >= 0 else "none", pfn)
    if buddy.pages.layout.words == 2:
        page = buddy.pages[pfn]
        word_zone = (page.node or 0) * ZIDS + buddy.pages.layout.field("zid").get(page.words[0])
        if word_zone != zone:
            raise place.broken("zone", place.zone, f"{page.zone} of node {page.node}", pfn)


def _check_backwards(buddy: AllocatorState, index: int, walked: list[int], place: Place) -> None:
    pfn, after = buddy.lists.last(index), None
    for expected in reversed(walked):
        if pfn != expected:
            raise place.broken("prev", expected, _raw(pfn), after)
        after, pfn = pfn, buddy.lists.prev(index, pfn)
    if pfn != -1:
        raise place.broken("prev", "the list's head", _raw(pfn), pfn if after is None else after)


def _check_listed(buddy: AllocatorState, heads: Pfns, orders: npt.NDArray[np.int16], listed: Listed) -> None:
    for pfn, order in zip(heads.tolist(), orders.tolist(), strict=True):
        if pfn not in listed:
            zone = buddy.core.zone_at(pfn)
            name = zone_title(zone) if zone >= 0 else "none"
            raise CorruptionError("list membership", "one list", "none", zone=name, list=f"order {order}", pfn=pfn)


def _check_counts(buddy: AllocatorState, listed: Listed) -> None:
    orders = buddy.core.orders
    counted = [0] * (buddy.core.zones * orders)
    for zone, order, _ in listed.values():
        counted[zone * orders + order] += 1
    for index, found in enumerate(buddy.buffers["nr_free"].view(np.int64).tolist()):
        if found != counted[index]:
            name = zone_title(index // orders)
            raise CorruptionError("nr_free", counted[index], found, zone=name, list=f"order {index % orders}")


def _blocks(buddy: AllocatorState, tags: Tags) -> tuple[Pfns, Pfns]:
    heads = _where(tags, [TAGS[state] for state in ("allocated", "pcp", "slab", "free")] + [TAGS["free"] | 2])
    return heads, buddy.pages.layout.field("order").get(buddy.pages.allocator[heads]).astype(np.int64)


def _check_blocks(buddy: AllocatorState, tags: Tags) -> None:
    """Blocks are aligned, within their zone, and do not overlap; tails say their head's facts."""
    heads, orders = _blocks(buddy, tags)
    sizes = np.int64(1) << orders
    for pfn, order in _first(heads, orders, (heads & (sizes - 1)) != 0):
        raise CorruptionError("order", f"one that PFN {pfn} is aligned to", order, pfn=pfn)
    for pfn, order in _first(heads, orders, (heads + sizes) > buddy.pages.frames):
        raise CorruptionError("order", "one that ends within the memory", order, pfn=pfn)
    overlap = np.zeros(len(heads), np.bool_)
    overlap[1:] = heads[1:] < np.maximum.accumulate((heads + sizes)[:-1]) if len(heads) else False
    for pfn, _ in _first(heads, orders, overlap):
        outer = int(heads[np.flatnonzero(heads + sizes > pfn)[0]])
        expected = f"that of a frame inside the block at PFN {outer}"
        raise CorruptionError("state", expected, buddy.pages.state(pfn), pfn=pfn)
    for pfn, order in zip(heads.tolist(), orders.tolist(), strict=True):
        zone = buddy.core.zone_at(pfn)
        if zone < 0 or pfn + (1 << order) > buddy.core.zone_end[zone]:
            raise CorruptionError("order", "one that ends within the zone", order, zone=zone_name(zone), pfn=pfn)
    _check_tails(buddy, tags, heads, sizes)


def _first(heads: Pfns, orders: Pfns, bad: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    for index in np.flatnonzero(bad)[:1]:
        yield int(heads[index]), int(orders[index])


def _check_tails(buddy: AllocatorState, tags: Tags, heads: Pfns, sizes: Pfns) -> None:
    tails = _where(tags, [TAGS["tail"]])
    if not len(tails):
        return
    index = np.searchsorted(heads, tails, side="right") - 1
    inside = (index >= 0) & (tails < heads[index] + sizes[index])
    owned = inside & (tags[heads[index]] & 1 == 0)
    for tail in tails[~owned][:1]:
        raise CorruptionError("state", "a tail only inside an allocated block", "a tail of nobody", pfn=int(tail))
    words, layout = buddy.pages.allocator, buddy.pages.layout
    fields = [layout.field(name, "tail") for name in ("order", "migratetype", "zid", "nid")]
    for field in fields:
        of_head = field.get(words[heads[index]])
        for tail, expected in _first(tails, of_head.astype(np.int64), field.get(words[tails]) != of_head):
            raise CorruptionError(field.name, expected, int(field.get(words[tail])), pfn=tail)
    if layout.words == 2:
        named = layout.field("head").get(words[tails]).astype(np.int64)
        for tail, expected in _first(tails, heads[index], named != heads[index]):
            raise CorruptionError("head", expected, int(layout.field("head").get(words[tail])), pfn=tail)
    owner, of_head = _owners(buddy, tails), _owners(buddy, heads[index])
    for at in np.flatnonzero(owner != of_head)[:1]:
        raise CorruptionError("owner", int(of_head[at]), int(owner[at]), pfn=int(tails[at]))


def _owners(buddy: AllocatorState, pfns: Pfns) -> npt.NDArray[np.uint64]:
    # The owner references, kind and owner, of allocated heads and tails.
    layout, words = buddy.pages.layout, buddy.pages.words
    kind, owner = layout.field("owner_kind"), layout.field("owner")
    references: npt.NDArray[np.uint64] = words[kind.word :: layout.words][pfns] & np.uint64(kind.mask | owner.mask)
    return references >> np.uint64(kind.shift)


def _check_merged(buddy: AllocatorState, listed: Listed) -> None:
    for pfn, (zone, order, mt) in listed.items():
        other = listed.get(pfn ^ (1 << order))
        if order < buddy.merged_below and other is not None and other[:2] == (zone, order):
            list_ = list_name(mt * buddy.core.orders + order, buddy.core.orders)
            name = zone_title(zone)
            found = f"both it and PFN {pfn ^ (1 << order)} free"
            raise CorruptionError("buddy", "merged when both are free", found, zone=name, list=list_, pfn=pfn)
