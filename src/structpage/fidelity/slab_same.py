"""Whether slab caches are as recorded ones: as many slabs and objects, and the same free objects in the same order."""

from __future__ import annotations

from typing import Any

from structpage.slab.addresses import address_of
from structpage.slab.cache import SlabCache
from structpage.slab.listing import slab_table
from structpage.slab.views import SlabView


def same_counts(cache: SlabCache, recorded: dict[str, Any]) -> bool:
    """Whether a cache has as many slabs and objects as a recorded one."""
    table = slab_table(cache.allocator)
    found = table[table["name"] == cache.name][0]
    nodes = recorded["node"]
    told = sum(node["nr_slabs"] for node in nodes), sum(node["total_objects"] for node in nodes)
    return bool(told == found[["num_slabs", "num_objs"]].tolist())


def same_lists(cache: SlabCache, recorded: dict[str, Any], deltas: dict[int, int]) -> bool:
    """Whether the CPUs and nodes have the same slabs of a cache as recorded, in the same order, with their free lists.

    A recorded page has `deltas` to where its slab is here.
    """
    size = cache.geometry.size

    def same(slab: SlabView | None, told: dict[str, Any] | None, free: list[int], told_free: list[int]) -> bool:
        if slab is None or told is None:
            return slab is None and told is None
        base = address_of(told["pfn"])
        numbers = [(address - slab.first_object) // size for address in free]
        return base + deltas.get(base >> 12, 0) == slab.address and numbers == told_free

    def all_same(slabs: list[SlabView], told: list[dict[str, Any]]) -> bool:
        return len(slabs) == len(told) and all(
            same(slab, one, slab.free_objects(), one["free"]) for slab, one in zip(slabs, told, strict=True)
        )

    for cpu in recorded["cpu"]:
        slab, free, waiting = cache.cpu_slab(cpu["cpu"])
        if not same(slab, cpu.get("slab") or None, free, cpu["free"]) or not all_same(waiting, cpu["partial"]):
            return False
    return all(all_same(cache.partial(node["node"]), node["partial"]) for node in recorded["node"])
