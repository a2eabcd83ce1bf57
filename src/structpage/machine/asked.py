"""`AskedMachine`: what callers of a machine may ask for, and why it was refused."""

from __future__ import annotations

from structpage.arguments import an_int, between
from structpage.core.linux.gfp import highest_zid
from structpage.core.words import ZIDS
from structpage.errors import InvalidArgument, InvalidFree, must
from structpage.gfp import a_gfp, format_gfp, parse_gfp
from structpage.machine.view import MachineView
from structpage.refusal import why_not_allocated

GFP_KERNEL = parse_gfp("GFP_KERNEL")


class AskedMachine(MachineView):
    """A machine that knows good arguments from bad ones."""

    def _begin(self, gfp: int = GFP_KERNEL, freed: int = -1) -> None:
        # Starts a call: one that frees the block at `freed`, or else one that may allocate for a request.
        if self.supply is not None:
            if freed < 0:
                self.supply.before_alloc(gfp)
            else:
                self.supply.before_free(freed)
        self.engine.begin()
        self.machine.percpu.zone_lists.trace.clear()
        self.words("hint")[0] = 0

    _gfp = staticmethod(a_gfp)

    def _cpu(self, cpu: int) -> int:
        return between("cpu", cpu, 0, self.cpus - 1)

    def _node(self, node: int) -> int:
        if an_int("node", node) not in self.nodes:
            raise InvalidArgument(must("node", f"one of {', '.join(map(str, self.nodes))}", node))
        return node

    def _zonelist(self, gfp: int, node: int) -> list[int]:
        rows = self.words("zonelist").reshape(-1, self.core.zones + 1)
        row: list[int] = rows[node * ZIDS + highest_zid(gfp)].tolist()
        return row[: row.index(-1)]

    def _why_none(self, order: int, gfp: int, node: int) -> str:
        table = {zone.number: row for zone, row in zip(self.zones, self.zone_table, strict=True)}
        rows = [table[zone] for zone in self._zonelist(gfp, node)]
        found = [f"{row['zone']} of node {row['node']} with {row['free']} free, {row['min']} at least" for row in rows]
        rule = f"above their watermarks with a block of order {order}"
        return must(f"zones for {format_gfp(gfp)} on node {node}", rule, "; ".join(found) or "none at all")

    def _freeable(self, pfn: int, order: int | None) -> int:
        # The order of the block at a PFN that may be freed.
        memmap = self.core.memmap
        size = memmap.order_of(pfn) if memmap.is_allocated_head(pfn) else 0
        order = size if order is None else between("order", order, 0, self.max_order)
        if memmap.is_allocated_head(pfn) and order == size:
            return order
        fits = pfn % (1 << order) == 0 and pfn + (1 << order) <= self.pages.frames
        if not (fits and self.ranges.is_reserved_range(pfn, pfn + (1 << order))):
            raise InvalidFree(why_not_allocated(self.pages, pfn, order))
        return order
