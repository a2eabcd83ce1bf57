"""From any address or PFN to slab, cache and object: by the words of the frame, and the record that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from structpage.arguments import an_int
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.errors import DoubleFree, InvalidObject, OutOfRange, must
from structpage.frames import PAGE_SHIFT, PAGE_SIZE
from structpage.slab.layer import Allocator, layer_over
from structpage.slab.views import SlabView

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache


class Found(NamedTuple):
    """What an address is part of."""

    cache: SlabCache
    slab: SlabView
    number: int | None
    """Number of the object within the slab; `None` behind the last one."""
    address: int | None
    """Where the object begins, which with a left red zone is behind the slot's first byte."""
    offset: int
    """Bytes from there, or from the slab's first byte where there is no object."""
    in_use: bool
    """Whether the object is in use."""

    def __repr__(self) -> str:
        place = f"object {self.number}" if self.number is not None else "no object"
        used = "in use" if self.in_use else "free"
        return f"<Found: cache {self.cache.name}, {self.slab!r}, {place} + {self.offset}, {used}>"


def find(allocator: Allocator, where: int) -> Found | None:
    """Return the slab, cache and object of an address, or of a PFN's first byte; `None` if it is no slab's.

    What is below PAGE_OFFSET is taken as a PFN. Raises `OutOfRange` beyond the memory. O(1); O(orders) where tails
    are not stamped.
    """
    layer = layer_over(allocator)
    where = an_int("address", where)
    address = where if where >= PAGE_OFFSET else PAGE_OFFSET + (where << PAGE_SHIFT)
    if not 0 <= address - PAGE_OFFSET < allocator.pages.frames * PAGE_SIZE:
        end = PAGE_OFFSET + allocator.pages.frames * PAGE_SIZE
        raise OutOfRange(must("address", f"from {PAGE_OFFSET:#x} to below {end:#x}, or a PFN", hex(where)))
    number = layer.record_at(address) if layer else 0
    if layer is None or number == 0:
        return None
    slab = SlabView(layer.store, number)
    cache = layer.caches[slab.cache]
    index = (address - slab.address) // cache.geometry.size
    if index >= slab.objects:
        return Found(cache, slab, None, None, address - slab.address, False)
    first = slab.first_object + index * cache.geometry.size
    return Found(cache, slab, index, first, address - first, first in cache.live)


def why_no_object(cache: SlabCache, address: int) -> InvalidObject:
    """Return why an address cannot be freed to a cache, to be raised."""
    rule = f"an object of cache {cache.name} that is in use"
    try:
        found = find(cache.allocator, address) if address >= PAGE_OFFSET else None
    except OutOfRange:
        found = None
    if found is None:
        return InvalidObject(cache.name, address, rule, "an address that is in no slab")
    if found.cache is not cache:
        return InvalidObject(cache.name, address, f"{rule}: free it to its own", f"one of cache {found.cache.name}")
    if found.address is None:
        return InvalidObject(cache.name, address, rule, "one behind the last object of a slab")
    if found.offset:
        count = f"{abs(found.offset)} byte{'s' if abs(found.offset) > 1 else ''}"
        what = f"{count} {'into' if found.offset > 0 else 'before'}"
        return InvalidObject(cache.name, address, rule, f"one that is {what} the object at {found.address:#x}")
    return DoubleFree(cache.name, address, rule, "one that is free already")
