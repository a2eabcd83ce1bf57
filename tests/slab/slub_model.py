"""SLUB 6.1 in Python lists: slabs are objects, free lists and partial lists are lists. Slow, and obvious."""

from __future__ import annotations


class ModelSlab:
    def __init__(self, node, addresses):
        self.node, self.addresses = node, addresses
        self.free = list(addresses)
        self.frozen = False

    @property
    def empty(self):
        return len(self.free) == len(self.addresses)


class ModelCpu:
    def __init__(self):
        self.slab = None
        self.free = []
        self.partial = []  # the slab frozen last first, each with the count it was listed with


class SlubModel:
    """One cache. `new_slab()` returns the node and the addresses of a new slab in the order of its list."""

    def __init__(self, cpu_nodes, nodes, min_partial, cpu_slabs, new_slab):
        self.cpu_nodes, self.min_partial, self.cpu_slabs, self.new_slab = cpu_nodes, min_partial, cpu_slabs, new_slab
        self.cpus = [ModelCpu() for _ in cpu_nodes]
        self.partial = {node: [] for node in nodes}
        self.slabs = []
        self.given_back = []

    # Allocating

    def alloc(self, cpu, node=None):
        c = self.cpus[cpu]
        while True:
            if c.slab is None:
                if not c.partial:
                    break
                c.slab = c.partial.pop(0)[0]
            if node is not None and c.slab.node != node:
                self.deactivate(c)
                continue
            if not c.free:
                c.free, c.slab.free = c.slab.free, []
            if c.free:
                return c.free.pop(0)
            c.slab.frozen = False
            c.slab = None
        where = self.cpu_nodes[cpu] if node is None else node
        if not self.get_partial(c, where) and (node is not None or not self.get_any_partial(c, where)):
            slab = ModelSlab(*self.new_slab())
            self.slabs.append(slab)
            self.acquire(c, slab)
        return c.free.pop(0)

    def acquire(self, c, slab):
        slab.frozen = True
        c.slab, c.free, slab.free = slab, slab.free, []

    def get_partial(self, c, node):
        listed = self.partial[node]
        if not listed:
            return False
        self.acquire(c, listed.pop(0))
        taken = 0
        while listed and taken <= self.cpu_slabs // 2:
            slab = listed.pop(0)
            slab.frozen = True
            self.wait(c, slab)
            taken += 1
        return True

    def get_any_partial(self, c, here):
        others = sorted(self.partial, key=lambda node: (node != here, node))
        return any(len(self.partial[node]) > self.min_partial and self.get_partial(c, node) for node in others)

    def wait(self, c, slab):
        count = c.partial[0][1] if c.partial else 0
        c.partial.insert(0, (slab, count + 1))

    # Freeing

    def slab_of(self, address):
        return next(slab for slab in self.slabs if address in slab.addresses)

    def free(self, address, cpu):
        c, slab = self.cpus[cpu], self.slab_of(address)
        if c.slab is slab:
            c.free.insert(0, address)
            return
        was_full = not slab.free
        slab.free.insert(0, address)
        if slab.frozen:
            return
        if was_full:
            slab.frozen = True
            old = []
            if c.partial and c.partial[0][1] >= self.cpu_slabs:
                old, c.partial = c.partial, []
            self.wait(c, slab)
            self.unfreeze(old)
        elif slab.empty and len(self.partial[slab.node]) >= self.min_partial:
            self.partial[slab.node].remove(slab)
            self.give_back(slab)

    def unfreeze(self, waiting):
        empty = []
        for slab, _ in waiting:
            slab.frozen = False
            if slab.empty and len(self.partial[slab.node]) >= self.min_partial:
                empty.insert(0, slab)
            else:
                self.partial[slab.node].append(slab)
        for slab in empty:
            self.give_back(slab)

    def deactivate(self, c):
        slab, mine = c.slab, c.free
        c.slab, c.free = None, []
        others_freed = bool(slab.free)
        slab.free = mine + slab.free
        slab.frozen = False
        listed = self.partial[slab.node]
        if slab.empty and len(listed) >= self.min_partial:
            self.give_back(slab)
        elif slab.free:
            listed.insert(len(listed) if others_freed else 0, slab)

    def give_back(self, slab):
        self.slabs.remove(slab)
        self.given_back.append(slab.addresses)

    # Flushing

    def flush(self):
        for c in self.cpus:
            if c.slab is not None:
                self.deactivate(c)
            waiting, c.partial = c.partial, []
            self.unfreeze(waiting)

    def shrink(self):
        self.flush()
        for node, listed in self.partial.items():
            buckets = {}
            rest = []
            for slab in listed:
                if slab.empty:
                    self.give_back(slab)
                elif len(slab.free) <= 32:
                    buckets.setdefault(len(slab.free), []).insert(0, slab)
                else:
                    rest.append(slab)
            self.partial[node] = [slab for count in sorted(buckets) for slab in buckets[count]] + rest
