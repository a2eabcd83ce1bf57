"""Boot: the allocator that is there before anything else, where its memory map comes from, and its end.

`regions` and `memblock` are the allocator, `maps` reads memory maps, `handover` gives free memory to a machine.
"""

from __future__ import annotations

from structpage.boot.handover import free_all, free_deferred, zones_of
from structpage.boot.memblock import Memblock
from structpage.boot.regions import Region

__all__ = ["Memblock", "Region", "free_all", "free_deferred", "zones_of"]
