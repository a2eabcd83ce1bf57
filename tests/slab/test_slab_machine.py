"""Slab over buddy over every placement, and over a machine: caches of every kind beside one another and beside pages.

The model is what each caller wrote: an object's content is its own until it is freed, whoever allocates meanwhile. So
overlaps, objects that are handed out twice, and pages taken from under a slab all show as foreign bytes; and what the
allocators keep in memory that is free must not show at all.
"""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from machine_helpers import small

from structpage import BuddyAllocator
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.errors import CacheInUse, DoubleFree, InvalidFree, InvalidObject, OutOfMemory, SlabCorruption
from structpage.slab import Kmalloc, SlabCache, SlabFlags, find
from structpage.slab.flags import LETTERS as FLAG_OF
from structpage.slab.shape import KMALLOC_SIZES

FRAMES, MAX_ORDER = 128, 5
LETTERS = ["F", "Z", "FP", "FZ", "FU", "FZPU"]
PICK = st.integers(0, 999)
KINDS = st.fixed_dictionaries(
    {
        # Mostly a few objects to a slab, so that slabs fill up and empty.
        "size": st.sampled_from([1, 8, 60, 192, 512, 1024, 4096]) | st.integers(300, 1500),
        "align": st.sampled_from([0, 0, 32, 256]),
        "letters": st.sampled_from(LETTERS),
        "other": st.sampled_from([SlabFlags(0), SlabFlags.TYPESAFE_BY_RCU, SlabFlags.HWCACHE_ALIGN]),
        "constructed": st.booleans(),
        "hardened": st.booleans(),
        "random": st.none() | st.integers(0, 3),
        "min_partial": st.integers(0, 3),
    }
)
CPUS = 2


def constructed(address):
    return (address & 0xFFFF).to_bytes(2, "little")


class SlabMachine(RuleBasedStateMachine):
    placement = "side-table"
    on_machine = False

    def build(self):
        if self.on_machine:
            return small(FRAMES, cpus=CPUS, max_order=MAX_ORDER, batch=3, high=8)
        return BuddyAllocator(FRAMES, self.placement, max_order=MAX_ORDER)

    @initialize(
        watched=st.booleans(),
        letters=st.sampled_from(LETTERS),
        hardened=st.booleans(),
        random=st.none() | st.integers(0, 3),
    )
    def begin(self, watched, letters, hardened, random):
        # Caches that are debugged have nothing per CPU: half of the runs have none of them.
        self.watched = watched
        letters = letters if watched else ""
        self.allocator = self.build()
        self.pages = {}
        self.made = 0
        self.options = {}
        self.kmalloc = Kmalloc(self.allocator, flags=letters, cpus=CPUS, hardened=hardened, random=random)
        self.classes = [cache for caches in self.kmalloc.caches.values() for cache in caches]
        self.caches = []
        self.held = []
        """(cache, None for kmalloc; address; bytes that were written there last)."""

    # Caches

    @precondition(lambda self: len(self.caches) < 4)
    @rule(kind=KINDS)
    def create(self, kind):
        kind = dict(kind)
        flags = kind.pop("other")
        letters, size, min_partial = kind.pop("letters"), kind["size"], kind.pop("min_partial")
        ctor = (lambda address: constructed(address)[:size]) if kind.pop("constructed") else None
        self.made += 1
        for letter in letters if self.watched else "":
            flags |= FLAG_OF[letter]
        cache = SlabCache(self.allocator, f"cache-{self.made}", flags=flags, ctor=ctor, **kind)
        cache.min_partial = min_partial
        self.caches.append(cache)

    @precondition(lambda self: self.caches)
    @rule(pick=PICK)
    def destroy(self, pick):
        cache = self.caches[pick % len(self.caches)]
        if any(entry[0] is cache for entry in self.held):
            with pytest.raises(CacheInUse):
                cache.destroy()
        else:
            cache.destroy()
            self.caches.remove(cache)

    @precondition(lambda self: self.caches)
    @rule(pick=PICK, flush=st.booleans())
    def shrink(self, pick, flush):
        cache = self.caches[pick % len(self.caches)]
        if flush:
            cache.flush()
        else:
            cache.shrink()
            assert all(slab.inuse for slab in cache.slabs)

    # Objects

    @precondition(lambda self: self.caches)
    @rule(
        pick=PICK,
        cpu=st.integers(0, CPUS - 1),
        zero=st.booleans(),
        count=st.integers(1, 30),
        byte=st.binary(min_size=1, max_size=3),
    )
    def alloc(self, pick, cpu, zero, count, byte):
        cache = self.caches[pick % len(self.caches)]
        for i in range(count):
            try:
                address = cache.alloc(cpu, zero=zero)
            except OutOfMemory:
                return
            assert address % cache.geometry.align == 0
            if zero:
                assert not any(cache.read(address))
            elif cache.ctor:
                assert cache.read(address, len(cache.ctor(address))) == cache.ctor(address)
            self.write(cache, address, cache.geometry.object_size, byte + bytes((i,)))

    @rule(
        size=st.integers(300, 1500) | st.sampled_from([*KMALLOC_SIZES, 8193, 20000]),
        cpu=st.integers(0, CPUS - 1),
        byte=st.binary(min_size=1, max_size=3),
    )
    def alloc_any_size(self, size, cpu, byte):
        try:
            address = self.kmalloc.alloc(
                size, cpu, gfp="GFP_KERNEL" if len(byte) > 1 else "GFP_KERNEL|__GFP_RECLAIMABLE"
            )
        except OutOfMemory:
            return
        assert self.kmalloc.ksize(address) >= size
        self.write(None, address, size, byte)

    def write(self, cache, address, size, pattern):
        content = (pattern * (size // len(pattern) + 1))[:size]
        self.allocator.memory.write(0, address - PAGE_OFFSET, content)
        self.held.append((cache, address, content))

    @precondition(lambda self: self.held)
    @rule(pick=PICK, count=st.integers(1, 30), cpu=st.integers(0, CPUS - 1))
    def free(self, pick, count, cpu):
        for _ in range(min(count, len(self.held))):
            cache, address, content = self.held.pop(pick % len(self.held))
            self.intact(address, content)
            if cache and cache.ctor:
                cache.write(address, cache.ctor(address))
            (cache or self.kmalloc).free(address, cpu)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, at=st.integers(1, 5000))
    def free_wrongly(self, pick, at):
        cache, address, _ = self.held[pick % len(self.held)]
        found = find(self.allocator, address)
        if found is None:
            with pytest.raises(InvalidObject):
                self.kmalloc.free(address + at)
            return
        assert found.address == address
        assert found.cache is cache or (cache is None and found.cache in self.classes)
        for other in self.caches:
            if other is not found.cache:
                with pytest.raises(InvalidObject, match=f"cache {found.cache.name}"):
                    other.free(address)
        inside = 1 + at % found.cache.geometry.object_size
        if inside < found.cache.geometry.size:
            with pytest.raises(InvalidObject):
                found.cache.free(address + inside)

    @precondition(lambda self: self.held)
    @rule(pick=PICK)
    def free_twice(self, pick):
        cache, address, _ = self.held.pop(pick % len(self.held))
        if cache and cache.ctor:
            cache.write(address, cache.ctor(address))
        (cache or self.kmalloc).free(address)
        if cache is not None and find(self.allocator, address) is not None:
            with pytest.raises(DoubleFree):
                cache.free(address)
        else:
            with pytest.raises(InvalidFree):
                self.kmalloc.free(address)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, left=st.booleans())
    def overflow(self, pick, left):
        """Checked red zones tell of a byte too many, and the object can be freed once they did."""
        _, address, _ = self.held[pick % len(self.held)]
        found = find(self.allocator, address)
        both = SlabFlags.CONSISTENCY_CHECKS | SlabFlags.RED_ZONE
        if found is None or found.cache.geometry.flags & both != both:
            return
        at = address - 1 if left else address + found.cache.geometry.object_size
        found.cache.write(at, bytes((found.cache.read(at, 1)[0] ^ 1,)))
        with pytest.raises(SlabCorruption) as caught:
            found.cache.free(address)
        assert caught.value.field == ("Left Redzone" if left else "Right Redzone")
        assert (caught.value.address, caught.value.object, caught.value.cache) == (at, address, found.cache.name)

    @precondition(lambda self: self.caches)
    @rule(pick=PICK, at=PICK)
    def write_after_free(self, pick, at):
        """Poison tells of a byte that was written to a free object."""
        cache = self.caches[pick % len(self.caches)]
        listed = cache.partial()
        if not listed or not cache.geometry.flags & SlabFlags.OBJECT_POISON:
            return
        free = listed[pick % len(listed)].free_objects()
        victim = free[pick % len(free)]
        byte = victim + at % cache.geometry.object_size
        cache.write(byte, bytes((cache.read(byte, 1)[0] ^ 0x80,)))
        with pytest.raises(SlabCorruption) as caught:
            cache.check()
        assert caught.value.field.endswith("Poison")
        assert (caught.value.address, caught.value.object) == (byte, victim)

    # Pages

    @rule(order=st.integers(0, 3), byte=st.integers(0, 255), cpu=st.integers(0, CPUS - 1))
    def alloc_pages(self, order, byte, cpu):
        try:
            pfn = self.allocator.alloc_pages(order, cpu=cpu) if self.on_machine else self.allocator.alloc(order)
        except OutOfMemory:
            return
        self.pages[pfn] = order, byte
        self.allocator.memory.fill(pfn, order, byte)

    @precondition(lambda self: self.pages)
    @rule(pick=PICK, cpu=st.integers(0, CPUS - 1))
    def free_pages(self, pick, cpu):
        pfn = sorted(self.pages)[pick % len(self.pages)]
        order, _ = self.pages.pop(pfn)
        if self.on_machine:
            self.allocator.free_pages(pfn, order, cpu)
        else:
            self.allocator.free(pfn)

    # What holds after every step

    def intact(self, address, content):
        assert self.allocator.memory.read(0, address - PAGE_OFFSET, len(content)) == content, f"{address:#x}"

    @invariant()
    def sound(self):
        self.allocator.check()
        for cache in self.caches:
            cache.check()

    @invariant()
    def contents_are_their_owners(self):
        for _, address, content in self.held:
            self.intact(address, content)
        for pfn, (order, byte) in self.pages.items():
            assert len(self.allocator.memory.differs(pfn, order, byte)) == 0

    @invariant()
    def objects_are_the_models(self):
        for cache in self.caches:
            mine = sorted(address for owner, address, _ in self.held if owner is cache)
            assert cache.objects == mine
            assert sum(slab.objects for slab in cache.slabs) >= len(mine)

    def teardown(self):
        if not hasattr(self, "allocator"):
            return
        while self.held:
            self.free(0, 30, 0)
        while self.pages:
            self.free_pages(0, 0)
        for cache in [*self.caches, *self.classes]:
            cache.destroy()
        self.allocator.check()
        if self.on_machine:
            self.allocator.drain()
        assert self.allocator.free_counts.tolist() == [0] * MAX_ORDER + [FRAMES >> MAX_ORDER]


@pytest.mark.parametrize("placement", [*PLACEMENTS, "machine"])
def test_slab_over_buddy(placement):
    machine = type("Over", (SlabMachine,), {"on_machine": placement == "machine", "placement": placement})
    profile = settings()
    few = max(5, profile.max_examples // 5)
    run_state_machine_as_test(machine, settings=settings(profile, max_examples=few))
