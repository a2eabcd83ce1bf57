"""Where the nodes of a placement come from when they lie in the memory that it keeps the lists of.

Terminology: a *rule* says when nodes are allocated beyond the reserve that was taken at boot:

==================  ==================================================================================================
`"at-allocation"`   never while freeing: the node that a block will need when it is freed is there when it is allocated,
                    or else that allocation fails (M. Wilcox, October 2021)
`"while-freeing"`   when a free finds none
`"freed-page"`      never by a free, which makes its own page into nodes if there are none left; a page in HighMem has
                    no address to do that at (K. Overstreet's radix tree, October 2021)
`"reserve"`         never
==================  ==================================================================================================

Nodes are objects of a slab cache over the machine itself. To take a page for a slab the machine splits blocks, for
which it needs nodes: so a few are kept back, the *low mark*, that nothing but a refill may use. Whatever the rule, the
allocator needs the slab and the slab needs the allocator; when neither can begin, that is a `BootstrapError`, whose
steps tell who needed what from whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from structpage.arguments import named
from structpage.core.linux.percpu import BATCH, COUNT, HIGH_MARK, LISTS, SET_ROW
from structpage.core.placements.nodes import LEAST, SPARE, TOTAL, Nodes
from structpage.core.slab.rows import PAGE_OFFSET
from structpage.core.words import LANE_SHIFT, ZIDS
from structpage.errors import BootstrapError, CorruptionError, OutOfMemory, must
from structpage.frames import PAGE_WORDS
from structpage.gfp import parse_gfp
from structpage.placing import declared, placement_class
from structpage.zones import ZONE_NAMES, zone_name

if TYPE_CHECKING:
    from structpage.machine.calls import Machine
    from structpage.slab.kept import KeptCache

RULES = ("at-allocation", "while-freeing", "freed-page", "reserve")
CACHE = "buddy_node"
GFP_ATOMIC = parse_gfp("GFP_ATOMIC|__GFP_NOWARN")
HIGHMEM = ZONE_NAMES.index("HighMem")


class WithNodes(Protocol):
    """What a placement with nodes tells of them."""

    nodes: Nodes

    def nodes_at_most(self, added: int, moved: int, lists: int) -> int:
        """Return what new blocks and blocks that change lists take at most, on so many lists."""

    def nodes_to_push(self, lst: int) -> int:
        """Return what one block more on a list takes."""

    def nodes_to_move(self, lst: int, lists: int) -> int:
        """Return what blocks that come to lists from `lst` on from others take, one each."""


class NodeSupply:
    """Keeps a machine's placement in nodes; `Machine.boot` makes it."""

    def __init__(self, machine: Machine, rule: str) -> None:
        self.machine, self.rule = machine, named("nodes", rule, RULES)
        self.lists = cast(WithNodes, machine.lists)
        self.nodes = self.lists.nodes
        self.node_bytes = declared(placement_class(machine.placement)).node_bytes
        self.promised = 0
        """Blocks in use, each of which will need a node when it is freed."""
        self.pages_made_nodes: list[int] = []
        """Pages that became nodes while they were freed."""
        self._elsewhere = self.total
        # Nodes that are no objects of the cache: the reserve, and those of pages that became nodes.
        self._cache: KeptCache | None = None
        self._refilling = False

    # What there is

    @property
    def spare(self) -> int:
        """Nodes that nobody has."""
        return self.nodes.state[SPARE]

    @property
    def total(self) -> int:
        """All nodes there are."""
        return self.nodes.state[TOTAL]

    @property
    def least(self) -> int:
        """The fewest that were ever spare."""
        return self.nodes.state[LEAST]

    @property
    def to_allocate(self) -> int:
        """How many nodes an allocation of single frames may take, at most: what is split, and what a refill lists."""
        row = self.machine.machine.percpu.row
        return self._to_allocate(max(row[at] for at in range(BATCH, len(row), SET_ROW)))

    def _to_allocate(self, batch: int) -> int:
        return self._worst(batch - 1 + self.machine.max_order, batch)

    def to_free(self, pfn: int) -> int:
        """How many nodes the free of a frame takes at most.

        For a CPU's list, and if that is drained, or while boot hands memory over, for those of its zone.
        """
        machine, percpu = self.machine, self.machine.machine.percpu
        zone, mt = machine.core.zone_at(pfn), percpu.zone_lists.blocks.type_of(pfn)
        here = drained = 0
        for at in range(zone * machine.cpus, (zone + 1) * machine.cpus):
            place = percpu.place(0, machine.policy.recorded_type(mt))
            here = max(here, self.lists.nodes_to_push(percpu.base + at * LISTS + place))
            row = at * SET_ROW
            drained = max(drained, percpu.row[row + COUNT] + 1 >= percpu.row[row + HIGH_MARK])
        first, orders = (zone << LANE_SHIFT | mt) * machine.core.orders, machine.core.orders
        if drained or not machine.booted:
            return here + self.lists.nodes_to_move(first, orders)
        return max(here, *(self.lists.nodes_to_push(first + order) for order in range(orders)))

    def _worst(self, added: int, moved: int) -> int:
        # For blocks that are new on the lists, and blocks that change lists: those of all orders, and one of a CPU.
        lists = self.machine.max_order + 2
        return self.lists.nodes_at_most(added, moved, lists)

    @property
    def nodes_kept(self) -> int:
        """How many nodes are kept for the frees of blocks in use, and of one more."""
        return self._worst(self.promised + 1, 0) if self.rule == "at-allocation" else 0

    def in_use(self, blocks: int) -> None:
        """Note that so many blocks more are in use, or fewer; those of the nodes themselves do not count."""
        if not self._refilling:
            self.promised = max(self.promised + blocks, 0)

    def check(self) -> None:
        """Verify that each node is of the reserve, of a page that became nodes, or an object in use of the cache.

        Raises `CorruptionError`. O(1).
        """
        objects = 0 if self._cache is None else len(self._cache)
        if self.total - self._elsewhere != objects:
            raise CorruptionError(f"objects in use of cache {CACHE}", self.total - self._elsewhere, objects)
        if not 0 <= self.spare <= self.total:
            raise CorruptionError("spare nodes", f"between 0 and {self.total}", self.spare)

    # What calls need

    def before_alloc(self, gfp: int) -> None:
        """See that an allocation finds the nodes it may need; raises `OutOfMemory`, or `BootstrapError` by its rule."""
        wanted = self.to_allocate
        if self._refilling or self.rule == "reserve":
            if self.spare < wanted and self._listed(gfp):
                self._stuck(f"an allocation, which may split a block down from order {self.machine.max_order},", wanted)
            return
        kept = self.nodes_kept
        while self.spare < 2 * wanted + kept:
            try:
                self._refill(gfp)
            except (OutOfMemory, BootstrapError) as error:
                if self.spare >= wanted + kept:
                    return
                rule = f"at least {wanted + kept}, of which {kept} for the frees of blocks in use"
                raise OutOfMemory(must("spare nodes for an allocation", rule, self.spare)) from error

    def before_free(self, pfn: int) -> None:
        """See that a free finds the nodes it may need; raises `BootstrapError`."""
        wanted, keep = self.to_free(pfn), self.to_allocate
        if self._refilling or self.spare >= wanted + keep:
            return
        may_refill = self.rule == "while-freeing" or (not self.machine.booted and self.rule != "reserve")
        no_page = may_refill and not self._try_refill(wanted + keep)
        if self.spare < wanted:
            self._stuck(f"the free of PFN {pfn}", wanted, no_page, may_refill)

    def before_sizes(self, batch: int) -> None:
        """See that allocations find their nodes when CPUs refill their lists by a batch; raises `BootstrapError`."""
        wanted, may_refill = self._to_allocate(batch), self.rule != "reserve"
        no_page = may_refill and not self._try_refill(wanted)
        if self.spare < wanted:
            self._stuck("the first allocation", wanted, no_page, may_refill)

    def becomes_nodes(self, pfn: int) -> bool:
        """Make a page that is being freed into nodes if the rule says so and nodes are short; whether it did.

        The page is nobody's then, and on no list. Raises `BootstrapError` for a page without an address if no other
        can be had.
        """
        if (
            self.rule != "freed-page"
            or self._refilling
            or self.spare >= (wanted := self.to_free(pfn)) + self.to_allocate
        ):
            return False
        if self.machine.core.zone_at(pfn) % ZIDS == HIGHMEM:
            no_page = not self._try_refill(wanted + self.to_allocate)
            if self.spare < wanted:
                what = f"the free of PFN {pfn}, in HighMem, which has no address to become nodes at,"
                self._stuck(what, wanted, no_page, True)
            return False
        size = self.nodes.size
        for place in range(pfn * PAGE_WORDS, (pfn + 1) * PAGE_WORDS - size + 1, size):
            if place:
                self.nodes.add(place)
                self._elsewhere += 1
        self.pages_made_nodes.append(pfn)
        return True

    # Where nodes come from

    def _refill(self, gfp: int) -> None:
        # A node more, from the slab; the slab may take a page from the machine, which uses the nodes kept back.
        from structpage.slab.kept import KeptCache

        self._refilling = True
        try:
            if self._cache is None:
                self._cache = KeptCache(self.machine, CACHE, self.node_bytes, "the machine's supply of nodes")
            address = self._cache.take(gfp)
        finally:
            self._refilling = False
        self.nodes.add(address - PAGE_OFFSET >> 3)

    def _try_refill(self, wanted: int) -> bool:
        # The same until so many are spare, while memory is freed, in whatever context; False if there was no page.
        try:
            while self.spare < wanted:
                self._refill(GFP_ATOMIC)
        except OutOfMemory:
            return False
        except BootstrapError:
            pass
        return True

    def _listed(self, gfp: int) -> int:
        # Blocks on the lists of the zones that a request may use.
        usable = self.machine._zonelist(gfp, self.machine.nodes[0])
        rows = zip(self.machine.zones, self.machine.free_counts_by_zone, strict=True)
        return sum(int(counts.sum()) for zone, counts in rows if zone.number in usable)

    def _stuck(self, what: str, wanted: int, no_page: bool = False, may_refill: bool = False) -> NoReturn:
        machine, placement = self.machine, self.machine.placement
        zones = ", ".join(dict.fromkeys(zone_name(zone) for zone in machine._zonelist(GFP_ATOMIC, machine.nodes[0])))
        spare = f"of {self.total} nodes {self.spare} are spare"
        needed = "a node" if wanted == 1 else f"{wanted} nodes"
        steps = [f"{what} needs {needed} of {self.node_bytes} bytes, for lists of placement {placement}"]
        if may_refill:
            waiting = int(machine.words("percpu")[COUNT::SET_ROW].sum())
            listed = self._listed(GFP_ATOMIC)
            lists = f"the page allocator lists {listed} blocks in {zones}, and {waiting} frames wait at CPUs"
            takes = f"to take a page out of them may take {self.to_allocate} nodes itself"
            steps += [
                f"{spare}; others are objects of slab cache {CACHE}, which needs a page from the page allocator",
                f"{lists}; {'it has none to give to GFP_ATOMIC' if no_page else takes}",
                f"the next node would have to come from cache {CACHE}, which waits for that page",
            ]
        else:
            steps.append(f"{spare}, and by rule {self.rule!r} no other is allocated now")
        raise BootstrapError(placement, steps)
