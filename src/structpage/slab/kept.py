"""`KeptCache`: a cache whose objects are one layer's own, and nobody else's to allocate or to free."""

from __future__ import annotations

from typing import Any, NoReturn

from structpage.errors import InvalidArgument, InvalidObject, must
from structpage.slab.cache import SlabCache
from structpage.slab.layer import Allocator


class KeptCache(SlabCache):
    """A cache of objects of `size` bytes for a layer below, `kept_by`; raises as `SlabCache`."""

    def __init__(self, allocator: Allocator, name: str, size: int, kept_by: str) -> None:
        self.kept_by = kept_by
        """Who allocates here, as messages name it."""
        super().__init__(allocator, name, size)

    def take(self, gfp: int) -> int:
        """Allocate an object for who keeps the cache; as `SlabCache.alloc`."""
        return super().alloc(gfp=gfp)

    def alloc(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse; raises `InvalidArgument`."""
        self.refuse("allocated")

    def free(self, address: int, *args: Any, **options: Any) -> NoReturn:
        """Refuse; raises `InvalidObject`."""
        raise InvalidObject(self.name, address, f"left to {self.kept_by}", "freed")

    def destroy(self) -> NoReturn:
        """Refuse; raises `InvalidArgument`."""
        self.refuse("destroyed with them")

    def refuse(self, what: str) -> NoReturn:
        """Raise what others are told who want to do something with the objects."""
        raise InvalidArgument(must(f"objects of cache {self.name}", f"left to {self.kept_by}", what))
