"""The layer per CPU of Linux 6.1: each CPU has one slab to allocate from, and a short list of slabs to go on with.

Terminology: the *CPU's slab* is frozen, and its free objects are on the CPU's own free list, which nobody else touches;
what others free of it goes to the slab's. The *CPU's partial list* has frozen slabs, first the one frozen last. A slab
that is full is on no list at all; the first object freed of it puts it on the partial list of the CPU that frees.

An allocation pops the CPU's free list; when that is empty it takes over, in this order, what was freed into the CPU's
slab meanwhile, the first of the CPU's list, slabs of its node's partial list (with some more for the CPU's list), those
of other nodes, and at last a new slab.

State, at rest, besides that of `slabs`: of the CPU's slab, INUSE counts the objects on the CPU's free list too.

Followed: Linux 6.1 mm/slub.c, `slab_alloc_node`, `___slab_alloc`, `get_freelist`, `get_partial_node`,
`get_any_partial`, `acquire_slab`, `put_cpu_partial`, `__unfreeze_partials`, `deactivate_slab`, `do_slab_free`,
`__slab_free`, with CONFIG_SLUB_CPU_PARTIAL.

7.3 has no CPU slab and no CPU partial list. A policy of it would stand beside this one: of each cache, per CPU a main
and a spare sheaf, and per node a barn of full and of empty sheaves (`structpage.slab.layer`), over the same `slabs`.

Not modelled: slabs of memory reserves (pfmemalloc); that 23 in 1024 searches do not look at other nodes.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.slab.freepointer import hardened
from structpage.core.slab.rows import (
    BASE,
    CACHE,
    CACHE_ROW,
    CPU_FREELIST,
    CPU_HARDENED,
    CPU_PARTIAL,
    CPU_ROW,
    CPU_SLAB,
    CPU_SLABS,
    FIRST,
    FREELIST,
    FROZEN,
    HARDENED,
    INUSE,
    MIN_PARTIAL,
    NEXT,
    NO_NODE,
    NODE,
    NODE_ROW,
    NR_PARTIAL,
    NULL,
    OBJECTS,
    OFFSET,
    RANDOM,
    RECORD_ROW,
    SLOT,
    WAITING,
)
from structpage.core.slab.slabs import Slabs
from structpage.core.status import CORRUPT, REFUSED
from structpage.core.words import ZIDS


class Slub61(NamedTuple):
    """The CPUs' slabs of all caches."""

    slabs: Slabs
    cpu: Buffer
    memory: Buffer
    words: int
    """Words of memory."""
    cpus: int
    cpu_node: Buffer
    """Node of each CPU."""

    # Allocating

    def alloc(self, cache: int, cpu: int, node: int) -> int:
        """Allocate an object, from `node` if it is not `NO_NODE`; its address, `NULL` if a slab is needed, `CORRUPT`.

        When a slab is needed, `Slabs.make` and `Slabs.link` make one, and `load` allocates from it.
        """
        cpus = self.cpu
        at = (cache * self.cpus + cpu) * CPU_ROW
        address = cpus[at]
        if address == NULL or node != NO_NODE:
            return self.refill(cache, cpu, node)
        slot = address + cpus[at + SLOT]
        if not 0 <= slot >> 3 < self.words:
            return CORRUPT
        pointer = self.memory[slot >> 3]
        if cpus[at + CPU_HARDENED]:
            pointer = hardened(pointer, self.slabs.cache[cache * CACHE_ROW + RANDOM], slot + BASE)
        cpus[at] = pointer
        return address

    def refill(self, cache: int, cpu: int, node: int) -> int:
        """Allocate an object when the CPU's free list is empty, or a node is asked for; as `alloc`."""
        cpus = self.cpu
        at = (cache * self.cpus + cpu) * CPU_ROW
        slab = cpus[at + CPU_SLAB]
        if slab == 0:
            slab = self.next_waiting(at)
        while slab:
            if node not in (NO_NODE, self.slabs.record[slab * RECORD_ROW + NODE]):
                if self.deactivate(cache, cpu, cpu):
                    return CORRUPT
            elif cpus[at + CPU_FREELIST] != NULL or self.take_over(at, slab):
                return self.pop(cache, at)
            else:
                cpus[at + CPU_SLAB] = 0
            slab = self.next_waiting(at)
        if self.get_partial(cache, cpu, node):
            return self.pop(cache, at)
        return NULL

    def load(self, cache: int, cpu: int, slab: int) -> int:
        """Make a new slab the CPU's, and allocate from it; the address, or `CORRUPT`."""
        at = (cache * self.cpus + cpu) * CPU_ROW
        if self.cpu[at + CPU_SLAB] and self.deactivate(cache, cpu, cpu):
            return CORRUPT
        self.acquire(at, slab)
        return self.pop(cache, at)

    def alloc_or_make(self, cache: int, cpu: int, node: int, gfp: int) -> int:
        """Allocate an object, of a new slab if need be; its address or a status. The cache has no constructor."""
        address = self.alloc(cache, cpu, node)
        if address != NULL:
            return address
        slabs = self.slabs
        slab = slabs.make(cache, gfp, cpu, self.cpu_node[cpu] if node == NO_NODE else node)
        if slab < 0:
            return slab
        slabs.link(slab, slabs.draw(cache))
        return self.load(cache, cpu, slab)

    def next_waiting(self, at: int) -> int:
        """Make the first slab of the CPU's list the CPU's slab, and return it; 0 if there is none."""
        slab = self.cpu[at + CPU_PARTIAL]
        if slab:
            self.cpu[at + CPU_SLAB] = slab
            self.cpu[at + CPU_PARTIAL] = self.slabs.record[slab * RECORD_ROW + NEXT]
        return slab

    def acquire(self, at: int, slab: int) -> None:
        """Make a slab that no CPU has the CPU's."""
        self.slabs.record[slab * RECORD_ROW + FROZEN] = 1
        self.cpu[at + CPU_SLAB] = slab
        self.take_over(at, slab)

    def take_over(self, at: int, slab: int) -> bool:
        """Make the slab's free list the CPU's; whether it has any object. If it has none, nobody has the slab now."""
        record = self.slabs.record
        row = slab * RECORD_ROW
        free = record[row + FREELIST]
        self.cpu[at + CPU_FREELIST] = free
        record[row + FREELIST] = NULL
        record[row + INUSE] = record[row + OBJECTS]
        record[row + FROZEN] = int(free != NULL)
        return free != NULL

    def pop(self, cache: int, at: int) -> int:
        """Take the first object off the CPU's free list, which has one; its address, or `CORRUPT`."""
        address = self.cpu[at + CPU_FREELIST]
        pointer = self.slabs.next_free(cache, address)
        if pointer == CORRUPT:
            return CORRUPT
        self.cpu[at + CPU_FREELIST] = pointer
        return address

    # Taking from the nodes

    def get_partial(self, cache: int, cpu: int, node: int) -> bool:
        """Take slabs off the partial list of `node`, or of the CPU's own and others by distance; whether there was one.

        The first becomes the CPU's. Of another node's list only what it has above its minimum is taken.
        """
        here = self.cpu_node[cpu] if node == NO_NODE else node
        if self.get_partial_node(cache, cpu, here):
            return True
        if node != NO_NODE:
            return False
        buddy = self.slabs.buddy
        least = self.slabs.cache[cache * CACHE_ROW + MIN_PARTIAL]
        i = (here * ZIDS + ZIDS - 1) * (buddy.zones + 1)
        while buddy.zonelist[i] >= 0:
            other = buddy.zonelist[i] // ZIDS
            if self.slabs.node[(cache * self.slabs.nodes + other) * NODE_ROW + NR_PARTIAL] > least:
                return self.get_partial_node(cache, cpu, other)
            i += 1
        return False

    def get_partial_node(self, cache: int, cpu: int, node: int) -> bool:
        """Take the first slab of a node's partial list for the CPU, and the next ones for its list.

        Of those, half as many as that list may have, and one more. Returns whether there was a slab.
        """
        slabs = self.slabs
        at = (cache * self.cpus + cpu) * CPU_ROW
        first = (cache * slabs.nodes + node) * NODE_ROW + FIRST
        slab = slabs.node[first]
        if slab == 0:
            return False
        slabs.remove_partial(slab)
        self.acquire(at, slab)
        limit = slabs.cache[cache * CACHE_ROW + CPU_SLABS]
        taken = 0
        while limit >= 0 and taken <= limit // 2 and slabs.node[first]:
            slab = slabs.node[first]
            slabs.remove_partial(slab)
            slabs.record[slab * RECORD_ROW + FROZEN] = 1
            self.wait(at, slab)
            taken += 1
        return True

    def wait(self, at: int, slab: int) -> None:
        """Put a frozen slab at the front of the CPU's partial list."""
        record = self.slabs.record
        old = self.cpu[at + CPU_PARTIAL]
        record[slab * RECORD_ROW + WAITING] = 1 + (record[old * RECORD_ROW + WAITING] if old else 0)
        record[slab * RECORD_ROW + NEXT] = old
        self.cpu[at + CPU_PARTIAL] = slab

    # Freeing

    def free(self, slab: int, address: int, cpu: int) -> int:
        """Free an object of a slab; 0 or a status.

        `REFUSED` where pointers are hardened and it is the first on the free list already: a double free. That, and
        nothing else, is what the kernel notices without debugging.
        """
        cpus = self.cpu
        cache = self.slabs.record[slab * RECORD_ROW + CACHE]
        at = (cache * self.cpus + cpu) * CPU_ROW
        if cpus[at + CPU_SLAB] != slab:
            return self.free_slowly(cache, slab, address, cpu)
        first = cpus[at]
        slot = address + cpus[at + SLOT]
        if cpus[at + CPU_HARDENED]:
            if first == address:
                return REFUSED
            self.memory[slot >> 3] = hardened(first, self.slabs.cache[cache * CACHE_ROW + RANDOM], slot + BASE)
        else:
            self.memory[slot >> 3] = first
        cpus[at] = address
        return 0

    def free_slowly(self, cache: int, slab: int, address: int, cpu: int) -> int:
        """Free an object of a slab that is not the CPU's: to the slab's own list. As `free`."""
        slabs = self.slabs
        record = slabs.record
        row = slab * RECORD_ROW
        prior = record[row + FREELIST]
        if prior == address and slabs.is_hardened(cache):
            return REFUSED
        slabs.set_next_free(cache, address, prior)
        record[row + FREELIST] = address
        record[row + INUSE] -= 1
        if record[row + FROZEN]:
            return 0
        if prior == NULL and slabs.cache[cache * CACHE_ROW + CPU_SLABS] >= 0:
            record[row + FROZEN] = 1
            return self.put_cpu_partial(cache, slab, cpu)
        if record[row + INUSE] == 0 and slabs.has_enough(slab):
            if prior != NULL:
                slabs.remove_partial(slab)
            return slabs.discard(slab, cpu)
        if prior == NULL:
            slabs.add_partial(slab, 1)
        return 0

    def put_cpu_partial(self, cache: int, slab: int, cpu: int) -> int:
        """Put a slab that a free froze on the CPU's list; when that is full, all others of it go to their nodes.

        0 or a status.
        """
        at = (cache * self.cpus + cpu) * CPU_ROW
        old = self.cpu[at + CPU_PARTIAL]
        full = (
            old != 0
            and self.slabs.record[old * RECORD_ROW + WAITING] >= self.slabs.cache[cache * CACHE_ROW + CPU_SLABS]
        )
        if full:
            self.cpu[at + CPU_PARTIAL] = 0
        self.wait(at, slab)
        return self.unfreeze(old, cpu) if full else 0

    def unfreeze(self, slab: int, cpu: int) -> int:
        """Put slabs that are chained by NEXT on the tails of their nodes' lists, the first first; 0 or a status.

        An empty one goes back to the page allocator instead if the node has enough; of these the last goes first.
        """
        slabs = self.slabs
        record = slabs.record
        empty = 0
        while slab:
            row = slab * RECORD_ROW
            after = record[row + NEXT]
            record[row + FROZEN] = 0
            if record[row + INUSE] == 0 and slabs.has_enough(slab):
                record[row + NEXT] = empty
                empty = slab
            else:
                slabs.add_partial(slab, 1)
            slab = after
        status = 0
        while empty and status == 0:
            after = record[empty * RECORD_ROW + NEXT]
            status = slabs.discard(empty, cpu)
            empty = after
        return status

    # Taking from the CPUs

    def deactivate(self, cache: int, cpu: int, by: int) -> int:
        """Take a CPU's slab from it, with what is on the CPU's free list; `by` is the CPU that does it. 0 or a status.

        It goes to its node's list: to the head, or to the tail if others have freed into it meanwhile; or back to the
        page allocator if it is empty and the node has enough.
        """
        slabs = self.slabs
        record = slabs.record
        at = (cache * self.cpus + cpu) * CPU_ROW
        slab = self.cpu[at + CPU_SLAB]
        row = slab * RECORD_ROW
        free = self.cpu[at + CPU_FREELIST]
        count = 0
        last = NULL
        address = free
        while address != NULL:
            last = address
            count += 1
            address = slabs.next_free(cache, address)
            if address == CORRUPT or count > record[row + OBJECTS]:
                return CORRUPT
        self.cpu[at + CPU_SLAB] = 0
        self.cpu[at + CPU_FREELIST] = NULL
        theirs = record[row + FREELIST]
        if count:
            slabs.set_next_free(cache, last, theirs)
            record[row + FREELIST] = free
            record[row + INUSE] -= count
        record[row + FROZEN] = 0
        if record[row + INUSE] == 0 and slabs.has_enough(slab):
            return slabs.discard(slab, by)
        if record[row + FREELIST] != NULL:
            slabs.add_partial(slab, int(theirs != NULL))
        return 0

    def flush(self, cache: int, cpu: int, by: int) -> int:
        """Take all slabs of a cache from a CPU; 0 or a status."""
        at = (cache * self.cpus + cpu) * CPU_ROW
        if self.cpu[at + CPU_SLAB]:
            status = self.deactivate(cache, cpu, by)
            if status:
                return status
        waiting = self.cpu[at + CPU_PARTIAL]
        self.cpu[at + CPU_PARTIAL] = 0
        return self.unfreeze(waiting, by)

    def open(self, cache: int) -> None:
        """Begin a cache on all CPUs: none has a slab of it."""
        row = cache * CACHE_ROW
        for cpu in range(self.cpus):
            at = (cache * self.cpus + cpu) * CPU_ROW
            for word in range(CPU_ROW):
                self.cpu[at + word] = 0
            self.cpu[at + SLOT] = self.slabs.cache[row + OFFSET] - BASE
            self.cpu[at + CPU_HARDENED] = self.slabs.cache[row + HARDENED]
