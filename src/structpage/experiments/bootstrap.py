"""What boot costs each placement, and the loop between page allocator and slab, run.

`boot_costs` boots one memory with every placement and every size of descriptor. `fill_and_empty` is the workload that a
placement with nodes fears: memory is given out to the last frame, so that hardly a block is listed, and then freed one
frame at a time with no two neighbours in a row, so that each free lists one block more and merges none.
`smallest_reserve` looks for the fewest nodes with which something works. `highmem_wall` frees memory that has no
address to make nodes at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage.arguments import byte_size, named
from structpage.boot import Memblock
from structpage.core.words import LAYOUTS
from structpage.errors import BootstrapError, InvalidArgument, OutOfMemory, must
from structpage.frames import PAGE_SHIFT
from structpage.machine import Machine
from structpage.machine.booting import DESCRIPTOR_BYTES, LOWEST, memory_map
from structpage.placing import declared, placement_class, placement_names
from structpage.tables import html_table, text_table
from structpage.zones import Zone

COST = np.dtype(
    [
        ("placement", "U32"),
        ("descriptor_bytes", np.int64),
        ("memmap", np.int64),
        ("tables", np.int64),
        ("reserve", np.int64),
        ("others", np.int64),
        ("taken", np.int64),
        ("share", np.float64),
        ("allocates_while_freeing", np.bool_),
    ]
)
"""What one boot took, in bytes: descriptors, the placement's tables, its reserve of nodes, all else; and its share."""
ANY_FRAME = "GFP_KERNEL|__GFP_MEMALLOC"
ANY_HIGH_FRAME = "GFP_HIGHUSER|__GFP_MEMALLOC"
ORDERS = ("apart", "ascending")


@dataclass(frozen=True, eq=False)
class BootCosts:
    """What boot took of a memory, a row of `COST` for each placement and size of descriptor."""

    memory: int
    rows: npt.NDArray[np.void]

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        names = COST.names or ()
        return {"memory": self.memory, "rows": [dict(zip(names, row, strict=True)) for row in self.rows.tolist()]}

    def _cells(self) -> list[Sequence[object]]:
        return [(*row[:-2], f"{row[-2]:.3%}", "yes" if row[-1] else "no") for row in self.rows.tolist()]

    def __repr__(self) -> str:
        table = text_table(COST.names or (), self._cells())
        return f"{table}\nA descriptor of 8 bytes is one word, and has room for placement one-word alone."

    def _repr_html_(self) -> str:
        return html_table(f"Taken at boot, of {self.memory} bytes", COST.names or (), self._cells())


def boot_costs(
    memory: str | int = "1G",
    placements: Sequence[str | type] | str | type | None = None,
    descriptor_bytes: Sequence[int] | int = DESCRIPTOR_BYTES,
) -> BootCosts:
    """Boot a memory with each placement, by default all, and each size of descriptor that has room for its words.

    A placement with nodes gets the smallest reserve with which it boots. Raises what `Machine.boot` raises. O(frames
    / 2^max_order) a boot, and some boots more for a placement with nodes.
    """
    if isinstance(placements, (str, type)):
        placements = [placements]
    sizes = [descriptor_bytes] if isinstance(descriptor_bytes, int) else list(descriptor_bytes)
    chosen = [placement_class(name) for name in (placement_names() if placements is None else placements)]
    if not chosen:
        raise InvalidArgument(must("placements", "at least one", "none"))
    rows = []
    for cls in chosen:
        nodes = declared(cls).node_bytes > 0
        reserve = smallest_reserve(lambda count, cls=cls: _boots(memory, cls, count)) if nodes else 0  # type: ignore[misc]
        rows += [
            _cost(Machine.boot(memory, cls, descriptor_bytes=size, reserve=reserve), size)
            for size in sizes
            if size >= 8 * LAYOUTS[declared(cls).layout].words
        ]
    if not rows:
        found = ", ".join(map(str, sizes))
        raise InvalidArgument(must("descriptor_bytes", "as large as the words of a placement at least", found))
    return BootCosts(sum(region.size for region in memory_map(memory).memory), np.array(rows, COST))


def _boots(memory: str | int, placement: str | type, reserve: int) -> bool:
    try:
        Machine.boot(memory, placement, reserve=reserve)
    except BootstrapError:
        return False
    return True


def _cost(machine: Machine, size: int) -> tuple[object, ...]:
    report = machine.boot_report
    assert report is not None  # the machine booted
    reserve = int(report.rows["bytes"][report.rows["what"] == "reserve of nodes"].sum())
    memmap, tables = report.by("memmap") + report.by("memmap of holes"), report.by(machine.placement) - reserve
    others = report.taken - memmap - tables - reserve
    allocates = not declared(placement_class(machine.placement)).frees_without_allocating
    return (
        machine.placement,
        size,
        memmap,
        tables,
        reserve,
        others,
        report.taken,
        report.taken / report.memory,
        allocates,
    )


def smallest_reserve(holds: Callable[[int], bool], most: int = 1 << 24) -> int:
    """Return the fewest nodes for which `holds` is true; if it is for some, it must be for more.

    Raises `InvalidArgument` if `most` nodes do not do. O(log of the answer) calls.
    """
    low, high = -1, 1
    if holds(0):
        return 0
    while not holds(high):
        if high >= most:
            raise InvalidArgument(must("nodes", f"enough with {most}", "too few"))
        low, high = high, min(2 * high, most)
    low = max(low, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Emptied:
    """What became of a memory that was given out and then freed, frame by frame."""

    placement: str
    rule: str
    reserve: int
    allocated: int
    """Frames that could be given out."""
    freed: int
    """Frames that could be freed."""
    nodes: int
    """Nodes there were in the end."""
    least: int
    """The fewest that were ever spare."""
    error: BootstrapError | None
    """What ended it early."""

    @property
    def holds(self) -> bool:
        """Whether everything could be freed."""
        return self.error is None and self.freed == self.allocated

    def __str__(self) -> str:
        end = "all freed" if self.holds else f"stuck after {self.freed} frees: {self.error}"
        counts = f"{self.allocated} frames given out, {self.nodes} nodes, at least {self.least} of them spare"
        return f"{self.placement}, rule {self.rule}, reserve {self.reserve}: {counts}, {end}"


def fill_and_empty(
    placement: str | type,
    *,
    memory: Memblock | str | int = "16M",
    nodes: str = "at-allocation",
    reserve: int = 0,
    order: str = "apart",
    **options: Any,
) -> Emptied:
    """Boot, give out every frame, free them one by one, and return how far that went.

    `order` is that of the frees: `"apart"`, every second frame and then the others, or `"ascending"`. Raises
    `BootstrapError` if it does not even boot, and what `Machine.boot` raises. O(frames) calls.
    """
    named("order", order, ORDERS)
    machine = Machine.boot(memory, placement, nodes=nodes, reserve=reserve, **options)
    frames: list[int] = []
    error = _fill(machine, frames, ANY_FRAME)
    if error is None:
        frames, (freed, error) = sorted(frames), (0, None)
        freed, error = _empty(machine, frames[::2] + frames[1::2] if order == "apart" else frames)
    else:
        freed = 0
    return _emptied(machine, reserve, len(frames), freed, error)


def _fill(machine: Machine, frames: list[int], gfp: str) -> BootstrapError | None:
    while True:
        try:
            frames.append(machine.alloc_pages(0, gfp))
        except OutOfMemory:
            return None
        except BootstrapError as error:
            return error


def _empty(machine: Machine, frames: Sequence[int]) -> tuple[int, BootstrapError | None]:
    for freed, pfn in enumerate(frames):
        try:
            machine.free_pages(pfn)
        except BootstrapError as error:
            return freed, error
    machine.check()
    return len(frames), None


def _emptied(machine: Machine, reserve: int, allocated: int, freed: int, error: BootstrapError | None) -> Emptied:
    supply = machine.supply
    total, least, rule = (supply.total, supply.least, supply.rule) if supply else (0, 0, "none")
    return Emptied(machine.placement, rule, reserve, allocated, freed, total, least, error)


def reserve_to_empty(placement: str | type, *, memory: str | int = "16M", order: str = "apart") -> int:
    """Return the fewest nodes that hold when there are never any others: `fill_and_empty` by rule `"reserve"`."""

    def holds(reserve: int) -> bool:
        try:
            return fill_and_empty(placement, memory=memory, nodes="reserve", reserve=reserve, order=order).holds
        except BootstrapError:
            return False

    return smallest_reserve(holds)


def highmem_wall(
    placement: str | type = "radix-tree", *, lowmem: str | int = "8M", memory: str | int = "64M", highmem: bool = True
) -> Emptied:
    """Give out a memory whose upper part has no addresses, and free that part one frame at a time.

    Nodes are made from the freed pages themselves (rule `"freed-page"`), which HighMem does not allow: once low memory
    is in use to the last frame, a free there finds no node. With `highmem=False` the same memory has addresses
    throughout. Followed: i386's zones, Normal below and HighMem above.
    """
    low, size = byte_size("lowmem", lowmem), byte_size("memory", memory)
    if not LOWEST < low < size:
        raise InvalidArgument(must("lowmem", f"between {LOWEST + 1} and {size - 1} bytes", low))
    memblock = Memblock(current_limit=low)
    memblock.add(0, size, 0)
    memblock.reserve(0, LOWEST)
    border, end = low >> PAGE_SHIFT, size >> PAGE_SHIFT
    zones = [Zone("Normal", 0, border), Zone("HighMem", border, end)] if highmem else [Zone("Normal", 0, end)]
    machine = Machine.boot(memblock, placement, zones=zones, nodes="freed-page")
    high: list[int] = []
    rest: list[int] = []
    error = _fill(machine, high, ANY_HIGH_FRAME) or _fill(machine, rest, ANY_FRAME)
    upper = sorted(pfn for pfn in high if pfn >= border)
    freed = 0
    if error is None:
        freed, error = _empty(machine, upper[::2] + upper[1::2])
    return _emptied(machine, 0, len(upper), freed, error)
