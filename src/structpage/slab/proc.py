"""The slab caches of an allocator as /proc/slabinfo shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structpage.procfs import SlabInfo, format_slabinfo
from structpage.slab.listing import COUNTS, slab_table

if TYPE_CHECKING:
    from structpage.slab.layer import Allocator


def slabinfo(allocator: Allocator) -> str:
    """Return the text of /proc/slabinfo for the caches on an allocator, which may be none; newest first.

    `structpage.slab.listing.slab_table` has the same as an array, and the objects truly in use. O(partial slabs).
    """
    return format_slabinfo(slab_records(allocator))


def slab_records(allocator: Allocator) -> tuple[SlabInfo, ...]:
    """Return a record of /proc/slabinfo for each cache, newest first. O(partial slabs)."""
    names = ("name", *COUNTS)
    rows = slab_table(allocator)[list(names)].tolist()
    return tuple(SlabInfo(**dict(zip(names, row, strict=True))) for row in rows)
