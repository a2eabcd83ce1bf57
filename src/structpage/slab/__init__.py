"""Slab caches on simulated pages: `SlabCache` and `Kmalloc`, and `find`, from any address to its object.

==============  ==================================================================================
`flags`         the flags of a cache, and the letters of slub_debug=
`geometry`      from an object's size to its layout and the order of slabs
`layer`         what all caches over one allocator share
`views`         one slab, read and written as an object
`finding`       from an address, or a PFN, to slab, cache and object
`state`         what a cache is and says
`cache`         `SlabCache`: its operations
`kept`          caches whose objects are a lower layer's own
`kmalloc`       `Kmalloc`
`debugged`      the slow path of caches that are debugged
`debug`         what the debugging writes about objects, and when it looks
`running`       many requests at once
`check`         every invariant
`listing`       the caches as rows
`proc`          the caches as /proc/slabinfo shows them
==============  ==================================================================================
"""

from structpage.core.slab.script import ALLOC, FREE
from structpage.slab.cache import SlabCache
from structpage.slab.finding import Found, find
from structpage.slab.flags import SlabFlags
from structpage.slab.kmalloc import Kmalloc
from structpage.slab.listing import slab_table
from structpage.slab.proc import slabinfo
from structpage.slab.running import run_requests
from structpage.slab.shape import Geometry, geometry
from structpage.slab.tracks import Who

__all__ = [
    "ALLOC",
    "FREE",
    "Found",
    "Geometry",
    "Kmalloc",
    "SlabCache",
    "SlabFlags",
    "Who",
    "find",
    "geometry",
    "run_requests",
    "slab_table",
    "slabinfo",
]
