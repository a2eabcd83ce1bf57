"""Shrinking a node's partial list: empty slabs go, and the fullest come first, to be filled up and leave the list.

Followed: Linux 6.1 mm/slub.c, `__kmem_cache_do_shrink`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from structpage.errors import SlabCorruption

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache
    from structpage.slab.views import SlabView

PROMOTED = 32
"""Free objects up to which a slab is put in order; those with more stay behind, as they are."""


def shrink_node(cache: SlabCache, node: int, cpu: int) -> None:
    """Shrink a cache's partial list on a node; the first damage that debugging finds is raised when all is done."""
    store = cache.layer.store
    listed = cache.partial(node)
    empty = [slab for slab in reversed(listed) if slab.inuse == 0]
    for slab in listed:
        store.remove_partial(slab.number)
    for slab in in_order([slab for slab in listed if slab.inuse]):
        store.add_partial(slab.number, 1)
    damage = None
    for slab in empty:
        try:
            cache.discard(slab, cpu)
        except SlabCorruption as error:
            damage = damage or error
    if damage is not None:
        raise damage


def in_order(slabs: list[SlabView]) -> list[SlabView]:
    """Return slabs as shrinking orders them: few free objects first, of as many the last first; then the others."""
    free = {slab.number: slab.objects - slab.inuse for slab in slabs}
    promoted = [slab for slab in reversed(slabs) if free[slab.number] <= PROMOTED]
    promoted.sort(key=lambda slab: free[slab.number])
    return promoted + [slab for slab in slabs if free[slab.number] > PROMOTED]
