"""`Machine`: Linux's page allocator with zones, per-CPU lists, watermarks and migratetypes, over any placement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from structpage.arguments import at_least, between, named
from structpage.core.linux.fallback import Fallback
from structpage.core.linux.kernels import Kernel61
from structpage.core.linux.machine import Machine as CoreMachine
from structpage.core.linux.pageblocks import Pageblocks
from structpage.core.linux.percpu import BATCH, COUNT, FACTOR, HIGH_MARK, LISTS, SET_ROW, PerCpu
from structpage.core.linux.tracepoints import Tracepoints
from structpage.core.linux.zonetable import ZONE_ROW, ZoneTable
from structpage.core.words import LANE_SHIFT, TYPES, ZIDS
from structpage.engines import Engine
from structpage.frames import FrameMemory
from structpage.pages import PageArray
from structpage.state import AllocatorState
from structpage.zones import Zone

KERNELS = {"6.1": Kernel61}
TRACE_WORDS = 1 << 17


class Machine(AllocatorState):
    """Linux's page allocator."""

    def __init__(
        self,
        pages: PageArray | int,
        placement: str | type = "side-table",
        *,
        kernel: str = "6.1",
        zones: Iterable[Zone] | None = None,
        cpus: int = 1,
        max_order: int = 10,
        pageblock_order: int = 9,
        cma: bool = False,
        engine: str | Engine | None = None,
        memory: FrameMemory | None = None,
        stamp: str = "every",
    ) -> None:
        self.kernel = KERNELS[named("kernel", kernel, KERNELS)]()
        self.cpus = at_least("cpus", cpus, 1)
        self.pageblock_order = between("pageblock_order", pageblock_order, 0, max_order)
        zones = tuple(zones) if zones is not None else None
        frames = pages.frames if isinstance(pages, PageArray) else pages
        chosen = zones or (Zone("Normal", 0, frames),)
        slots = max(Zone(*zone).number for zone in chosen) + 1
        super().__init__(
            pages,
            placement,
            zones=zones,
            max_order=max_order,
            engine=engine,
            memory=memory,
            needs_memory=False,
            stamp=stamp,
            deferred=False,
            section_order=15,
            more_lists=slots * self.cpus * LISTS,
        )
        buffer = self._new_buffer
        zonetable = ZoneTable(buffer("zone_rows", slots * ZONE_ROW), buffer("drift", slots * self.cpus), self.cpus)
        blocks = -(-self.pages.frames >> self.pageblock_order) + 1
        pageblocks = Pageblocks(self.core, zonetable, buffer("pageblocks", blocks), self.pageblock_order)
        trace = Tracepoints(buffer("trace", TRACE_WORDS))
        fallback = Fallback(pageblocks, self.kernel, trace, buffer("hint", 2))
        base = (slots << LANE_SHIFT) * self.core.orders
        percpu = PerCpu(fallback, buffer("percpu", slots * self.cpus * SET_ROW), self.cpus, base)
        avoid = buffer("avoid_fragmentation", slots)
        nodes = {zone.node for zone in self.zones}
        for zone in self.zones:
            lower = any(z.node == zone.node and z.name == "DMA32" for z in self.zones)
            self.buffers["avoid_fragmentation"][zone.number] = len(nodes) == 1 or lower
        self.machine = self.engine.adopt(cast(Any, CoreMachine)(percpu, self.ranges, avoid, len(nodes), int(cma)))

    def words(self, name: str) -> np.ndarray[Any, Any]:
        return self.buffers[name].view(np.int64)
