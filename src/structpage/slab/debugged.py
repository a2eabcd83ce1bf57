"""Allocating and freeing of caches that are debugged: object by object from the nodes' partial lists, none per CPU.

Every object is handed to the debugging on its way. A slab that is full is on no list; the kernel lists it, to find it
again, which here the records do.

Followed: Linux 6.1 mm/slub.c, `alloc_single_from_partial`, `alloc_single_from_new_slab`, `free_to_partial_list`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from structpage.core.slab.rows import NO_NODE
from structpage.core.status import CORRUPT
from structpage.errors import SlabCorruption
from structpage.refusal import corruption
from structpage.slab.debug import Debug
from structpage.slab.finding import why_no_object
from structpage.slab.flags import SlabFlags
from structpage.slab.tracks import Who
from structpage.slab.views import SlabView, signed_address, unsigned_address

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache


class SingleObjects:
    """The slow path of a cache that is debugged."""

    def __init__(self, cache: SlabCache) -> None:
        self.cache, self.layer = cache, cache.layer
        self.debug = Debug(cache.geometry, self.layer.memory, cache.name, random=cache.secret, log=self.layer.log)

    def alloc(self, cpu: int, node: int, gfp: int, who: Who | None, asked: int | None) -> int:
        """Allocate an object; its address. Raises as `SlabCache.alloc`."""
        number = self._partial(cpu, node)
        new = number == 0
        slab = SlabView(self.layer.store, self.cache.new_slab(cpu, node, gfp) if new else number)
        with self._relisted(slab, listed=not new, to_tail=0):
            address = slab.freelist
            pointer = self.layer.store.next_free(self.cache.number, signed_address(address))
            if pointer == CORRUPT:
                raise corruption(self.cache.allocator)
            slab.freelist = unsigned_address(pointer)
            slab.inuse += 1
            self.debug.check_alloc(slab, address, _who(who, cpu), asked)
        return address

    def free(self, address: int, cpu: int, who: Who | None) -> None:
        """Free an object; raises as `SlabCache.free`."""
        cache, store = self.cache, self.layer.store
        number = self.layer.record_at(address)
        slab = SlabView(store, number)
        looks = cache.geometry.flags & SlabFlags.CONSISTENCY_CHECKS
        if number == 0 or slab.cache != cache.number or not (looks or address in cache.live):
            raise why_no_object(cache, address)
        with self._relisted(slab, listed=slab.is_listed(), to_tail=1):
            self.debug.check_free(slab, address, _who(who, cpu))
            prior = slab.freelist
            store.set_next_free(cache.number, signed_address(address), signed_address(prior))
            slab.freelist = address
            slab.inuse -= 1
        cache.live.discard(address)
        if slab.inuse == 0 and self._has_enough(slab, listed_before=prior != 0):
            store.remove_partial(number)
            cache.discard(slab, cpu)

    def check(self) -> None:
        """Look at every byte of every slab; raises `SlabCorruption`."""
        for slab in self.cache.slabs:
            with self._relisted(slab, listed=slab.is_listed(), to_tail=1):
                self.debug.check_slab(slab)

    def discarded(self, slab: SlabView) -> SlabCorruption | None:
        """Look at a slab that is about to be given back; what was found wrong."""
        try:
            self.debug.check_discard(slab)
        except SlabCorruption as error:
            return error
        return None

    def _has_enough(self, slab: SlabView, *, listed_before: bool) -> bool:
        # The kernel asks before it lists a slab that was full.
        others = self.layer.nr_partial(self.cache.number, slab.node) - (not listed_before)
        return others >= self.cache.min_partial

    def _partial(self, cpu: int, node: int) -> int:
        # The slab to allocate from: of the wanted node, or of one that has more than it is to keep.
        here = self.layer.cpu_node(cpu) if node == NO_NODE else node
        first = self.layer.first_partial(self.cache.number, here)
        if first or node != NO_NODE:
            return first
        for other in self.layer.nodes_from(here):
            if self.layer.nr_partial(self.cache.number, other) > self.cache.min_partial:
                return self.layer.first_partial(self.cache.number, other)
        return 0

    @contextmanager
    def _relisted(self, slab: SlabView, *, listed: bool, to_tail: int) -> Iterator[None]:
        # Whatever the debugging makes of a slab, afterwards it is on its node's list exactly if it belongs there.
        try:
            yield
        finally:
            if listed and not slab.is_listed():
                self.layer.store.remove_partial(slab.number)
            elif slab.is_listed() and not listed:
                self.layer.store.add_partial(slab.number, to_tail)


def _who(who: Who | None, cpu: int) -> Who:
    return Who(cpu=cpu) if who is None else who
