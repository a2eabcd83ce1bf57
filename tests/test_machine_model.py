"""Machines under random requests, several side by side: nothing is lost, nothing handed out twice, all alike.

The placements that keep the order of lists hand out the same frames. `one-word` does so too as long as its word need
not keep what it cannot: the type of a block on a per-CPU list is then that of the list, which is not so for frames of
HighAtomic, CMA and Isolate pageblocks, nor for huge pages of types other than Movable. So it runs beside the others
where requests are never high-order and atomic, and pageblocks not above order 3.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from machine_helpers import plans, whole_state, words

from structpage import InvalidFree, OutOfMemory
from structpage.core.linux.gfp import GFP_THISNODE, highest_zid
from structpage.gfp import parse_gfp

GFPS = (
    "GFP_KERNEL",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_KERNEL|__GFP_RECLAIMABLE",
    "GFP_DMA",
    "GFP_DMA32|__GFP_MOVABLE",
    "GFP_KERNEL|__GFP_THISNODE",
    "GFP_KERNEL|__GFP_MEMALLOC",
    "GFP_USER|__GFP_MOVABLE",
)
ATOMIC = ("GFP_ATOMIC", "GFP_ATOMIC|__GFP_MOVABLE|__GFP_HIGHMEM", "GFP_NOWAIT", "GFP_ATOMIC|__GFP_NOMEMALLOC")
PICK = st.integers(0, 999)


class Machines(RuleBasedStateMachine):
    """Rules act on all machines; what one answers, all do."""

    placements: tuple[str, ...] = ("side-table", "in-page", "in-words", "singly-linked", "per-order-table")
    gfps = GFPS + ATOMIC
    plan = plans()

    @initialize(data=st.data())
    def begin(self, data):
        plan = data.draw(self.plan)
        self.machines = [plan.build(placement) for placement in self.placements]
        self.live: dict[int, int] = {}
        self.total = {zone: sum(b - a for a, b in zone.present()) for zone in self.machines[0].zones}

    @property
    def first(self):
        return self.machines[0]

    def each(self, call):
        """What the call returns of each machine, or the class of what it raises; all alike."""

        def outcome(machine):
            try:
                return call(machine), machine.events().tolist()
            except (OutOfMemory, InvalidFree) as error:
                return type(error), machine.events().tolist()

        outcomes = [outcome(machine) for machine in self.machines]
        assert all(one == outcomes[0] for one in outcomes)
        return outcomes[0][0]

    def zone_of(self, pfn):
        return next(zone for zone in self.first.zones if zone.start <= pfn < zone.end)

    def own(self, pfn, order, gfp, node):
        """Note a block that was handed out: aligned, of a zone that will do, and nobody else's."""
        zone, bits = self.zone_of(pfn), parse_gfp(gfp)
        assert pfn % (1 << order) == 0
        assert pfn + (1 << order) <= zone.end
        assert zone.zid <= highest_zid(bits)
        assert zone.node == node or not bits & GFP_THISNODE
        assert not any(pfn < other + (1 << size) and other < pfn + (1 << order) for other, size in self.live.items())
        self.live[pfn] = order

    @rule(data=st.data(), order=st.integers(0, 3) | st.integers(0, 7), pick=PICK, told=st.booleans())
    def alloc(self, data, order, pick, told):
        gfp = data.draw(st.sampled_from(self.gfps))
        order, cpu = min(order, self.first.max_order), pick % self.first.cpus
        node = self.first.nodes[pick % len(self.first.nodes)] if told else None
        pfn = self.each(lambda machine: machine.alloc_pages(order, gfp, cpu, node))
        if pfn is not OutOfMemory:
            self.own(pfn, order, gfp, self.first.cpu_node[cpu] if node is None else node)

    @rule(data=st.data(), count=st.integers(1, 20), pick=PICK)
    def alloc_bulk(self, data, count, pick):
        gfp, cpu = data.draw(st.sampled_from(self.gfps)), pick % self.first.cpus
        pfns = self.each(lambda machine: machine.alloc_pages_bulk(count, gfp, cpu))
        if pfns is not OutOfMemory:
            assert 1 <= len(pfns) <= count
            for pfn in pfns:
                self.own(pfn, 0, gfp, self.first.cpu_node[cpu])

    @precondition(lambda self: self.live)
    @rule(pick=PICK, cpu=PICK, told=st.booleans())
    def free_one(self, pick, cpu, told):
        pfn = list(self.live)[pick % len(self.live)]
        order = self.live.pop(pfn)
        assert self.each(lambda m: m.free_pages(pfn, order if told else None, cpu % m.cpus)) is None

    @precondition(lambda self: self.live)
    @rule(many=st.integers(1, 60), cpu=PICK)
    def free_list(self, many, cpu):
        pfns = [pfn for pfn, order in self.live.items() if order == 0][:many]
        for pfn in pfns:
            del self.live[pfn]
        assert self.each(lambda machine: machine.free_pages_list(pfns, cpu % machine.cpus)) is None

    @precondition(lambda self: self.live)
    @rule(pick=PICK, to=st.integers(0, 3))
    def split(self, pick, to):
        pfn = list(self.live)[pick % len(self.live)]
        order = self.live[pfn]
        to = min(to, order)
        assert self.each(lambda machine: machine.split(pfn, to)) is None
        self.live |= dict.fromkeys(range(pfn, pfn + (1 << order), 1 << to), to)

    @rule(pick=PICK, order=st.none() | st.integers(0, 3))
    def refused(self, pick, order):
        """What nobody has cannot be freed, and trying changes nothing."""
        pfn = pick % self.first.pages.frames
        if order is not None:
            order = min(order, self.first.max_order)
        if self.live.get(pfn, -1) in ((order,) if order is not None else self.live.values()):
            return
        before = [words(machine) for machine in self.machines]
        assert self.each(lambda machine: machine.free_pages(pfn, order)) is InvalidFree
        assert [words(machine) for machine in self.machines] == before

    @rule(pick=PICK, one=st.booleans())
    def drain(self, pick, one):
        assert self.each(lambda machine: machine.drain(pick % machine.cpus if one else None)) is None

    @rule(pick=PICK, one=st.booleans())
    def fold(self, pick, one):
        assert self.each(lambda machine: machine.fold(pick % machine.cpus if one else None)) is None

    @rule(pick=PICK, begins=st.booleans())
    def balance(self, pick, begins):
        node = self.first.nodes[pick % len(self.first.nodes)]
        for machine in self.machines:
            machine.machine.balance(node, 4, int(begins))

    @rule(data=st.data(), pick=PICK, force=st.booleans())
    def unreserve(self, data, pick, force):
        gfp = data.draw(st.sampled_from(self.gfps))
        node = self.first.nodes[pick % len(self.first.nodes)]
        self.each(lambda machine: machine.unreserve_highatomic(gfp, node, force=force))

    @invariant()
    def all_alike(self):
        if hasattr(self, "machines"):
            states = [whole_state(machine) for machine in self.machines]
            assert all(one == states[0] for one in states)

    @invariant()
    def sound(self):
        if hasattr(self, "machines"):
            for machine in self.machines:
                machine.check()

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "machines"):
            return
        used = dict.fromkeys(self.first.zones, 0)
        for pfn, order in self.live.items():
            used[self.zone_of(pfn)] += 1 << order
        for row, zone in zip(self.first.zone_table, self.first.zones, strict=True):
            waiting = self.first.percpu_table
            waiting = waiting[(waiting["node"] == zone.node) & (waiting["zone"] == zone.name)]["count"].sum()
            assert row["managed"] == self.total[zone]
            assert row["free"] + waiting + used[zone] == self.total[zone]
            assert row["threshold"] >= 0
            assert abs(row["free"] - row["free_counter"]) <= row["threshold"] * self.first.cpus


class OneWordToo(Machines):
    """What the one-word layout takes part in."""

    placements = ("side-table", "one-word")
    gfps = GFPS
    plan = plans(most_block_order=3)


class WithCma(Machines):
    """A kernel with CONFIG_CMA, though no pageblock is of that type."""

    placements = ("side-table",)
    plan = plans(cma=True)


class OnBitmap(Machines):
    """Lists by address, which hand out other frames."""

    placements = ("bitmap",)


class OnArrays(Machines):
    """Lists in no order: two that put the last block in the place of one that goes, and so stay alike."""

    placements = ("array-index", "radix-tree")


TestMachines = Machines.TestCase
TestOnBitmap = OnBitmap.TestCase
TestOnArrays = OnArrays.TestCase
TestOneWordToo = OneWordToo.TestCase
TestWithCma = WithCma.TestCase
