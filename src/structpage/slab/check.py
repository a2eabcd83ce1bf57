"""What `check()` verifies of the slab layer: records against words, lists against records, objects against all.

The lists of nodes and CPUs are walked, every free list is walked through the objects, and each record, each object and
each frame of a slab must be accounted for once. Of a cache that is debugged, objects that a repair took off a broken
free list are nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from structpage.core.slab.rows import (
    CACHE,
    CPU_PARTIAL,
    CPU_ROW,
    FIRST,
    HIGHEST,
    LAST,
    NEXT,
    NODE,
    NODE_ROW,
    NR_SLABS,
    OBJECTS,
    PREV,
    RECORD_ROW,
    SLAB_KIND,
    TOTAL_OBJECTS,
    UNUSED,
    WAITING,
)
from structpage.core.words import LANE_SHIFT, TAGS, ZIDS
from structpage.errors import CorruptionError
from structpage.slab.views import SlabView, unsigned_address

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache
    from structpage.slab.layer import SlabLayer


class Place(NamedTuple):
    """Where slabs are looked for: a list of a cache."""

    cache: str
    list: str

    def broken(self, field: str, expected: object, found: object, pfn: int | None = None) -> CorruptionError:
        """Return the error for a field of a slab's record."""
        return CorruptionError(field, expected, found, list=f"cache {self.cache}, {self.list}", pfn=pfn)


Held = dict[int, tuple[Place, list[int]]]
"""Slab to the list or CPU that has it, and the addresses on the CPU's own free list."""


def check_layer(layer: SlabLayer) -> None:
    """Verify every invariant of the slab layer; raises `CorruptionError`. O(frames + objects)."""
    records = layer.records().tolist()
    _check_unused(layer, records)
    held: Held = {}
    for cache in layer.caches.values():
        for node in range(layer.store.nodes):
            _check_node(layer, cache, node, held)
        for cpu in range(layer.cpus):
            _check_cpu(layer, cache, cpu, held)
    seen: dict[int, set[int]] = {number: set() for number in layer.caches}
    for number in records:
        slab = SlabView(layer.store, number)
        _check_words(layer, slab)
        cache = layer.caches[slab.cache]
        place, own = held.get(number, (Place(cache.name, "no list"), []))
        if number not in held and (slab.is_listed() or (slab.frozen and not cache.geometry.debug)):
            raise place.broken("list membership", "a node's or a CPU's", "none", slab.pfn)
        seen[slab.cache] |= _check_objects(cache, slab, place, own)
    for cache in layer.caches.values():
        for address in sorted(cache.live - seen[cache.number])[:1]:
            raise CorruptionError(f"object {address:#x} of cache {cache.name}", "in a slab of it", "in none")
    _check_frames(layer, records)


def _check_unused(layer: SlabLayer, records: list[int]) -> None:
    highest, record = layer.store.records[HIGHEST], layer.store.record
    unused: dict[int, None] = {}
    number = layer.store.records[UNUSED]
    while number:
        if not 0 < number <= highest or number in unused or record[number * RECORD_ROW + OBJECTS]:
            raise CorruptionError("unused records", f"different ones of 1 to {highest}", number)
        unused[number] = None
        number = record[number * RECORD_ROW + NEXT]
    if len(unused) + len(records) != highest:
        raise CorruptionError("unused records", highest - len(records), len(unused))
    for number in records:
        if SlabView(layer.store, number).cache not in layer.caches:
            raise CorruptionError(f"cache of slab {number}", "one that exists", SlabView(layer.store, number).cache)


def _check_node(layer: SlabLayer, cache: SlabCache, node: int, held: Held) -> None:
    store, place = layer.store, Place(cache.name, f"partial slabs of node {node}")
    row = (cache.number * store.nodes + node) * NODE_ROW
    before = 0
    for number in layer.partial(cache.number, node):
        slab = _take(layer, cache, number, place, held)
        if not slab.is_listed():
            raise place.broken("slab", "not frozen, with a free object", repr(slab), slab.pfn)
        if slab.node != node:
            raise place.broken("node", node, slab.node, slab.pfn)
        if store.record[number * RECORD_ROW + PREV] != before:
            raise place.broken("prev", before, store.record[number * RECORD_ROW + PREV], slab.pfn)
        before = number
    listed = [number for number, (where, _) in held.items() if where == place]
    for field, expected, found in (
        ("last", before, store.node[row + LAST]),
        ("first", listed[0] if listed else 0, store.node[row + FIRST]),
        ("nr_partial", len(listed), layer.nr_partial(cache.number, node)),
    ):
        if found != expected:
            raise place.broken(field, expected, found)
    rows = layer.words("slabs")[: (store.records[HIGHEST] + 1) * RECORD_ROW].reshape(-1, RECORD_ROW)
    mine = rows[(rows[:, CACHE] == cache.number) & (rows[:, NODE] == node) & (rows[:, OBJECTS] > 0), OBJECTS]
    for field, expected, at in (("nr_slabs", len(mine), NR_SLABS), ("total_objects", int(mine.sum()), TOTAL_OBJECTS)):
        if store.node[row + at] != expected:
            raise CorruptionError(f"{field} of cache {cache.name} on node {node}", expected, store.node[row + at])


def _check_cpu(layer: SlabLayer, cache: SlabCache, cpu: int, held: Held) -> None:
    store = layer.store
    number, first, waiting = layer.cpu_state(cache.number, cpu)
    place = Place(cache.name, f"slab of CPU {cpu}")
    if number:
        slab = _take(layer, cache, number, place, held)
        held[number] = place, slab.free_objects(unsigned_address(first)) if first else []
        if not slab.frozen:
            raise place.broken("frozen", 1, slab.frozen, slab.pfn)
    elif first:
        raise place.broken("free list of a CPU without a slab", 0, f"{unsigned_address(first):#x}")
    place = Place(cache.name, f"partial slabs of CPU {cpu}")
    head = layer.slub.cpu[(cache.number * layer.cpus + cpu) * CPU_ROW + CPU_PARTIAL]
    if head and not waiting:
        raise place.broken("first", "a record", head)
    for left, number in zip(range(len(waiting), 0, -1), waiting, strict=True):
        slab = _take(layer, cache, number, place, held)
        if not slab.frozen or slab.freelist == 0:
            raise place.broken("slab", "frozen, with a free object", repr(slab), slab.pfn)
        if number == head and store.record[number * RECORD_ROW + WAITING] != left:
            raise place.broken("slabs", left, store.record[number * RECORD_ROW + WAITING], slab.pfn)


def _take(layer: SlabLayer, cache: SlabCache, number: int, place: Place, held: Held) -> SlabView:
    # A slab that is on a list: in use, of this cache, and on no list before.
    slab = SlabView(layer.store, number)
    if not 0 < number <= layer.store.records[HIGHEST] or slab.objects == 0:
        raise place.broken("slab", "one that is in use", number)
    if slab.cache != cache.number:
        raise place.broken("cache", cache.number, slab.cache, slab.pfn)
    if number in held:
        raise place.broken("list membership", "one list, once", f"also {held[number][0].list}", slab.pfn)
    held[number] = place, []
    return slab


def _check_words(layer: SlabLayer, slab: SlabView) -> None:
    """The head's word says slab and cache; owner references of head and tails, where they are stamped, the record."""
    memmap, pages, pfn = layer.store.buddy.memmap, layer.allocator.pages, slab.pfn
    if not memmap.is_slab_head(pfn):
        raise CorruptionError("state", f"that of slab {slab.number}", pages.state(pfn), pfn=pfn)
    fields = pages.layout.unpack(pages[pfn].words)
    expected = {"order": slab.order, "nid": slab.node, "owner_kind": SLAB_KIND, "owner": slab.number}
    if pages.layout.words > 1:
        expected["cache"] = slab.cache
    for name, value in expected.items():
        if fields[name] != value:
            raise CorruptionError(name, value, fields[name], pfn=pfn)
    if slab.node != (memmap.lane_of(pfn) >> LANE_SHIFT) // ZIDS:
        raise CorruptionError("node", slab.node, (memmap.lane_of(pfn) >> LANE_SHIFT) // ZIDS, pfn=pfn)
    for frame in range(pfn, pfn + (1 << slab.order)):
        if layer.store.record_of(frame) != slab.number:
            raise CorruptionError("slab", slab.number, layer.store.record_of(frame), pfn=frame)


def _check_objects(cache: SlabCache, slab: SlabView, place: Place, own: list[int]) -> set[int]:
    """Free objects are objects, each on one list, once, as many as are counted, and none in use; the slab's own."""
    free = slab.free_objects() if slab.freelist else []
    seen: set[int] = set()
    for address in [*own, *free]:
        if not slab.is_object(address):
            raise place.broken("free list", "objects of the slab", f"{address:#x}", slab.pfn)
        if address in seen:
            raise place.broken("free list", "each object once", f"{address:#x} twice", slab.pfn)
        if address in cache.live:
            raise place.broken("free list", "without objects in use", f"{address:#x}", slab.pfn)
        seen.add(address)
    if len(free) != slab.objects - slab.inuse:
        raise place.broken("inuse", slab.objects - len(free), slab.inuse, slab.pfn)
    size, first = cache.geometry.size, slab.first_object
    objects = set(range(first, first + slab.objects * size, size))
    lost = objects - seen - cache.live
    if lost and not cache.geometry.debug:
        raise place.broken("free list", "all objects that are free", f"{min(lost):#x} missing", slab.pfn)
    return objects


def _check_frames(layer: SlabLayer, records: list[int]) -> None:
    heads = {SlabView(layer.store, number).pfn for number in records}
    for pfn in np.flatnonzero(layer.allocator.pages.tag == TAGS["slab"]).tolist():
        if pfn not in heads:
            raise CorruptionError("state", "slab of a record that is in use", "of none", pfn=pfn)
