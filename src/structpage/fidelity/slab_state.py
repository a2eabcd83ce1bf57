"""The slab caches of a recorded kernel, made again: geometry, free lists in their order, what CPUs and nodes have.

A capture of slabs has `slab_before.json` and `slab_after.json`: a list of caches, each with the fields of its
`struct kmem_cache`, and of its slabs those that have a free object: each with its PFN and the numbers of its free
objects, in order. Full slabs are on no list of the kernel, so they are counted only (`nr_slabs`): they are made, and
which of them is which recorded PFN is found when an object of that page is freed.

A *delta* is what to add to a recorded pointer to get the address of the same object here: one for each recorded page,
as here a slab lies on other page frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from structpage.core.slab.rows import (
    CACHE_ROW,
    CPU_FREELIST,
    CPU_ROW,
    CPU_SLAB,
    FALLBACKS,
    FREELIST,
    FROZEN,
    INUSE,
    MADE,
    NULL,
    PREFERRED,
    RECORD_ROW,
)
from structpage.core.slab.script import GFP_KERNEL
from structpage.errors import StructPageError, TraceError, must
from structpage.machine import Machine
from structpage.slab.addresses import address_of
from structpage.slab.cache import SlabCache
from structpage.slab.flags import DEBUG, SlabFlags
from structpage.slab.layer import Allocator, SlabLayer, layer_of, settled
from structpage.slab.order import objects_in
from structpage.slab.shape import Geometry, geometry, kmalloc_align
from structpage.slab.views import SlabView, signed_address
from structpage.traces.capture import has_file, read_any_json
from structpage.traces.slab_requests import SlabRequests, sizes_of

Recorded = list[dict[str, Any]]
_FLAGS = sum(SlabFlags)


class Placed(NamedTuple):
    """Caches on an allocator, and where their slabs were recorded."""

    layer: SlabLayer
    caches: dict[str, SlabCache]
    deltas: dict[int, int]
    """By page of a recorded slab, as address >> 12."""
    full: dict[str, list[int]]
    """Full slabs of each cache, of which it is not known yet where they were recorded."""
    as_recorded: bool
    """Whether the caches began as the kernel's did, so that their objects can be compared."""


def slab_states(folder: str | os.PathLike[str]) -> tuple[Recorded, Recorded] | None:
    """Return the slab caches of a capture's kernel before and after the trace; `None` if it has no such files.

    Raises:
        TraceError: one of the two files is missing, or it is not a list of caches.

    """
    path = Path(folder)
    if not has_file(path, "slab_before.json"):
        return None
    return read_slabs(path, "before"), read_slabs(path, "after")


def read_slabs(path: Path, when: str) -> Recorded:
    """Return the slab caches of a capture's kernel, `"before"` or `"after"` the trace; raises as `slab_states`."""
    found = read_any_json(path, f"slab_{when}.json")
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in found
    ):
        raise TraceError(
            must(f"file {path.name}/slab_{when}.json", "a list of caches with names", type(found).__name__)
        )
    return found


def pages_of(recorded: Recorded) -> int:
    """Return how many page frames the slabs of recorded caches have at most.

    Raises:
        TraceError: a cache lacks something, or is debugged.

    """
    with _told():
        return sum(node["nr_slabs"] << _geometry(cache).order for cache in recorded for node in cache["node"])


@contextmanager
def _told() -> Iterator[None]:
    # What is raised where something recorded is not as expected becomes a TraceError.
    try:
        yield
    except StructPageError:
        raise
    except (KeyError, TypeError, IndexError, ValueError) as error:
        rule = "caches with geometry, CPUs and nodes"
        raise TraceError(must("state of the slab caches", rule, f"{type(error).__name__} {error}")) from error


def place_caches(recorded: Recorded, allocator: Allocator, cpus: int) -> Placed:
    """Make the caches of a recorded kernel on an allocator that has none, oldest first, with all their slabs.

    Raises:
        TraceError: a cache lacks something, or is debugged.
        OutOfMemory: the allocator's memory does not hold the slabs.

    Cost: O(objects).

    """
    placed = Placed(_layer(allocator, cpus), {}, {}, {}, True)
    with _told():
        for cache in reversed(recorded):
            _place_cache(cache, allocator, placed)
    return placed


def _layer(allocator: Allocator, cpus: int) -> SlabLayer:
    # A machine may have more CPUs than are needed.
    enough = isinstance(allocator, Machine) and allocator.cpus >= cpus
    return layer_of(allocator, *settled(allocator, None if enough else cpus, None))


def _place_cache(recorded: dict[str, Any], allocator: Allocator, placed: Placed) -> None:
    name = recorded["name"]
    shape = _geometry(recorded)
    sequence = [offset // shape.size for offset in recorded.get("random_seq") or ()]
    secret = recorded.get("random")
    cache = SlabCache(
        allocator,
        name,
        shape,
        hardened=False if secret is None else secret,
        random=sequence if len(sequence) > 1 else None,
    )
    placed.caches[name] = cache
    maker = _Maker(cache, placed.deltas)
    for cpu in recorded["cpu"]:
        maker.fill_cpu(cpu)
    for node in recorded["node"]:
        for slab in node["partial"]:
            number = maker.slab(slab, node["node"])
            cache.layer.store.add_partial(number, 1)
    placed.full[name] = [number for node in recorded["node"] for number in maker.fill_node(node)]
    row = cache.layer.words("slab caches")[cache.number * CACHE_ROW :]
    row[[MADE, FALLBACKS]] = 0


def _geometry(recorded: dict[str, Any]) -> Geometry:
    flags = SlabFlags(recorded["flags"] & _FLAGS)
    if flags & DEBUG:
        raise TraceError(
            must(f"cache {recorded['name']}", "one that is not debugged", f"one with flags {flags & DEBUG:#x}")
        )
    numbers = {
        name: recorded[name]
        for name in (
            *("object_size", "align", "inuse", "offset", "size", "order", "objects", "min_order"),
            *("min_partial", "cpu_partial", "cpu_partial_slabs"),
        )
    }
    least = objects_in(recorded["min_order"], recorded["size"])
    return Geometry(**numbers, flags=flags, red_left_pad=0, min_objects=least)


class _Maker:
    """Makes the slabs of one cache; `slabs` and `objects` are how many there are on each node."""

    def __init__(self, cache: SlabCache, deltas: dict[int, int]) -> None:
        self.cache, self.deltas = cache, deltas
        self.store = cache.layer.store
        self.slabs: dict[int, int] = {}
        self.objects: dict[int, int] = {}

    def fill_cpu(self, recorded: dict[str, Any]) -> None:
        """Give a CPU its slab, its free list, and its partial list."""
        cache, slub = self.cache, self.cache.layer.slub
        at = (cache.number * cache.layer.cpus + recorded["cpu"]) * CPU_ROW
        node = cache.layer.cpu_node(recorded["cpu"])
        for slab in reversed(recorded["partial"]):
            number = self.slab(slab, slab.get("node", node))
            self.store.record[number * RECORD_ROW + FROZEN] = 1
            slub.wait(at, number)
        mine = recorded.get("slab")
        if mine:
            number = self.slab(mine, mine.get("node", node))
            self.store.record[number * RECORD_ROW + FROZEN] = 1
            slub.cpu[at + CPU_SLAB] = number
            slub.cpu[at + CPU_FREELIST] = self._chain(number, recorded["free"])
            self.cache.live.difference_update(self._addresses(number, recorded["free"]))

    def fill_node(self, recorded: dict[str, Any]) -> list[int]:
        """Make the full slabs of a node: as many as there are beyond those made already. Return their numbers."""
        node, shape = recorded["node"], self.cache.geometry
        slabs = recorded["nr_slabs"] - self.slabs.get(node, 0)
        objects = recorded["total_objects"] - self.objects.get(node, 0)
        lacking, smaller = slabs * shape.objects - objects, shape.objects - shape.min_objects
        small = lacking // smaller if smaller else 0
        if not 0 <= small <= slabs or small * smaller != lacking:
            rule = f"{slabs} of {shape.objects} or {shape.min_objects} objects"
            raise TraceError(must(f"full slabs of cache {self.cache.name}", rule, f"of {objects} objects in all"))
        sizes = [shape.min_objects] * small + [shape.objects] * (slabs - small)
        return [self.slab({"objects": size, "inuse": size, "free": ()}, node) for size in sizes]

    def slab(self, recorded: dict[str, Any], node: int) -> int:
        """Make a slab with these free objects, on no list; its number."""
        objects, free = recorded["objects"], recorded["free"]
        order = self._order_of(objects)
        words = self.cache.layer.words("slab caches")[self.cache.number * CACHE_ROW :]
        words[PREFERRED] = order
        number = self.cache.new_slab(0, node, GFP_KERNEL)
        words[PREFERRED] = self.cache.geometry.order
        at = number * RECORD_ROW
        self.store.record[at + FREELIST] = self._chain(number, free)
        self.store.record[at + INUSE] = recorded["inuse"]
        self.cache.live.update(self._addresses(number, range(objects)))
        self.cache.live.difference_update(self._addresses(number, free))
        self.slabs[node] = self.slabs.get(node, 0) + 1
        self.objects[node] = self.objects.get(node, 0) + objects
        if "pfn" in recorded:
            bind(self.deltas, address_of(recorded["pfn"]), SlabView(self.store, number))
        return number

    def _order_of(self, objects: int) -> int:
        shape = self.cache.geometry
        for order, count in ((shape.order, shape.objects), (shape.min_order, shape.min_objects)):
            if objects == count:
                return order
        rule = f"{shape.objects} or {shape.min_objects}"
        raise TraceError(must(f"objects of a slab of cache {self.cache.name}", rule, objects))

    def _addresses(self, number: int, objects: Any) -> list[int]:
        first, size = SlabView(self.store, number).first_object, self.cache.geometry.size
        return [first + place * size for place in objects]

    def _chain(self, number: int, free: Any) -> int:
        # Link objects; the address of the first, signed.
        addresses = [*map(signed_address, self._addresses(number, free)), NULL]
        for address, after in pairwise(addresses):
            self.store.set_next_free(self.cache.number, address, after)
        return addresses[0]


def bind(deltas: dict[int, int], base: int, slab: SlabView) -> None:
    """Note that a slab is the recorded one that begins at `base`."""
    for page in range(base >> 12, (base >> 12) + (1 << slab.order)):
        deltas[page] = slab.address - base


def make_caches(requests: SlabRequests, allocator: Allocator, cpus: int) -> Placed:
    """Make an empty cache on an allocator for each that has allocations in a trace; sizes are as these say.

    Raises:
        InvalidArgument: the allocator has a cache of the same name, or another number of CPUs.

    """
    layer = _layer(allocator, cpus)
    placed = Placed(layer, {}, {}, {}, False)
    for name, (asked, size) in zip(requests.names, sizes_of(requests), strict=True):
        if size:
            placed.caches[name] = SlabCache(allocator, name, _shape(name, asked, size, layer))
    return placed


def _shape(name: str, asked: int, size: int, layer: SlabLayer) -> Geometry:
    # The alignment that makes objects so large is found by trying.
    flags = SlabFlags.KMALLOC if "kmalloc-" in name else SlabFlags(0)
    aligns = (kmalloc_align(size),) if flags else (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    for align in aligns:
        shape = geometry(asked, align=align, flags=flags, cpus=layer.cpus, kernel=layer.kernel)
        if shape.size == size:
            return shape
    return geometry(size, cpus=layer.cpus, kernel=layer.kernel)
