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

from typing import TYPE_CHECKING, NoReturn

from structpage.arguments import named
from structpage.core.linux.percpu import BATCH
from structpage.core.placements.nodes import LEAST, SPARE, TOTAL, Nodes
from structpage.core.words import ZIDS
from structpage.errors import BootstrapError, OutOfMemory, must
from structpage.frames import PAGE_WORDS
from structpage.placing import declared, placement_class
from structpage.zones import ZONE_NAMES, zone_name

if TYPE_CHECKING:
    from structpage.machine.calls import Machine

RULES = ("at-allocation", "while-freeing", "freed-page", "reserve")
HIGHMEM = ZONE_NAMES.index("HighMem")


class NodeSupply:
    """Keeps a machine's placement in nodes; `Machine.boot` makes it."""

    def __init__(self, machine: Machine, rule: str) -> None:
        self.machine, self.rule = machine, named("nodes", rule, RULES)
        self.nodes: Nodes = machine.lists.nodes  # type: ignore[attr-defined]
        self.node_bytes = declared(placement_class(machine.placement)).node_bytes
        self.cache_name = f"{machine.placement}-node"
        self.promised = 0
        """Blocks in use, each of which will need a node when it is freed."""
        self.pages_made_nodes: list[int] = []
        """Pages that became nodes while they were freed."""
        self._cache: object = None
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
        batch = int(self.machine.words("percpu").reshape(-1, 6)[:, BATCH].max())
        return self._worst(batch - 1 + self.machine.max_order, batch)

    @property
    def to_free(self) -> int:
        """How many nodes a free may take, at most; a drain moves blocks to other lists."""
        return self._worst(1, self.machine.max_order)

    def _worst(self, added: int, moved: int) -> int:
        # Blocks that are new on the lists, and blocks that go from one list to another: of all orders, and a CPU's list.
        lists = self.machine.max_order + 2
        return int(self.machine.lists.nodes_at_most(added, moved, lists))  # type: ignore[attr-defined]

    def in_use(self, blocks: int) -> None:
        """Note that so many blocks more are in use, or fewer; those of the nodes themselves do not count."""
        if not self._refilling:
            self.promised = max(self.promised + blocks, 0)

    # What calls need

    def before_alloc(self) -> None:
        """See that an allocation finds the nodes it may need; raises `OutOfMemory`, `BootstrapError` in a refill."""
        wanted = self.to_allocate
        if self._refilling or self.rule == "reserve":
            if self.spare < wanted:
                self._stuck(f"an allocation may split a block down from order {self.machine.max_order}", wanted)
            return
        kept = self.promised + 1 if self.rule == "at-allocation" else 0
        while self.spare < 2 * wanted + kept:
            try:
                self._refill("an allocation")
            except (OutOfMemory, BootstrapError) as error:
                if self.spare >= wanted + kept:
                    return
                rule = f"at least {wanted + kept}, of which {kept} for the frees of blocks in use"
                raise OutOfMemory(must("spare nodes for an allocation", rule, self.spare)) from error

    def before_free(self, pfn: int) -> None:
        """See that a free finds the nodes it may need; raises `BootstrapError`."""
        wanted, keep = self.to_free, self.to_allocate
        if self._refilling or self.spare >= wanted + keep:
            return
        cause: OutOfMemory | None = None
        if self.rule == "while-freeing" or not self.machine.booted:
            try:
                self._refill(f"the free of PFN {pfn}")
            except OutOfMemory as error:
                cause = error
        if self.spare < wanted:
            self._stuck(f"the free of PFN {pfn}", wanted, cause)

    def becomes_nodes(self, pfn: int) -> bool:
        """Make a page that is being freed into nodes if the rule says so and nodes are short; whether it did.

        The page is nobody's then, and on no list. Raises `BootstrapError` for a page without an address if no other
        can be had.
        """
        if self.rule != "freed-page" or self._refilling or self.spare >= self.to_free + self.to_allocate:
            return False
        if self.machine.core.zone_at(pfn) % ZIDS == HIGHMEM:
            what = f"the free of PFN {pfn}, in HighMem, which has no address to become nodes at,"
            try:
                self._refill(what)
            except OutOfMemory as error:
                if self.spare < self.to_free:
                    self._stuck(what, self.to_free, error)
            return False
        size = self.nodes.size
        for place in range(pfn * PAGE_WORDS, (pfn + 1) * PAGE_WORDS - size + 1, size):
            if place:
                self.nodes.add(place)
        self.pages_made_nodes.append(pfn)
        return True

    # Where nodes come from

    def _refill(self, why: str) -> None:
        # A node more, from the slab; the slab may take a page from the machine, which uses the nodes kept back.
        from structpage.slab.cache import SlabCache
        from structpage.slab.addresses import PAGE_OFFSET

        self._refilling, self._why = True, why
        try:
            if self._cache is None:
                self._cache = SlabCache(self.machine, self.cache_name, self.node_bytes)
            address = self._cache.alloc()  # type: ignore[attr-defined]
        finally:
            self._refilling = False
        self.nodes.add(address - PAGE_OFFSET >> 3)

    def _stuck(self, what: str, wanted: int, cause: Exception | None = None) -> NoReturn:
        machine, placement = self.machine, self.machine.placement
        listed = int(machine.free_counts.sum())
        zones = ", ".join(dict.fromkeys(zone_name(zone.number) for zone in machine.zones))
        have = f"{self.spare} of {self.total} nodes are spare"
        steps = []
        if self._refilling:
            steps.append(f"{self._why} needs a node of {self.node_bytes} bytes of placement {placement}, for its list")
            steps.append(f"the nodes kept back do not do, so cache {self.cache_name} needs a slab of the page allocator")
            steps.append(f"the page allocator has {listed} blocks listed in {zones}, and {what}: it needs {wanted} nodes")
            steps.append(f"{have}: the next would have to come from cache {self.cache_name}, which waits for its slab")
        else:
            steps.append(f"{what} needs {wanted} nodes of {self.node_bytes} bytes of placement {placement}")
            steps.append(have)
            if cause is not None:
                steps.append(f"cache {self.cache_name} needs a slab of the page allocator, for another")
                steps.append(f"the page allocator has {listed} blocks listed in {zones}, and none to give: {cause}")
            else:
                steps.append(f"rule {self.rule!r} lets no other be allocated now")
        raise BootstrapError(placement, steps)
