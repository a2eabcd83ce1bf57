"""What the slab layer keeps, as rows of words in flat buffers: each row's length, and the place of each word.

Terminology: an *object* is what a caller gets; a *cache* has objects of one size; a *slab* is a block of pages cut into
objects of one cache; its *record* is a row, and has a number from 1 on, so that 0 is none. Addresses are those of the
kernel's direct map, `PAGE_OFFSET + (PFN << 12) + offset`, as signed 64-bit ints (so all are negative); 0 is NULL.
The *free list* of a slab goes through the free objects themselves. A slab is *frozen* while a CPU has it: then it is on
no node's list, and its free list is what others freed into it meanwhile.

Followed: Linux 6.1 mm/slab.h (`struct slab`), include/linux/slub_def.h, mm/slab.h (`struct kmem_cache_node`).
"""

from __future__ import annotations

from structpage.core.field import signed

PAGE_SHIFT = 12
PAGE_OFFSET = 0xFFFF888000000000
"""Where the kernel maps all memory, without KASLR (x86-64, 4 levels of page tables)."""
BASE = signed(PAGE_OFFSET)
NULL = 0
STATUSES = -16
"""Statuses are above it, addresses below."""
NO_NODE = -1
SLAB_KIND = 5
"""What `owner_kind` says of a slab's frames; the owner is the number of its record."""

FREELIST, INUSE, OBJECTS, FROZEN, CACHE, PFN, ORDER, NODE, NEXT, PREV, WAITING = range(11)
"""Of a slab: first free object; objects that are not on that list; objects, 0 of a record that is not in use; whether a
CPU has it; its cache; its head's PFN, order and node; the records beside it on a list; and, on a CPU's list, the number
of slabs from it to the end."""
RECORD_ROW = 12

SIZE, OFFSET, LEFT, PREFERRED, LEAST, MIN_PARTIAL, CPU_SLABS, HARDENED, RANDOM, GFP, SHUFFLED, SEED = range(12)
"""Of a cache: bytes from object to object; where the free pointer is in an object; bytes of the left red zone; the
order of slabs, and that tried when there is no such block; partial slabs a node keeps; slabs a CPU's list keeps, -1 if
there is no such list; whether free pointers are hardened, and by what number; flags that all its pages are asked for
with; entries of the shuffled sequence, 0 if there is none; what the next draw comes of."""
MADE, DISCARDED, FALLBACKS = 12, 13, 14
"""Slabs made and given back, and those of the least order because there was no other block, since the beginning."""
CACHE_ROW = 16

CPU_FREELIST, CPU_SLAB, CPU_PARTIAL, SLOT, CPU_HARDENED = range(5)
"""Of a cache on a CPU: the first object to hand out; the slab that it is of; the first slab of the CPU's list. `SLOT`
is what to add to an object's address to get where in memory its free pointer is, in bytes; it and whether that is
hardened are facts of the cache, here so that an allocation reads one line."""
CPU_ROW = 8

NR_PARTIAL, FIRST, LAST, NR_SLABS, TOTAL_OBJECTS = range(5)
"""Of a cache on a node: slabs on its partial list, the first and the last of it; all slabs, and objects in these."""
NODE_ROW = 8

UNUSED, HIGHEST = range(2)
"""Of the records: the first that was used and is not, the others behind it by NEXT; the highest ever used."""
RECORDS_ROW = 2

SEQUENCE_ROW = 1 << 15
"""Words of a cache's shuffled sequence: as many as a slab can have objects."""
CACHES = 1 << 10
"""Caches that there can be at a time."""
