"""`Kmalloc`: caches of the usual sizes, and whole pages for what is larger.

Followed: Linux 6.1 mm/slab_common.c, `create_kmalloc_caches`, `__do_kmalloc_node`, `kfree`, `ksize`,
`kmalloc_fix_flags`; the types of caches by include/linux/slab.h, `kmalloc_type`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from structpage.allocator import BuddyAllocator
from structpage.arguments import an_int, at_least, named
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.core.slab.script import GFP_KERNEL
from structpage.core.slab.sources import wanted_zone
from structpage.core.words import DEFAULT_TYPE
from structpage.errors import InvalidArgument, InvalidObject, LimitExceeded, must
from structpage.frames import PAGE_SHIFT, PAGE_SIZE
from structpage.gfp import a_gfp, format_gfp
from structpage.owners import Owner
from structpage.slab.cache import SlabCache
from structpage.slab.finding import find
from structpage.slab.flags import SlabFlags, slab_flags
from structpage.slab.layer import Allocator, cache_named, layer_of, settled
from structpage.slab.shape import KMALLOC_SIZES, geometry, kmalloc_align, kmalloc_index
from structpage.slab.state import GFP_COMP
from structpage.slab.tracks import Who, a_who
from structpage.tables import html_table

TYPES = {
    "normal": ("kmalloc", SlabFlags(0)),
    "cgroup": ("kmalloc-cg", SlabFlags.ACCOUNT),
    "reclaimable": ("kmalloc-rcl", SlabFlags.RECLAIM_ACCOUNT),
    "dma": ("dma-kmalloc", SlabFlags.CACHE_DMA),
}
"""Types of caches in the kernel's order: what their names begin with, and the flags that they add."""
GFP_DMA, GFP_RECLAIMABLE, GFP_ACCOUNT = 0x01, 0x10, 0x400000
SLAB_BUG_MASK = 0x02 | 0x04
"""Flags that whole pages are asked for without: __GFP_HIGHMEM, because they need addresses, and __GFP_DMA32."""
ZERO_SIZE_PTR = 16
"""What a request for no bytes gets: no object, and freeing it does nothing."""
LARGE = Owner("misc", 6 << 4)
"""Owner of whole pages: memdesc type 0, subtype 6."""


def kmalloc_name(kind: str, size: int) -> str:
    """Return the name of a class, as `kmalloc-rcl-1k`."""
    return f"{TYPES[kind][0]}-{size if size < 1024 else f'{size >> 10}k'}"


class Kmalloc:
    """The kmalloc caches over an allocator, one for each size of `KMALLOC_SIZES` and each of `types`.

    `types` are names of `TYPES`; a request whose type has no caches is served by the normal ones, but one for DMA is
    refused. `flags`, `hardened`,
    `random` and `cpus` are those of `SlabCache`, for all of them. Raises as `SlabCache`.
    """

    def __init__(
        self,
        allocator: Allocator,
        *,
        types: Sequence[str] = ("normal", "reclaimable"),
        flags: int | str = 0,
        cpus: int | None = None,
        **options: Any,
    ) -> None:
        self.allocator = allocator
        cpus, kernel = settled(allocator, cpus, None)
        wanted = [kind for kind in TYPES if kind in {named("type", kind, TYPES) for kind in types} | {"normal"}]
        for kind in wanted:
            for size in KMALLOC_SIZES:
                if cache_named(allocator, kmalloc_name(kind, size)) is not None:
                    rule = "made once for an allocator"
                    raise InvalidArgument(must("kmalloc caches", rule, f"again: {kmalloc_name(kind, size)} is there"))
        given = slab_flags(flags) | SlabFlags.KMALLOC
        self.caches = {
            kind: [
                SlabCache(
                    allocator,
                    kmalloc_name(kind, size),
                    geometry(
                        size,
                        align=kmalloc_align(size),
                        flags=given | TYPES[kind][1],
                        cpus=cpus,
                        kernel=kernel,
                    ),
                    cpus=cpus,
                    **options,
                )
                for size in KMALLOC_SIZES
            ]
            for kind in wanted
        }
        """The caches of each type, by ascending size."""
        self._layer = layer_of(allocator)

    def cache_for(self, size: int, gfp: int | str = GFP_KERNEL) -> SlabCache:
        """Return the cache that serves a request; raises `LimitExceeded` for one that is served by whole pages."""
        bits = a_gfp(gfp)
        kind = _kind(bits, "cgroup" in self.caches)
        if kind == "dma" and kind not in self.caches:
            rule = "without __GFP_DMA where there are no dma-kmalloc caches: make them, by 'dma' among the types"
            raise InvalidArgument(must("gfp", rule, format_gfp(bits)))
        return self.caches.get(kind, self.caches["normal"])[kmalloc_index(size)]

    def alloc(
        self,
        size: int,
        cpu: int = 0,
        *,
        node: int | None = None,
        gfp: int | str = GFP_KERNEL,
        zero: bool = False,
        who: Who | None = None,
    ) -> int:
        """Allocate `size` bytes for a caller on `cpu`, and return their address; `ZERO_SIZE_PTR` for none.

        `gfp` says the type of cache too. Raises `LimitExceeded` for more than the allocator's largest block, and as
        `SlabCache.alloc`.
        """
        size = at_least("size", size, 0)
        if size == 0:
            return ZERO_SIZE_PTR
        if size > KMALLOC_SIZES[-1]:
            return self._alloc_large(size, cpu, node, gfp, zero, who)
        return self.cache_for(size, gfp).alloc(cpu, node=node, gfp=gfp, zero=zero, who=who, asked=size)

    def _alloc_large(self, size: int, cpu: int, node: int | None, gfp: int | str, zero: bool, who: Who | None) -> int:
        layer = self._layer
        cpu, bits = layer.a_cpu(cpu), a_gfp(gfp) & ~SLAB_BUG_MASK
        node = layer.cpu_node(cpu) if node is None else layer.a_node(node)
        if who is not None:
            a_who(who)
        order = (size - 1 >> PAGE_SHIFT).bit_length()
        if order > self.allocator.max_order:
            rule = f"at most {PAGE_SIZE << self.allocator.max_order} bytes, the allocator's largest block"
            raise LimitExceeded(must("size", rule, size))
        if isinstance(self.allocator, BuddyAllocator):
            owner = self.allocator.pages.owners.reference(LARGE)
            pfn = self.allocator.alloc_from(wanted_zone(bits, node), order, DEFAULT_TYPE, owner)
        else:
            pfn = self.allocator.alloc_pages(order, bits | GFP_COMP, cpu, node, owner=LARGE)
        if zero and self.allocator.memory is not None:
            self.allocator.memory.fill(pfn, order, 0)
        return PAGE_OFFSET + (pfn << PAGE_SHIFT)

    def free(self, address: int, cpu: int = 0, *, who: Who | None = None) -> None:
        """Free what `alloc` returned; 0 and `ZERO_SIZE_PTR` are nothing. Raises as `SlabCache.free`.

        As `kfree` does, it frees an object of any cache to the cache that it is of.
        """
        address = an_int("address", address)
        cpu = self._layer.a_cpu(cpu)
        if who is not None:
            a_who(who)
        if address in (0, ZERO_SIZE_PTR):
            return
        found = find(self.allocator, address) if self._within(address) else None
        if found is not None:
            found.cache.free(address, cpu, who=who)
            return
        pfn = self._large(address, "kfree")
        if isinstance(self.allocator, BuddyAllocator):
            self.allocator.free(pfn)
        else:
            self.allocator.free_pages(pfn, None, cpu)

    def ksize(self, address: int) -> int:
        """Return the bytes that may be used at an address that `alloc` returned, 0 for none; raises `InvalidObject`."""
        address = an_int("address", address)
        if address in (0, ZERO_SIZE_PTR):
            return 0
        found = find(self.allocator, address) if self._within(address) else None
        if found is None:
            return PAGE_SIZE << self.allocator.core.memmap.order_of(self._large(address, "ksize"))
        if found.offset or not found.in_use:
            raise _not_given("ksize", "an object in use", address, repr(found))
        shape = found.cache.geometry
        if shape.flags & (SlabFlags.RED_ZONE | SlabFlags.POISON):
            return shape.object_size
        return shape.inuse if shape.flags & (SlabFlags.TYPESAFE_BY_RCU | SlabFlags.STORE_USER) else shape.size

    def _within(self, address: int) -> bool:
        return 0 <= address - PAGE_OFFSET < self.allocator.pages.frames << PAGE_SHIFT

    def _large(self, address: int, call: str) -> int:
        # The PFN of whole pages that were allocated here.
        rule = "an object of a slab, or whole pages, that kmalloc gave"
        if not self._within(address):
            raise _not_given(call, rule, address, "an address outside the memory")
        pfn = address - PAGE_OFFSET >> PAGE_SHIFT
        page = self.allocator.pages[pfn]
        if address % PAGE_SIZE or page.state != "allocated" or page.head != pfn or page.owner != LARGE:
            raise _not_given(call, rule, address, repr(page))
        return pfn

    def __repr__(self) -> str:
        used = sum(len(cache) for caches in self.caches.values() for cache in caches)
        return f"<Kmalloc: {', '.join(self.caches)}; {used} objects in use>"

    def _repr_html_(self) -> str:
        rows = [
            (size, *(len(caches[index]) for caches in self.caches.values())) for index, size in enumerate(KMALLOC_SIZES)
        ]
        return html_table("Kmalloc: objects in use by size and type", ("size", *self.caches), rows)


def _kind(gfp: int, cgroups: bool) -> str:
    if gfp & GFP_DMA:
        return "dma"
    if gfp & GFP_RECLAIMABLE:
        return "reclaimable"
    return "cgroup" if gfp & GFP_ACCOUNT and cgroups else "normal"


def _not_given(call: str, rule: str, address: int, found: str) -> InvalidObject:
    return InvalidObject("kmalloc", address, rule, found, given_to=call)
