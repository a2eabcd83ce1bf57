"""A kernel's slab caches, played: plain lists, one CPU, after the kernel's text; writes a trace and its states.

It is another program than `structpage.slab`: it knows no records, buffers or free pointers, and its page frames come
from a list of its own.
"""

from __future__ import annotations

import random

PAGE_OFFSET = 0xFFFF888000000000
FLAGS = {"task": ".....", "softirq": "..s1.", "cut": ".Ns1.", "late": ".N..."}


class Slab:
    """A slab: its free objects by number, in the order of its own list."""

    def __init__(self, pfn, free):
        self.pfn, self.free, self.frozen = pfn, free, True

    def told(self, cache, free=None):
        numbers = self.free if free is None else free
        inuse = cache.objects - len(self.free)
        return {"pfn": self.pfn, "inuse": inuse, "objects": cache.objects, "frozen": int(self.frozen), "free": numbers}


class Cache:
    """A cache, and what its one CPU and one node have of it."""

    def __init__(self, rng, name, object_size, size, order, min_partial=1, cpu_partial_slabs=2):
        self.name, self.object_size, self.size, self.order = name, object_size, size, order
        self.objects = (4096 << order) // size
        self.min_partial, self.cpu_partial_slabs = min_partial, cpu_partial_slabs
        self.sequence = rng.sample(range(self.objects), self.objects)
        self.secret = rng.getrandbits(64)
        self.slab, self.freelist = None, []
        self.cpu_partial, self.partial, self.slabs = [], [], []

    def told(self):
        mine = self.slab and self.slab.told(self, [])
        if mine:
            mine["inuse"] = self.objects
        node = {
            "node": 0,
            "nr_partial": len(self.partial),
            "nr_slabs": len(self.slabs),
            "total_objects": len(self.slabs) * self.objects,
            "partial": [slab.told(self) for slab in self.partial],
        }
        cpu = {
            "cpu": 0,
            "tid": 0,
            "slab": mine,
            "free": list(self.freelist),
            "partial": [slab.told(self) for slab in self.cpu_partial],
        }
        return {
            "name": self.name,
            "addr": 0,
            "flags": 0x40000000,
            "object_size": self.object_size,
            "size": self.size,
            "align": 8,
            "inuse": self.object_size,
            "offset": self.object_size // 2 & -8,
            "order": self.order,
            "min_order": self.order,
            "objects": self.objects,
            "min_partial": self.min_partial,
            "cpu_partial": 30,
            "cpu_partial_slabs": self.cpu_partial_slabs,
            "random": self.secret,
            "random_seq": [number * self.size for number in self.sequence],
            "cpu": [cpu],
            "node": [node],
        }


class SlabKernel:
    """Caches, what they gave out, and the lines of the trace so far."""

    def __init__(self, seed, sizes=(("dentry", 192, 192, 0), ("kmalloc-64", 64, 64, 0), ("sock", 832, 832, 2))):
        self.rng = random.Random(seed)
        self.caches = {row[0]: Cache(self.rng, *row) for row in sizes}
        self.live = {}
        self.frames = [*range(1 << 12, 1 << 13, 8)]
        self.rng.shuffle(self.frames)
        self.lines, self.time = [], 1_000_000

    # Events

    def line(self, context, text):
        self.time += 3
        stamp = f"{self.time // 10**6}.{self.time % 10**6:06}"
        self.lines.append(f"            init-1       [000] {FLAGS[context]}     {stamp}: {text}\n")

    def trace_alloc(self, cache, ptr, context="task"):
        kind = "kmalloc" if cache.name.startswith("kmalloc") else "kmem_cache_alloc"
        sizes = f"bytes_req={cache.object_size} bytes_alloc={cache.size}"
        tail = "gfp_flags=GFP_KERNEL node=-1 accounted=false"
        self.line(context, f"{kind}: call_site=use_{cache.name[:4]}+0x10/0x90 ptr={ptr:016x} {sizes} {tail}")

    # The allocator

    def alloc(self, name, interrupt=()):
        """Allocate; an interrupt, if any, frees pointers when the allocation is done but not traced."""
        cache = self.caches[name]
        slow = not cache.freelist
        if slow:
            self.refill(cache)
        ptr = self.pointer(cache, cache.slab, cache.freelist.pop(0))
        self.live[ptr] = (cache, cache.slab)
        for gone in interrupt:
            self.free(gone, "cut")
        self.trace_alloc(cache, ptr, "late" if interrupt else "task")
        return ptr

    def refill(self, cache):
        if cache.slab is not None:
            cache.slab.frozen = False
        if cache.cpu_partial:
            cache.slab = cache.cpu_partial.pop(0)
        elif cache.partial:
            cache.slab = cache.partial.pop(0)
            for _ in range(cache.cpu_partial_slabs // 2 + 1):
                if cache.partial:
                    cache.cpu_partial.insert(0, cache.partial.pop(0))
                    cache.cpu_partial[0].frozen = True
        else:
            pfn, start = self.frames.pop(), self.rng.randrange(cache.objects)
            self.line(
                "task", f"mm_page_alloc: page=0 pfn={pfn:#x} order={cache.order} migratetype=0 gfp_flags=GFP_KERNEL"
            )
            cache.slab = Slab(pfn, cache.sequence[start:] + cache.sequence[:start])
            cache.slabs.append(cache.slab)
        cache.slab.frozen = True
        cache.freelist, cache.slab.free = cache.slab.free, []

    def free(self, ptr, context="task", traced=True):
        cache, slab = self.live.pop(ptr)
        if traced:
            kind = "kfree" if cache.name.startswith("kmalloc") else "kmem_cache_free"
            name = "" if kind == "kfree" else f" name={cache.name}"
            self.line(context, f"{kind}: call_site=drop+0x10/0x90 ptr={ptr:016x}{name}")
        number = (ptr - PAGE_OFFSET - (slab.pfn << 12)) // cache.size
        if slab is cache.slab:
            cache.freelist.insert(0, number)
            return
        was_full = not slab.free
        slab.free.insert(0, number)
        if slab.frozen:
            return
        if was_full:
            slab.frozen = True
            old = cache.cpu_partial
            if len(old) >= cache.cpu_partial_slabs:
                cache.cpu_partial = [slab]
                self.unfreeze(cache, old)
            else:
                cache.cpu_partial = [slab, *old]
        elif len(slab.free) == cache.objects and len(cache.partial) >= cache.min_partial:
            cache.partial.remove(slab)
            self.discard(cache, slab)

    def unfreeze(self, cache, slabs):
        gone = []
        for slab in slabs:
            slab.frozen = False
            if len(slab.free) == cache.objects and len(cache.partial) >= cache.min_partial:
                gone.insert(0, slab)
            else:
                cache.partial.append(slab)
        for slab in gone:
            self.discard(cache, slab)

    def discard(self, cache, slab):
        cache.slabs.remove(slab)
        self.frames.append(slab.pfn)
        self.line("task", f"mm_page_free: page=0 pfn={slab.pfn:#x} order={cache.order}")

    @staticmethod
    def pointer(cache, slab, number):
        return PAGE_OFFSET + (slab.pfn << 12) + number * cache.size

    # Workloads

    def act(self, steps, interrupts=False):
        """Allocate and free at random, more of the one and then more of the other in turn."""
        for step in range(steps):
            name = self.rng.choice(list(self.caches))
            growing = self.rng.random() < (0.25 if step // 120 % 2 else 0.9)
            if growing or not self.live:
                cut = interrupts and self.rng.random() < 0.2
                self.alloc(name, self.picked(3) if cut and not self.caches[name].freelist else ())
            else:
                self.free(*self.picked(1))

    def picked(self, count):
        return self.rng.sample(sorted(self.live), min(count, len(self.live)))

    def told(self):
        """The state of the caches, as a capture has it: the newest first."""
        return [cache.told() for cache in reversed(self.caches.values())]

    def text(self):
        return "".join(self.lines)
