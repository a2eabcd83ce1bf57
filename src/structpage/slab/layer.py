"""`SlabLayer`: what all slab caches over one allocator share: the records of slabs, and which caches there are.

It hangs on the allocator as `slabs`, made with the first cache. Its buffers lie beside the allocator's, and count
nowhere as its metadata: a record is what the kernel keeps in the slab's own `struct page`.

The policy of CPUs is a class of the core, by the version of the kernel. `Slub61` is what there is; another one stands
on the same `Slabs`, and has `alloc`, `load`, `free`, `flush` and `open`. That of 7.3 would be `Sheaves73`, in
`core.slab.sheaves73`. A *sheaf* is an array of addresses of free objects, as many as the cache's sheaf capacity. Each
CPU has a *main* sheaf, which its calls pop and push, and a *spare* one, swapped with it when it is empty or full; then
they are exchanged with the *barn* of the CPU's node, which keeps full sheaves and empty ones, a few of each at most.
The rows of CPUs would name the two sheaves, the rows of nodes the barn's, and below the barn objects come from the
slabs of `Slabs.add_partial` and go back to them, as in 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from structpage import mapping
from structpage.allocator import BuddyAllocator
from structpage.arguments import an_int, at_least, between, named
from structpage.core.slab.rows import (
    CACHE_ROW,
    CACHES,
    CPU_FREELIST,
    CPU_PARTIAL,
    CPU_ROW,
    CPU_SLAB,
    FIRST,
    HIGHEST,
    NEXT,
    NODE_ROW,
    NR_PARTIAL,
    OBJECTS,
    PAGE_OFFSET,
    RECORD_ROW,
    RECORDS_ROW,
    SEQUENCE_ROW,
)
from structpage.core.slab.slabs import Slabs
from structpage.core.slab.slub61 import Slub61
from structpage.core.slab.sources import FromBuddy, FromMachine, PageSource, wanted_zone
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import DEFAULT_TYPE, ZIDS
from structpage.errors import InvalidArgument, InvalidFree, LimitExceeded, OutOfMemory, must
from structpage.frames import PAGE_SHIFT, FrameMemory
from structpage.machine import Machine
from structpage.slab.kernel_log import KernelLog

if TYPE_CHECKING:
    from structpage.slab.cache import SlabCache

Allocator = BuddyAllocator | Machine
POLICIES = {"6.1": Slub61}
"""Layers per CPU, by the version of the kernel."""


class Hooked:
    """Pages of a buddy allocator whose consumers are to be heard."""

    def __init__(self, buddy: BuddyAllocator) -> None:
        self.buddy = buddy

    def take(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate a block."""
        try:
            return self.buddy.alloc_from(wanted_zone(gfp, node), order, DEFAULT_TYPE, owner)
        except OutOfMemory:
            return NO_MEMORY

    def give(self, pfn: int, order: int, cpu: int) -> int:
        """Free a block."""
        try:
            self.buddy.free_as(pfn, order)
        except InvalidFree:
            return REFUSED
        return 0


class Supplied:
    """Pages of a machine whose placement takes nodes, which each call has to see to."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def take(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate a block."""
        try:
            pfn = self.machine.alloc_pages(order, gfp, cpu, node)
        except OutOfMemory:
            return NO_MEMORY
        memmap = self.machine.core.memmap
        memmap.mark_allocated(pfn, order, memmap.lane_of(pfn), owner)
        return pfn

    def give(self, pfn: int, order: int, cpu: int) -> int:
        """Free a block."""
        try:
            self.machine.free_pages(pfn, order, cpu)
        except InvalidFree:
            return REFUSED
        return 0


class SlabLayer:
    """The slab layer over an allocator; caches find or make it (`layer_of`).

    `slub` is the core's policy, `store` the core's slabs below it, `buffers` the rows of `core.slab.rows` by name,
    `caches` the caches by number, `log` what the debugging printed.
    """

    def __init__(self, allocator: Allocator, cpus: int, kernel: str) -> None:
        self.allocator, self.cpus, self.kernel = allocator, cpus, kernel
        if allocator.memory is None:
            allocator.memory = FrameMemory(allocator.pages.frames)
        self.memory: FrameMemory = allocator.memory
        self.nodes = sorted({zone.node for zone in allocator.zones})
        self.caches: dict[int, SlabCache] = {}
        self.log = KernelLog()
        self.buffers: dict[str, mapping.Words] = {}
        rows, engine = self.nodes[-1] + 1, allocator.engine
        content = engine.buffer("objects" if engine.name == "checked" else "memory", self.memory.words)
        slabs = Slabs(
            allocator.core,
            _source(allocator),
            content,
            self._buffer("slabs", (allocator.pages.frames + 3) * RECORD_ROW),
            self._buffer("slab records", RECORDS_ROW),
            self._buffer("slab caches", CACHES * CACHE_ROW),
            self._buffer("slab nodes", CACHES * rows * NODE_ROW),
            self._buffer("slab sequences", CACHES * SEQUENCE_ROW),
            rows,
        )
        cpu_node = self._buffer("slab cpu nodes", cpus)
        for cpu in range(cpus):
            cpu_node[cpu] = _node_of(allocator, self.nodes, cpu, cpus)
        slub: Any = POLICIES[kernel](
            slabs,
            self._buffer("slab cpus", CACHES * cpus * CPU_ROW),
            content,
            len(self.memory.words),
            cpus,
            cpu_node,
        )
        self.slub = engine.adopt(slub)
        self.store: Slabs = self.slub.slabs

    def _buffer(self, name: str, words: int) -> Any:
        self.buffers[name] = mapping.zeros(words)
        return self.allocator.engine.buffer(name, self.buffers[name])

    def words(self, name: str) -> npt.NDArray[np.int64]:
        """Return a buffer's words, writable, as the core sees them; for tools that set slabs up."""
        return self.buffers[name].view(np.int64)

    def records(self) -> npt.NDArray[np.int64]:
        """Return the numbers of all records in use, ascending; int64."""
        highest = int(self.words("slab records")[HIGHEST])
        rows = self.words("slabs")[: (highest + 1) * RECORD_ROW].reshape(-1, RECORD_ROW)
        found: npt.NDArray[np.int64] = np.flatnonzero(rows[:, OBJECTS])
        return found

    def record_at(self, address: int) -> int:
        """Return the number of the slab that an address lies in, 0 if it is in none."""
        pfn = address - PAGE_OFFSET >> PAGE_SHIFT
        return self.store.record_of(pfn) if 0 <= pfn < self.allocator.pages.frames else 0

    def cpu_node(self, cpu: int) -> int:
        """Return the node of a CPU."""
        node: int = self.slub.cpu_node[cpu]
        return node

    def a_cpu(self, cpu: int) -> int:
        """Return the number of a CPU that there is; raises `InvalidArgument`."""
        return between("cpu", cpu, 0, self.cpus - 1)

    def a_node(self, node: int) -> int:
        """Return the number of a node that has memory; raises `InvalidArgument`."""
        if an_int("node", node) not in self.nodes:
            raise InvalidArgument(must("node", f"one of {', '.join(map(str, self.nodes))}", node))
        return node

    def nodes_from(self, node: int) -> list[int]:
        """Return the nodes by their distance from one, itself first."""
        rows = self.allocator.buffers["zonelist"].view(np.int64).reshape(-1, self.allocator.core.zones + 1)
        zones = rows[node * ZIDS + ZIDS - 1].tolist()
        return list(dict.fromkeys(zone // ZIDS for zone in zones[: zones.index(-1)]))

    # What is where

    def nr_partial(self, cache: int, node: int) -> int:
        """Return the number of slabs on a node's partial list, as it is counted."""
        return self.store.node[(cache * self.store.nodes + node) * NODE_ROW + NR_PARTIAL]

    def first_partial(self, cache: int, node: int) -> int:
        """Return the first slab of a node's partial list, 0 if there is none."""
        return self.store.node[(cache * self.store.nodes + node) * NODE_ROW + FIRST]

    def partial(self, cache: int, node: int) -> list[int]:
        """Return the slabs of a node's partial list, head to tail; a circle is cut after the number of records."""
        return self._chain(self.first_partial(cache, node))

    def cpu_state(self, cache: int, cpu: int) -> tuple[int, int, list[int]]:
        """Return a CPU's slab, the first object of its free list, and the slabs of its partial list."""
        at = (cache * self.cpus + cpu) * CPU_ROW
        cpus = self.slub.cpu
        return cpus[at + CPU_SLAB], cpus[at + CPU_FREELIST], self._chain(cpus[at + CPU_PARTIAL])

    def _chain(self, slab: int) -> list[int]:
        found: list[int] = []
        highest = self.store.records[HIGHEST]
        while 0 < slab <= highest and len(found) <= highest:
            found.append(slab)
            slab = self.store.record[slab * RECORD_ROW + NEXT]
        return found

    def check(self) -> None:
        """Verify every invariant of the slab layer; raises `CorruptionError`. O(frames + objects)."""
        from structpage.slab.check import check_layer

        check_layer(self)


def layer_over(allocator: Allocator) -> SlabLayer | None:
    """Return the slab layer over an allocator, `None` before its first cache; raises `InvalidArgument`."""
    if not isinstance(allocator, Allocator):
        raise InvalidArgument(must("allocator", "a BuddyAllocator or a Machine", repr(allocator)))
    return allocator.slabs


def settled(allocator: Allocator, cpus: int | None, kernel: str | None) -> tuple[int, str]:
    """Return the number of CPUs and the kernel of the caches over an allocator, whether there is one yet or not.

    Raises `InvalidArgument` for others than its machine, or its caches, have; `UnknownName` for no kernel known.
    """
    layer = layer_over(allocator)
    if layer is not None:
        own_cpus, own_kernel = layer.cpus, layer.kernel
    elif isinstance(allocator, Machine):
        own_cpus, own_kernel = allocator.cpus, allocator.kernel
    else:
        own_cpus, own_kernel = at_least("cpus", 1 if cpus is None else cpus, 1), kernel or "6.1"
    if cpus not in (None, own_cpus):
        raise InvalidArgument(must("cpus", f"{own_cpus}, as the allocator's caches have", cpus))
    if kernel not in (None, own_kernel):
        raise InvalidArgument(must("kernel", f"{own_kernel}, as the allocator's caches have", repr(kernel)))
    return own_cpus, named("kernel", own_kernel, POLICIES)


def free_number(allocator: Allocator) -> int:
    """Return the lowest number that no cache has; raises `LimitExceeded` if there is none."""
    taken = allocator.slabs.caches if allocator.slabs else ()
    for number in range(CACHES):
        if number not in taken:
            return number
    raise LimitExceeded(must("slab caches", f"at most {CACHES}", CACHES + 1))


def cache_named(allocator: Allocator, name: str) -> SlabCache | None:
    """Return the cache of a name, `None` if there is none."""
    caches = allocator.slabs.caches.values() if allocator.slabs else ()
    return next((cache for cache in caches if cache.name == name), None)


def layer_of(allocator: Allocator, cpus: int | None = None, kernel: str | None = None) -> SlabLayer:
    """Return the slab layer over an allocator, made if there is none yet; raises as `settled`."""
    cpus, kernel = settled(allocator, cpus, kernel)
    if allocator.slabs is None:
        allocator.slabs = SlabLayer(allocator, cpus, kernel)
    return allocator.slabs


def _source(allocator: Allocator) -> PageSource:
    if isinstance(allocator, Machine):
        return FromMachine(allocator.machine) if allocator.supply is None else Supplied(allocator)
    return Hooked(allocator) if allocator.consumers else FromBuddy(allocator.core)


def _node_of(allocator: Allocator, nodes: list[int], cpu: int, cpus: int) -> int:
    return allocator.cpu_node[cpu] if isinstance(allocator, Machine) else nodes[cpu * len(nodes) // cpus]
