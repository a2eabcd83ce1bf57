"""`SlabCache`: objects of one size, on slabs of pages from a buddy allocator or a machine.

Addresses are those of the direct map, as the kernel prints them. What a caller does with an object goes through `read`
and `write`, which like a pointer reach any byte of memory: what becomes of a mistake is the debugging's matter.

The cache knows which addresses it gave out, so a bad free is refused in every mode, where a kernel without debugging
would go on with a broken free list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from structpage.arguments import a_bytes, an_int
from structpage.core.slab.rows import (
    CACHE_ROW,
    DISCARDED,
    GFP,
    NO_NODE,
    NULL,
    PAGE_OFFSET,
)
from structpage.core.slab.script import GFP_KERNEL
from structpage.core.slab.slabs import PASSED_ON
from structpage.core.status import CORRUPT, NO_MEMORY
from structpage.errors import CacheInUse, InvalidArgument, OutOfMemory, must
from structpage.frames import PAGE_SHIFT
from structpage.machine import Machine
from structpage.refusal import corruption
from structpage.slab.debugged import SingleObjects
from structpage.slab.finding import why_no_object
from structpage.slab.shrinking import shrink_node
from structpage.slab.state import CacheState
from structpage.slab.tracks import Who, a_who
from structpage.slab.views import ADDRESSES, SlabView


class SlabCache(CacheState):
    """A cache of objects of `size` bytes on a `BuddyAllocator` or a `Machine`.

    Parameters: `allocator`, which the caches share; `name`, no other cache's; `size` in bytes, or a `Geometry`, from
    which all that follows is taken as it is; `align`, a power of two or 0; `flags`, `SlabFlags` or letters of
    slub_debug=; `ctor`, a function from an object's address to the bytes it begins with; `cpus`, for all caches of a
    buddy allocator, by default 1 (a machine has its own); `hardened`, whether free pointers are stored hardened, or by
    what number; `random`, a seed or a permutation of the objects' numbers by which the free lists of new slabs are
    made, ascending otherwise; `kernel`, whose layer per CPU it is.

    Constructed objects keep their content while they are free. Caches are never merged, as with slab_nomerge. Raises
    `InvalidArgument`, `LimitExceeded`, `UnknownName`; there is no new cache then.
    """

    def _open(self, sequence: Sequence[int], rng: Random) -> None:
        super()._open(sequence, rng)
        self._single = SingleObjects(self) if self.geometry.debug else None
        self.layer.caches[self.number] = self

    # Allocating

    def alloc(
        self,
        cpu: int = 0,
        *,
        node: int | None = None,
        gfp: int | str = GFP_KERNEL,
        zero: bool = False,
        who: Who | None = None,
        asked: int | None = None,
    ) -> int:
        """Allocate an object for a caller on `cpu`, and return its address.

        `node` is where it is wanted from, by default where the CPU is, or near; `gfp` is for the pages of a new slab;
        `zero` clears the object, as `kmem_cache_zalloc` does; `who`, and the bytes `asked` of a kmalloc cache, are
        noted by STORE_USER. Raises `OutOfMemory`, `InvalidArgument`, and `SlabCorruption` for what debugging finds.
        O(1); a new slab costs O(objects).
        """
        if cpu not in self._cpus:
            self._cpu(cpu)
        if gfp != GFP_KERNEL:
            gfp = self._gfp(gfp)
        if who is not None:
            a_who(who)
        self._begin()
        if self._single is not None:
            address = self._single.alloc(cpu, self._node(node), self._gfp(gfp), who, asked)
        else:
            found = self._slub.alloc(self.number, cpu, NO_NODE if node is None else self._node(node))
            if found == NULL:
                found = self._from_new_slab(cpu, self._node(node), self._gfp(gfp))
            if found == CORRUPT:
                raise corruption(self.allocator)
            address = found + ADDRESSES
        self.live.add(address)
        if zero:
            self.write(address, bytes(self.geometry.object_size))
        return address

    def _from_new_slab(self, cpu: int, node: int, gfp: int) -> int:
        address: int = self._slub.load(self.number, cpu, self.new_slab(cpu, node, gfp))
        return address

    def new_slab(self, cpu: int, node: int, gfp: int) -> int:
        """Make a slab, on no list yet, with all objects free; its record's number.

        Raises `OutOfMemory`; what a constructor raises is passed on, and the pages are given back then.
        """
        store = self._store
        node = self._slub.cpu_node[cpu] if node == NO_NODE else node
        number = store.make(self.number, gfp, cpu, node)
        if number == NO_MEMORY:
            raise OutOfMemory(self._why_no_slab(gfp, node))
        if number < 0:
            raise corruption(self.allocator)
        slab = SlabView(store, number)
        try:
            if self._single is not None:
                self._single.debug.setup_slab(slab.address, slab.order, slab.objects)
            if self.ctor is not None:
                self._construct(slab, self.ctor)
        except BaseException:
            store.discard(number, cpu)
            raise
        store.link(number, self.starts.popleft() if self.starts else store.draw(self.number))
        return number

    def _why_no_slab(self, gfp: int, node: int) -> str:
        order = self.geometry.min_order
        if isinstance(self.allocator, Machine):
            bits = gfp & PASSED_ON | self._store.cache[self.number * CACHE_ROW + GFP]
            return f"slab of cache {self.name}: {self.allocator._why_none(order, bits, node)}"
        rule = f"a block of order {order} or more, in a zone that will do"
        return must(f"free memory for a slab of cache {self.name}", rule, "less")

    def _construct(self, slab: SlabView, ctor: Callable[[int], bytes]) -> None:
        first, size = slab.first_object, self.geometry.size
        for address in range(first, first + slab.objects * size, size):
            content = a_bytes("what ctor returns", ctor(address))
            if len(content) > self.geometry.object_size:
                rule = f"at most {self.geometry.object_size} bytes, as the object has"
                raise InvalidArgument(must("what ctor returns", rule, len(content)))
            self.write(address, content)

    # Freeing

    def free(self, address: int, cpu: int = 0, *, who: Who | None = None) -> None:
        """Free an object of this cache, on `cpu`.

        Raises `DoubleFree` and `InvalidObject` for an address that is no object in use of it, and says what is there;
        `SlabCorruption` for what debugging finds. Nothing is freed then, unless the free made its slab empty and the
        damage was found when the pages went back. O(1); with debugging O(objects).
        """
        if cpu not in self._cpus:
            self._cpu(cpu)
        if who is not None:
            a_who(who)
        self._begin()
        if self._single is not None:
            self._single.free(an_int("address", address), cpu, who)
            return
        if type(address) is not int:
            address = an_int("address", address)
        if address not in self.live:
            raise why_no_object(self, address)
        slab = self._store.record_of(address - PAGE_OFFSET >> PAGE_SHIFT)
        if slab == 0 or self._slub.free(slab, address - ADDRESSES, cpu):
            raise corruption(self.allocator)
        self.live.discard(address)

    # Giving back

    def discard(self, slab: SlabView, cpu: int) -> None:
        """Give an empty slab, which is on no list, back to the page allocator; damage that is found is raised after."""
        damage = self._single.discarded(slab) if self._single is not None else None
        if self._store.discard(slab.number, cpu):
            raise corruption(self.allocator)
        if damage is not None:
            raise damage

    def shrink(self, cpu: int = 0) -> int:
        """Give all empty slabs back, and sort the partial lists, fullest slabs first; the number of slabs given back.

        Followed: Linux 6.1 mm/slub.c, `__kmem_cache_do_shrink`. O(partial slabs).
        """
        cpu = self._cpu(cpu)
        before = self._given_back()
        self.flush()
        for node in self.layer.nodes:
            shrink_node(self, node, cpu)
        return self._given_back() - before

    def _given_back(self) -> int:
        return self._store.cache[self.number * CACHE_ROW + DISCARDED]

    def destroy(self) -> None:
        """Give all slabs back and end the cache; raises `CacheInUse` while there are objects in use.

        Slabs that debugging disabled, or in which it lost free objects, are given back too; the kernel keeps these.
        """
        self._cpu(0)
        if self.live:
            found = f"with {len(self.live)} in use, the lowest at {min(self.live):#x}"
            raise CacheInUse(must(f"cache {self.name}", "without objects in use to be destroyed: free them", found))
        self.shrink()
        for slab in self.slabs if self.geometry.debug else ():
            if slab.is_listed():
                self._store.remove_partial(slab.number)
            self._store.discard(slab.number, 0)
        del self.layer.caches[self.number]
        self._cpus = range(0)

    def check(self) -> None:
        """Verify every invariant of all caches, and with debugging every byte of this one's; raises `CorruptionError`.

        O(frames + objects).
        """
        self.must_exist()
        if self._single is not None:
            self._single.check()
        self.layer.check()
