"""The layer per CPU against an obvious model of it: the same addresses, the same lists, at every step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slub_model import SlubModel

from structpage import BuddyAllocator, Machine, SlabCache, Zone, find, geometry

SHAPES = [geometry(size, slab_max_order=0) for size in (2048, 1024, 680)]  # 2, 4 and 6 objects a slab
NODES = (Zone("Normal", 0, 512, 0), Zone("Normal", 512, 1024, 1))
ACTIONS = st.lists(
    st.tuples(st.sampled_from(("alloc",) * 5 + ("free",) * 5 + ("flush", "shrink")), st.integers(0, 255)),
    min_size=20,
    max_size=60,
)
AT_ONCE = 6


class Followed:
    """A cache and its model, which is told the addresses of new slabs and finds out all else."""

    def __init__(self, cache, nodes):
        self.cache, self.nodes, self.live, self.last = cache, nodes, [], 0
        cpu_nodes = [cache.layer.cpu_node(cpu) for cpu in range(cache.layer.cpus)]
        self.model = SlubModel(cpu_nodes, nodes, cache.min_partial, cache.geometry.cpu_partial_slabs, self.new_slab)

    def new_slab(self):
        found = find(self.cache.allocator, self.last)
        size, slab = self.cache.geometry.size, found.slab
        free = self.cache.cpu_slab(self.cpu)[1]
        assert {self.last, *free} == set(range(slab.first_object, slab.first_object + slab.objects * size, size))
        return slab.node, [self.last, *free]

    def alloc(self, cpu, node):
        self.cpu, self.last = cpu, self.cache.alloc(cpu, node=node)
        assert self.model.alloc(cpu, node) == self.last
        self.live.append(self.last)

    def free(self, cpu, which):
        address = self.live.pop(which % len(self.live))
        self.cache.free(address, cpu)
        self.model.free(address, cpu)

    def check(self):
        for cpu, expected in enumerate(self.model.cpus):
            slab, free, waiting = self.cache.cpu_slab(cpu)
            assert free == expected.free
            assert (slab and slab.first_object) == (expected.slab and min(expected.slab.addresses))
            assert [view.first_object for view in waiting] == [min(slab.addresses) for slab, _ in expected.partial]
        for node, listed in self.model.partial.items():
            assert [view.free_objects() for view in self.cache.partial(node)] == [slab.free for slab in listed]
        assert len(self.model.slabs) == len(self.cache.slabs)
        assert self.cache.objects == sorted(self.live)

    def run(self, actions, *, ask_nodes=False):
        cpus = self.cache.layer.cpus
        for what, number in actions:
            cpu, node = number % cpus, self.nodes[number % len(self.nodes)] if ask_nodes and number % 3 == 0 else None
            if what == "alloc":
                for _ in range(number % AT_ONCE):
                    self.alloc(cpu, node)
            elif what == "free":
                for _ in range(min(number % AT_ONCE, len(self.live))):
                    self.free(cpu, number // AT_ONCE)
            elif what == "flush":
                self.cache.flush()
                self.model.flush()
            else:
                self.cache.shrink()
                self.model.shrink()
            self.check()
        self.cache.allocator.check()


@given(shape=st.sampled_from(SHAPES), random=st.sampled_from((None, 7)), hardened=st.booleans(), actions=ACTIONS)
def test_one_node(shape, random, hardened, actions):
    cache = SlabCache(BuddyAllocator(1024), "cache", shape, cpus=2, random=random, hardened=hardened)
    cache.cpu_partial = shape.objects
    cache.min_partial = 2
    Followed(cache, [0]).run(actions)


@given(shape=st.sampled_from(SHAPES), actions=ACTIONS)
def test_nodes_that_are_asked_for(shape, actions):
    cache = SlabCache(BuddyAllocator(1024, zones=NODES), "cache", shape, cpus=2)
    cache.cpu_partial = 2 * shape.objects
    cache.min_partial = 1
    Followed(cache, [0, 1]).run(actions, ask_nodes=True)


@given(shape=st.sampled_from(SHAPES), actions=ACTIONS)
def test_a_machine_of_two_nodes(shape, actions):
    cache = SlabCache(Machine(1024, zones=NODES, cpus=4), "cache", shape)
    cache.cpu_partial = 0
    cache.min_partial = 0
    Followed(cache, [0, 1]).run(actions, ask_nodes=True)


@pytest.mark.parametrize("engine", ["plain", "probed", "checked"])
def test_engines_hand_out_the_same_objects(engine):
    def addresses(engine):
        cache = SlabCache(BuddyAllocator(1024, engine=engine), "cache", 512, cpus=2, random=3, hardened=True)
        held = [cache.alloc(i % 2) for i in range(100)]
        for i, address in enumerate(held[::3]):
            cache.free(address, i % 2)
        return held + [cache.alloc(0) for _ in range(20)]

    assert addresses(engine) == addresses("plain")
