"""`CacheState`: what a slab cache is and says: its shape, its rows, and who has its slabs.

It has everything but the operations, which are in `structpage.slab.cache`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from structpage.arguments import a_bytes, an_int, at_least, between
from structpage.core.slab.rows import (
    CACHE_ROW,
    CPU_SLABS,
    GFP,
    HARDENED,
    LEAST,
    LEFT,
    MIN_PARTIAL,
    NO_NODE,
    NODE_ROW,
    OFFSET,
    PAGE_OFFSET,
    PREFERRED,
    RANDOM,
    SEED,
    SEQUENCE_ROW,
    SHUFFLED,
    SIZE,
)
from structpage.errors import InvalidArgument, LimitExceeded, must
from structpage.frames import PAGE_SIZE
from structpage.gfp import a_gfp
from structpage.refusal import corruption
from structpage.slab.flags import SlabFlags
from structpage.slab.layer import Allocator, cache_named, free_number, layer_of, settled
from structpage.slab.shape import Geometry, geometry
from structpage.slab.views import SlabView, signed_address, unsigned_address
from structpage.tables import html_table

GFP_OF = {SlabFlags.CACHE_DMA: 0x01, SlabFlags.CACHE_DMA32: 0x04, SlabFlags.RECLAIM_ACCOUNT: 0x10}
"""Flags for pages that follow from a cache's."""
GFP_COMP = 0x40000
MOST_WORD = (1 << 64) - 1
MOST_NAME = 63
"""Characters of a name: what a row of `slab_table` has room for."""


class CacheState:
    """A cache as it is. `SlabCache` tells the parameters."""

    def __init__(
        self,
        allocator: Allocator,
        name: str,
        size: int | Geometry,
        *,
        align: int = 0,
        flags: int | str = 0,
        ctor: Callable[[int], bytes] | None = None,
        cpus: int | None = None,
        hardened: bool | int = False,
        random: int | Sequence[int] | None = None,
        kernel: str | None = None,
    ) -> None:
        cpus, kernel = settled(allocator, cpus, kernel)
        if not _is_word(name):
            rule = f"one word of 1 to {MOST_NAME} printable characters, for files that list caches"
            raise InvalidArgument(must("name", rule, repr(name)))
        if cache_named(allocator, name) is not None:
            raise InvalidArgument(must("name", "one that no cache has", repr(name)))
        if ctor is not None and not callable(ctor):
            raise InvalidArgument(must("ctor", "a function from an address to bytes", repr(ctor)))
        if not isinstance(size, Geometry):
            size = geometry(size, align=align, flags=flags, ctor=ctor is not None, cpus=cpus, kernel=kernel)
        if size.min_order > allocator.max_order:
            most = f"at most {PAGE_SIZE << allocator.max_order} bytes, the allocator's largest block"
            raise LimitExceeded(must(f"object of cache {name} with its metadata", most, size.size))
        self.allocator, self.name, self.geometry, self.ctor = allocator, name, size, ctor
        rng = Random(random if isinstance(random, int) else name)
        self.secret = _secret(hardened, rng)
        """What free pointers are hardened by, `None` if they are plain."""
        sequence = _sequence(random, size.objects, rng)
        self.starts: deque[int] = deque()
        """Places in the shuffled sequence at which the free lists of the next slabs start, before any is drawn."""
        self.number = free_number(allocator)
        self.layer = layer = layer_of(allocator, cpus, kernel)
        self._store, self._slub = layer.store, layer.slub
        self._cpus, self._begin = range(layer.cpus), allocator.engine.begin
        self.live: set[int] = set()
        """Addresses of the objects in use."""
        self._open(sequence, rng)

    def _open(self, sequence: Sequence[int], rng: Random) -> None:
        shape, layer = self.geometry, self.layer
        gfp = GFP_COMP if shape.order else 0
        for flag, bits in GFP_OF.items():
            gfp |= bits if shape.flags & flag else 0
        row = layer.words("slab caches")[self.number * CACHE_ROW :][:CACHE_ROW]
        row[:] = 0
        row[[SIZE, OFFSET, LEFT, PREFERRED, LEAST]] = (
            shape.size,
            shape.offset,
            shape.red_left_pad,
            min(shape.order, self.allocator.max_order),
            shape.min_order,
        )
        row[[MIN_PARTIAL, CPU_SLABS, GFP]] = shape.min_partial, -1 if shape.debug else shape.cpu_partial_slabs, gfp
        row[[HARDENED, RANDOM]] = self.secret is not None, signed_address(self.secret or 0)
        row[[SHUFFLED, SEED]] = len(sequence), rng.getrandbits(31)
        layer.words("slab sequences")[self.number * SEQUENCE_ROW :][: len(sequence)] = sequence
        nodes = self._store.nodes * NODE_ROW
        layer.words("slab nodes")[self.number * nodes :][:nodes] = 0
        self._slub.open(self.number)

    # Memory

    def read(self, address: int, length: int | None = None) -> bytes:
        """Return `length` bytes from an address on, by default an object's; raises `OutOfRange` outside the memory."""
        self.must_exist()
        length = self.geometry.object_size if length is None else at_least("length", length, 0)
        return self.layer.memory.read(0, an_int("address", address) - PAGE_OFFSET, length)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes from an address on, whoever's they are; raises `OutOfRange` outside the memory."""
        self.must_exist()
        content = data if isinstance(data, bytes) else a_bytes("data", data)
        self.layer.memory.write(0, an_int("address", address) - PAGE_OFFSET, content)

    # Sizes that may be set

    @property
    def min_partial(self) -> int:
        """Partial slabs that a node keeps before it gives an empty one back; may be set."""
        self.must_exist()
        return self._store.cache[self.number * CACHE_ROW + MIN_PARTIAL]

    @min_partial.setter
    def min_partial(self, slabs: int) -> None:
        self.must_exist()
        self.geometry = replace(self.geometry, min_partial=at_least("min_partial", slabs, 0))
        self._store.cache[self.number * CACHE_ROW + MIN_PARTIAL] = slabs

    @property
    def cpu_partial(self) -> int:
        """Free objects meant to wait on a CPU's partial list; may be set, which flushes the CPUs.

        As in sysfs it must be 0 for a cache that is debugged.
        """
        return self.geometry.cpu_partial

    @cpu_partial.setter
    def cpu_partial(self, objects: int) -> None:
        self.must_exist()
        objects = at_least("cpu_partial", objects, 0)
        if objects and self.geometry.debug:
            raise InvalidArgument(must("cpu_partial of a cache that is debugged", "0", objects))
        slabs = -(-2 * objects // self.geometry.objects)
        self.geometry = replace(self.geometry, cpu_partial=objects, cpu_partial_slabs=slabs)
        self.flush()
        if not self.geometry.debug:
            self._store.cache[self.number * CACHE_ROW + CPU_SLABS] = slabs

    # Taking from the CPUs

    def flush(self, cpu: int | None = None) -> None:
        """Take the slabs of a CPU, or of all, to their nodes' lists; empty ones are given back where there are enough.

        O(slabs of the CPUs).
        """
        self.must_exist()
        for one in range(self.layer.cpus) if cpu is None else (self._cpu(cpu),):
            if self._slub.flush(self.number, one, one):
                raise corruption(self.allocator)

    # Being looked at

    @property
    def objects(self) -> list[int]:
        """Addresses of all objects in use, ascending."""
        return sorted(self.live)

    @property
    def slabs(self) -> list[SlabView]:
        """All slabs, in the order of their records' numbers. O(slabs of all caches)."""
        self.must_exist()
        views = (SlabView(self._store, number) for number in self.layer.records().tolist())
        return [view for view in views if view.cache == self.number]

    def partial(self, node: int = 0) -> list[SlabView]:
        """Return a node's partial list, head to tail."""
        self.must_exist()
        return [SlabView(self._store, number) for number in self.layer.partial(self.number, self._node(node))]

    def cpu_slab(self, cpu: int = 0) -> tuple[SlabView | None, list[int], list[SlabView]]:
        """Return what a CPU has: its slab, its free list's addresses, and its partial list."""
        slab, first, waiting = self.layer.cpu_state(self.number, self._cpu(cpu))
        view = SlabView(self._store, slab) if slab else None
        free = view.free_objects(unsigned_address(first)) if view else []
        return view, free, [SlabView(self._store, number) for number in waiting]

    def __len__(self) -> int:
        """Return the number of objects in use."""
        return len(self.live)

    def __repr__(self) -> str:
        if self.is_destroyed():
            return f"<SlabCache {self.name}: destroyed>"
        slabs = self.slabs
        total = sum(slab.objects for slab in slabs)
        return (
            f"<SlabCache {self.name}: {len(self.live)} of {total} objects in use, size {self.geometry.size}, "
            f"{len(slabs)} slabs of order {self.geometry.order}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (slab.number, slab.pfn, slab.order, slab.node, slab.inuse, slab.objects, "yes" if slab.frozen else "")
            for slab in (() if self.is_destroyed() else self.slabs)
        ]
        return html_table(repr(self).strip("<>"), ("slab", "PFN", "order", "node", "in use", "objects", "frozen"), rows)

    # Arguments

    def is_destroyed(self) -> bool:
        """Whether `destroy` ended the cache; another may have its number then."""
        return self.layer.caches.get(self.number) is not self

    def must_exist(self) -> None:
        """Raise `InvalidArgument` if the cache was destroyed."""
        if self.is_destroyed():
            raise InvalidArgument(must(f"cache {self.name}", "used before it is destroyed", "after"))

    def _cpu(self, cpu: int) -> int:
        self.must_exist()
        return self.layer.a_cpu(cpu)

    def _node(self, node: int | None) -> int:
        return NO_NODE if node is None else self.layer.a_node(node)

    _gfp = staticmethod(a_gfp)


def _is_word(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MOST_NAME and name.isprintable() and " " not in name


def _secret(hardened: bool | int, rng: Random) -> int | None:
    if hardened is False:
        return None
    return rng.getrandbits(64) if hardened is True else between("hardened", hardened, 0, MOST_WORD)


def _sequence(random: int | Sequence[int] | None, objects: int, rng: Random) -> Sequence[int]:
    if random is None or objects < 2:
        return ()
    if isinstance(random, int):
        return rng.sample(range(objects), objects)
    if sorted(random) != list(range(objects)):
        raise InvalidArgument(must("random", f"a seed, or the numbers 0 to {objects - 1} in some order", list(random)))
    return random
