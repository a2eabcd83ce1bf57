"""Slabs: made of pages, listed by the node they lie on, and given back. What every policy of CPUs stands on.

State, at rest, of each record in use:

* its frames are one block, whose head's word says slab, order, zone and (with two words) cache, and whose owner
  reference is the record's number; tails too, where tails are stamped;
* the free list, from FREELIST on, has OBJECTS - INUSE objects, each once, and ends with NULL;
* it is on its node's partial list exactly if it is not frozen and has a free object.

Followed: Linux 6.1 mm/slub.c, `allocate_slab`, `shuffle_freelist`, `discard_slab`, `add_partial`, `remove_partial`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer
from structpage.core.linux.gfp import GFP_DIRECT_RECLAIM, GFP_KSWAPD_RECLAIM, GFP_NOMEMALLOC
from structpage.core.slab.freepointer import hardened
from structpage.core.slab.rows import (
    BASE,
    CACHE,
    CACHE_ROW,
    DISCARDED,
    FALLBACKS,
    FIRST,
    FREELIST,
    FROZEN,
    GFP,
    HARDENED,
    HIGHEST,
    INUSE,
    LAST,
    LEAST,
    LEFT,
    MADE,
    MIN_PARTIAL,
    NEXT,
    NODE,
    NODE_ROW,
    NR_PARTIAL,
    NR_SLABS,
    NULL,
    OBJECTS,
    OFFSET,
    ORDER,
    PAGE_SHIFT,
    PFN,
    PREFERRED,
    PREV,
    RANDOM,
    RECORD_ROW,
    SEED,
    SEQUENCE_ROW,
    SHUFFLED,
    SIZE,
    SLAB_KIND,
    TOTAL_OBJECTS,
    UNUSED,
)
from structpage.core.slab.sources import PageSource
from structpage.core.status import CORRUPT, NO_MEMORY
from structpage.core.words import LANE_SHIFT, ZIDS

# What of a caller's flags reaches the page allocator: how hard to try, and where; and what is added, or not, for an
# order that one can do without (mm/internal.h, GFP_RECLAIM_MASK and GFP_CONSTRAINT_MASK; `allocate_slab`).
PASSED_ON = 0xE0 | 0x200 | 0xC00 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x80000 | 0x100000 | 0x200000
NOWARN_NORETRY, NOFAIL = 0x2000 | 0x10000, 0x8000


class Slabs(NamedTuple):
    """All slabs of all caches over one page allocator."""

    buddy: Buddy
    source: PageSource
    memory: Buffer
    record: Buffer
    records: Buffer
    cache: Buffer
    node: Buffer
    sequence: Buffer
    nodes: int

    # Finding

    def record_of(self, pfn: int) -> int:
        """Return the record of the slab that a frame is part of, from the frame's own words; 0 if it is of none."""
        memmap = self.buddy.memmap
        if memmap.stamp == 0:
            pfn = self.buddy.head_of(pfn)
            if pfn < 0:
                return 0
        owner = memmap.owner_of(pfn)
        slab = owner >> 4
        if owner & 15 != SLAB_KIND or not 0 < slab <= self.records[HIGHEST]:
            return 0
        at = slab * RECORD_ROW
        record = self.record
        if record[at + OBJECTS] == 0 or (pfn - record[at + PFN]) >> record[at + ORDER] != 0:
            return 0
        return slab

    def first_object(self, slab: int) -> int:
        """Return the address of a slab's first object."""
        at = slab * RECORD_ROW
        left = self.cache[self.record[at + CACHE] * CACHE_ROW + LEFT]
        return BASE + (self.record[at + PFN] << PAGE_SHIFT) + left

    def is_object(self, slab: int, address: int) -> bool:
        """Whether an address is that of an object of a slab."""
        at = slab * RECORD_ROW
        size = self.cache[self.record[at + CACHE] * CACHE_ROW + SIZE]
        offset = address - self.first_object(slab)
        return offset >= 0 and offset % size == 0 and offset // size < self.record[at + OBJECTS]

    def is_hardened(self, cache: int) -> bool:
        """Whether a cache's free pointers are hardened."""
        return self.cache[cache * CACHE_ROW + HARDENED] != 0

    def has_enough(self, slab: int) -> bool:
        """Whether the node of a slab keeps so many partial slabs that an empty one is given back."""
        row = self.record[slab * RECORD_ROW + CACHE] * CACHE_ROW
        return self.node[self.place(slab) + NR_PARTIAL] >= self.cache[row + MIN_PARTIAL]

    # Free pointers

    def next_free(self, cache: int, address: int) -> int:
        """Return the free object after one, NULL at the end; `CORRUPT` if the address is not within the memory."""
        row = cache * CACHE_ROW
        at = address + self.cache[row + OFFSET]
        index = at - BASE >> 3
        if not 0 <= index < len(self.memory):
            return CORRUPT
        pointer = self.memory[index]
        return hardened(pointer, self.cache[row + RANDOM], at) if self.cache[row + HARDENED] else pointer

    def set_next_free(self, cache: int, address: int, pointer: int) -> None:
        """Write the free pointer of an object."""
        row = cache * CACHE_ROW
        at = address + self.cache[row + OFFSET]
        if self.cache[row + HARDENED]:
            pointer = hardened(pointer, self.cache[row + RANDOM], at)
        self.memory[at - BASE >> 3] = pointer

    # The partial lists of nodes

    def place(self, slab: int) -> int:
        """Return where the row of a slab's cache and node begins."""
        at = slab * RECORD_ROW
        return (self.record[at + CACHE] * self.nodes + self.record[at + NODE]) * NODE_ROW

    def add_partial(self, slab: int, to_tail: int) -> None:
        """Put a slab on its node's partial list, at the head or the tail."""
        record = self.record
        node = self.node
        place = self.place(slab)
        at = slab * RECORD_ROW
        end, other, before, after = (LAST, FIRST, PREV, NEXT) if to_tail else (FIRST, LAST, NEXT, PREV)
        old = node[place + end]
        record[at + before] = old
        record[at + after] = 0
        if old:
            record[old * RECORD_ROW + after] = slab
        else:
            node[place + other] = slab
        node[place + end] = slab
        node[place + NR_PARTIAL] += 1

    def remove_partial(self, slab: int) -> None:
        """Take a slab off its node's partial list."""
        record = self.record
        node = self.node
        place = self.place(slab)
        before = record[slab * RECORD_ROW + PREV]
        after = record[slab * RECORD_ROW + NEXT]
        if before:
            record[before * RECORD_ROW + NEXT] = after
        else:
            node[place + FIRST] = after
        if after:
            record[after * RECORD_ROW + PREV] = before
        else:
            node[place + LAST] = before
        node[place + NR_PARTIAL] -= 1

    # Making slabs

    def make(self, cache: int, gfp: int, cpu: int, node: int) -> int:
        """Take pages for a slab; its record, `NO_MEMORY` or `CORRUPT`. Its free list is still to be made.

        The preferred order is tried without effort; when there is no such block, the least that holds an object.
        """
        row = cache * CACHE_ROW
        slab = self.take_record()
        owner = slab << 4 | SLAB_KIND
        order = self.cache[row + PREFERRED]
        least = self.cache[row + LEAST]
        gfp = gfp & PASSED_ON | self.cache[row + GFP]
        light = (gfp | NOWARN_NORETRY) & ~NOFAIL
        if light & GFP_DIRECT_RECLAIM and order > least:
            light = (light | GFP_NOMEMALLOC) & ~(GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM)
        pfn = self.source.take(order, light, cpu, node, owner)
        if pfn == NO_MEMORY:
            order = least
            pfn = self.source.take(order, gfp, cpu, node, owner)
            if pfn >= 0:
                self.cache[row + FALLBACKS] += 1
        if pfn < 0:
            self.give_record(slab)
            return pfn
        return self.adopt(cache, slab, pfn, order)

    def take_record(self) -> int:
        """Return a record that no slab has: before the pages are taken, which may make slabs themselves."""
        slab = self.records[UNUSED]
        if slab:
            self.records[UNUSED] = self.record[slab * RECORD_ROW + NEXT]
        else:
            slab = self.records[HIGHEST] + 1
            self.records[HIGHEST] = slab
        return slab

    def give_record(self, slab: int) -> None:
        """Note that no slab has a record."""
        self.record[slab * RECORD_ROW + NEXT] = self.records[UNUSED]
        self.records[UNUSED] = slab

    def adopt(self, cache: int, slab: int, pfn: int, order: int) -> int:
        """Make an allocated block, whose owner is a record, a slab; return the record."""
        row = cache * CACHE_ROW
        record = self.record
        at = slab * RECORD_ROW
        memmap = self.buddy.memmap
        objects = (1 << PAGE_SHIFT + order) // self.cache[row + SIZE]
        record[at + FREELIST] = NULL
        record[at + INUSE] = objects
        record[at + OBJECTS] = objects
        record[at + FROZEN] = 0
        record[at + CACHE] = cache
        record[at + PFN] = pfn
        record[at + ORDER] = order
        record[at + NODE] = (memmap.lane_of(pfn) >> LANE_SHIFT) // ZIDS
        memmap.mark_slab(pfn, cache)
        place = self.place(slab)
        self.node[place + NR_SLABS] += 1
        self.node[place + TOTAL_OBJECTS] += objects
        self.cache[row + MADE] += 1
        return slab

    def draw(self, cache: int) -> int:
        """Return a random place of the shuffled sequence, from which a new slab's free list starts; 0 without one."""
        row = cache * CACHE_ROW
        count = self.cache[row + SHUFFLED]
        if count == 0:
            return 0
        seed = (self.cache[row + SEED] * 1103515245 + 12345) & 0x7FFFFFFF
        self.cache[row + SEED] = seed
        return (seed >> 8) % count

    def link(self, slab: int, start: int) -> None:
        """Make the free list of a new slab: ascending, or by the shuffled sequence from place `start` on."""
        at = slab * RECORD_ROW
        cache = self.record[at + CACHE]
        size = self.cache[cache * CACHE_ROW + SIZE]
        count = self.cache[cache * CACHE_ROW + SHUFFLED]
        objects = self.record[at + OBJECTS]
        first = self.first_object(slab)
        if objects < 2:
            count = 0
        base = cache * SEQUENCE_ROW
        here = NULL
        for index in range(objects):
            number = index
            if count:
                number = self.sequence[base + start]
                start = start + 1 if start + 1 < count else 0
                while number >= objects:
                    number = self.sequence[base + start]
                    start = start + 1 if start + 1 < count else 0
            address = first + number * size
            if index == 0:
                self.record[at + FREELIST] = address
            else:
                self.set_next_free(cache, here, address)
            here = address
        self.set_next_free(cache, here, NULL)
        self.record[at + INUSE] = 0

    # Giving them back

    def discard(self, slab: int, cpu: int) -> int:
        """Give an empty slab, which is on no list, back to the page allocator; 0 or a status.

        At once also if its cache is TYPESAFE_BY_RCU: readers that would make it wait are not modelled.
        """
        record = self.record
        at = slab * RECORD_ROW
        pfn = record[at + PFN]
        place = self.place(slab)
        self.node[place + NR_SLABS] -= 1
        self.node[place + TOTAL_OBJECTS] -= record[at + OBJECTS]
        self.cache[record[at + CACHE] * CACHE_ROW + DISCARDED] += 1
        record[at + OBJECTS] = 0
        self.give_record(slab)
        self.buddy.memmap.unmark_slab(pfn)
        return self.source.give(pfn, record[at + ORDER], cpu)
