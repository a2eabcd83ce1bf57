"""`MachineState`: the buffers of a machine, what they say, and the sizes of its zones.

What is read from it is in `structpage.machine.view`, its operations are in `structpage.machine`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from structpage.arguments import at_least, between, named
from structpage.core.linux import percpu, zonetable
from structpage.core.linux.fallback import Fallback
from structpage.core.linux.kernels import Kernel61
from structpage.core.linux.machine import Machine as CoreMachine
from structpage.core.linux.pageblocks import Pageblocks
from structpage.core.linux.percpu import LISTS, SET_ROW, PerCpu
from structpage.core.linux.tracepoints import Tracepoints
from structpage.core.linux.zonetable import ZONE_ROW, ZoneTable
from structpage.core.words import LANE_SHIFT, MOVABLE, UNMOVABLE
from structpage.engines import Engine, engine_of
from structpage.errors import InvalidArgument, must
from structpage.frames import FrameMemory
from structpage.hosting import Host
from structpage.pages import PageArray
from structpage.procfs import ZoneInfo
from structpage.sizing import Sizes, Tuning, sizes
from structpage.state import AllocatorState
from structpage.zones import ZONE_NAMES, Zone, node_orders, x86_64_zones, zonelists

if TYPE_CHECKING:
    from structpage.machine.supply import NodeSupply

KERNELS = {"6.1": Kernel61}
"""Policies by the version of the kernel."""
TRACE_WORDS = 1 << 17
SECTION_ORDER = 15
"""log2 of the frames that exist together or not at all, as x86-64 has them."""
NO_PAGEBLOCK = -1
"""Type of a pageblock that does not exist."""

ZONE_FIELDS = {
    "managed": zonetable.MANAGED,
    "min": zonetable.MIN,
    "low": zonetable.LOW,
    "high": zonetable.HIGH,
    "boost": zonetable.BOOST,
    "free_counter": zonetable.FREE,
    "highatomic": zonetable.HIGHATOMIC_PAGES,
    "isolated": zonetable.ISOLATED,
    "threshold": zonetable.THRESHOLD,
}
"""Fields of `zone_table` that are words of the core's, and which."""
SETTABLE = ("managed", "min", "low", "high", "boost", "threshold")
SET_FIELDS = {
    "count": percpu.COUNT,
    "pcp_high": percpu.HIGH_MARK,
    "batch": percpu.BATCH,
    "free_factor": percpu.FACTOR,
}
"""Fields of `percpu_table` that are words of the core's, and which."""
SETTABLE_BY_CPU = ("pcp_high", "batch")


class MachineState(AllocatorState):
    """Memmap, lists, counts and sizes of a machine, and what they say. `Machine` tells the parameters."""

    def __init__(
        self,
        pages: PageArray | int,
        placement: str | type,
        *,
        kernel: str,
        zones: Iterable[Zone] | None,
        cpus: int,
        cpu_node: Sequence[int] | None,
        distance: Sequence[Sequence[int]] | None,
        max_order: int,
        pageblock_order: int,
        cma: bool,
        engine: str | Engine | None,
        memory: FrameMemory | None,
        stamp: str,
        tuning: Tuning,
        last_resort: bool,
        host: Host | None,
    ) -> None:
        self.kernel = named("kernel", kernel, KERNELS)
        self.policy = KERNELS[kernel](boost_factor=tuning.watermark_boost_factor)
        self.cpus = at_least("cpus", cpus, 1)
        self.max_order = between("max_order", max_order, 0, 30)
        self.pageblock_order = between("pageblock_order", pageblock_order, 0, max_order)
        self.cma, self.tuning = bool(cma), tuning
        self.told: tuple[ZoneInfo, ...] = ()
        self.supply: NodeSupply | None = None
        """Where the placement's nodes come from if they lie in this machine's own memory."""
        self.booted = True
        """Whether the memory of boot was handed over, but what is deferred."""
        self.late: list[tuple[Zone, int, int]] = []
        """What is deferred: zone, start and end, in the order in which it follows."""
        engine = engine_of(engine)
        if engine.name == "checked":
            raise InvalidArgument(must("engine of a machine", "plain, probed or compiled", "checked"))
        frames = pages.frames if isinstance(pages, PageArray) else at_least("frames", pages, 1)
        chosen = x86_64_zones(frames) if zones is None else tuple(Zone(*zone) for zone in zones)
        slots = max((zone.number for zone in chosen if zone.name in ZONE_NAMES), default=0) + 1
        super().__init__(
            pages,
            placement,
            zones=chosen,
            max_order=max_order,
            engine=engine,
            memory=memory,
            needs_memory=False,
            stamp=stamp,
            deferred=False,
            section_order=SECTION_ORDER,
            more_lists=slots * self.cpus * LISTS,
            host=host,
        )
        self.nodes = sorted({zone.node for zone in self.zones})
        self.cpu_node = self._cpu_nodes(cpu_node)
        orders = node_orders(self.nodes, set(self.cpu_node), self._distances(distance))
        wanted = len(self.buffers["zonelist"]) // (slots + 1)
        populated = [zone for zone in self.zones if zone.present()]
        self.words("zonelist")[:] = zonelists(populated, wanted, slots, orders)
        self._build_machine(slots, int(last_resort))

    def _order_of(self, lst: int) -> int:
        if lst < self._zone_lists:
            return super()._order_of(lst)
        place = (lst - self._zone_lists) % LISTS
        return place // percpu.TYPES_KEPT if place < LISTS - 2 else self.pageblock_order

    def _build_machine(self, slots: int, last_resort: int) -> None:
        buffer = self._new_buffer
        table = ZoneTable(buffer("zone_rows", slots * ZONE_ROW), buffer("drift", slots * self.cpus), self.cpus)
        types = self._types_at_boot()
        pageblocks = Pageblocks(self.core, table, buffer("pageblocks", len(types)), self.pageblock_order)
        lists = Fallback(pageblocks, self.policy, Tracepoints(buffer("trace", TRACE_WORDS)), buffer("hint", 2))
        base = (slots << LANE_SHIFT) * self.core.orders
        sets = PerCpu(lists, buffer("percpu", slots * self.cpus * SET_ROW), self.cpus, base)
        avoid = buffer("avoid_fragmentation", slots)
        core = cast(Any, CoreMachine)(sets, self.ranges, avoid, int(self.cma), last_resort)
        self.machine = self.engine.adopt(core)
        self.words("pageblocks")[:] = types
        self.words("percpu").reshape(-1, SET_ROW)[:, percpu.BATCH] = 1  # the lists of boot
        self.words("trace")[0] = 1
        for zone in self.zones:
            lower = any(other.node == zone.node and other.name == "DMA32" for other in self.zones)
            self.buffers["avoid_fragmentation"][zone.number] = len(self.nodes) == 1 or lower

    def _types_at_boot(self) -> npt.NDArray[np.int64]:
        # Frames of a hole, in a section of which something exists, belong to the zone of what exists above them. A
        # pageblock whose first frame does not exist is never told that it is Movable. There is one more at the end.
        order = self.pageblock_order
        types = np.full(-(-self.pages.frames >> order) + 1, NO_PAGEBLOCK, np.int64)
        present = sorted((start, end, zone) for zone in self.zones for start, end in zone.present())
        starts = np.arange(len(types)) << order >> SECTION_ORDER
        exists = np.zeros(int(starts[-1]) + 1, np.bool_)
        for start, end, _ in present:
            exists[start >> SECTION_ORDER : (end - 1 >> SECTION_ORDER) + 1] = True
        below = 0
        for start, end, zone in [*present, *((z.end, z.end, z) for _, _, z in present[-1:])]:
            first = max(below, zone.start) >> order
            types[first:][: (start >> order) - first] = UNMOVABLE
            below = end
        types[~exists[starts]] = NO_PAGEBLOCK
        for start, end, _ in present:
            types[start >> order : (end - 1 >> order) + 1] = UNMOVABLE
        for start, end, _ in present:
            types[start + (1 << order) - 1 >> order : (end - 1 >> order) + 1] = MOVABLE
        return types

    def _cpu_nodes(self, told: Sequence[int] | None) -> tuple[int, ...]:
        if told is None:
            return tuple(self.nodes[cpu * len(self.nodes) // self.cpus] for cpu in range(self.cpus))
        if len(told) != self.cpus or not set(told) <= set(self.nodes):
            raise InvalidArgument(must("cpu_node", f"one of the nodes {self.nodes} for each CPU", list(told)))
        return tuple(told)

    def _distances(self, told: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int]] | None:
        size = self.nodes[-1] + 1
        if told is not None and (len(told) < size or any(len(row) < size for row in told)):
            raise InvalidArgument(must("distance", f"a matrix of {size} nodes or more", f"{len(told)} rows"))
        return told

    # Sizes

    def compute_sizes(self, tuning: Tuning | None = None) -> None:
        """Set watermarks, reserves, thresholds and per-CPU limits to what the kernel computes for the managed pages.

        As it does at boot, when memory is added, and when an administrator sets vm.min_free_kbytes; boosts end.
        """
        self.tuning = tuning or self.tuning
        for zone, size in zip(self.zones, self.sizes(), strict=True):
            row = self._row(zone)
            row[[zonetable.MIN, zonetable.LOW, zonetable.HIGH]] = size.min, size.low, size.high
            row[[zonetable.BOOST, zonetable.THRESHOLD]] = 0, size.threshold
            row[zonetable.RESERVE :][: len(ZONE_NAMES)] = size.lowmem_reserve
            self._sets(zone)[:, percpu.BATCH] = size.batch
            self._sets(zone)[:, [percpu.HIGH_MARK, percpu.HIGH_LEAST, percpu.HIGH_MOST]] = size.pcp_high

    def sizes(self) -> list[Sizes]:
        """Return what `compute_sizes` would set, zone by zone."""
        managed = [int(self._row(zone)[zonetable.MANAGED]) for zone in self.zones]
        return list(sizes(self.zones, managed, self.cpu_node, self.tuning, self.pageblock_order))

    def set_zone(self, zone: str, node: int = 0, *, lowmem_reserve: Sequence[int] | None = None, **sizes: int) -> None:
        """Set sizes of a zone: those of `SETTABLE`, and for all of its CPUs those of `SETTABLE_BY_CPU`.

        `lowmem_reserve` are the pages withheld from requests whose highest zone is DMA, DMA32, Normal, HighMem,
        Movable, Device. Raises `UnknownName`, and `InvalidArgument` for a negative size or no batch; nothing is set
        then.
        """
        chosen = self._zone(zone, node)
        values = {named("size", name, (*SETTABLE, *SETTABLE_BY_CPU)): value for name, value in sizes.items()}
        values = {name: at_least(name, value, int(name == "batch")) for name, value in values.items()}
        reserve = [at_least("lowmem_reserve", pages, 0) for pages in lowmem_reserve or ()]
        if lowmem_reserve is not None and len(reserve) != len(ZONE_NAMES):
            raise InvalidArgument(must("lowmem_reserve", f"{len(ZONE_NAMES)} numbers of pages", len(reserve)))
        for name, value in values.items():
            if name in ZONE_FIELDS:
                self._row(chosen)[ZONE_FIELDS[name]] = value
            else:
                self._sets(chosen)[:, SET_FIELDS[name]] = value
        self._row(chosen)[zonetable.RESERVE :][: len(reserve)] = reserve

    # Reading

    def words(self, name: str) -> npt.NDArray[np.int64]:
        """Return a buffer's words, writable, as the core sees them; for tools that set a machine up."""
        return self.buffers[name].view(np.int64)

    @property
    def merged_below(self) -> int:
        """The order below which no two free buddies are ever left apart: that of pageblocks, whose types differ."""
        return self.pageblock_order

    def wait(self, pfn: int, order: int, mt: int, cpu: int) -> None:
        """Put a block of nobody's frames at the tail of a CPU's list; how recorded per-CPU lists are set up."""
        sets, zone = self.machine.percpu, self.core.zone_at(pfn)
        self.core.memmap.mark_pcp(pfn, order, zone << LANE_SHIFT | mt)
        place = sets.place(order, self.policy.recorded_type(mt))
        self.lists.push_back(sets.base + (zone * self.cpus + cpu) * LISTS + place, pfn)
        self.words("percpu")[(zone * self.cpus + cpu) * SET_ROW + percpu.COUNT] += 1 << order

    def _zone(self, name: str | None, node: int) -> Zone:
        number = self._zone_index(name, node)
        return next(zone for zone in self.zones if zone.number == number)

    def _row(self, zone: Zone) -> npt.NDArray[np.int64]:
        return self.words("zone_rows")[zone.number * ZONE_ROW :][:ZONE_ROW]

    def _sets(self, zone: Zone) -> npt.NDArray[np.int64]:
        return self.words("percpu").reshape(-1, SET_ROW)[zone.number * self.cpus :][: self.cpus]

    def _drift(self, zone: Zone) -> npt.NDArray[np.int64]:
        return self.words("drift")[zone.number * self.cpus :][: self.cpus]
