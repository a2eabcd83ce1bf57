"""A small machine of the core, and what must be true of it at any time."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from structpage.core.buddy import TO_TAIL
from structpage.core.linux.cma import CmaArea, cma_activate_area
from structpage.core.linux.fallback import Fallback
from structpage.core.linux.kernels import Kernel61
from structpage.core.linux.machine import Machine
from structpage.core.linux.pageblocks import Pageblocks
from structpage.core.linux.percpu import BATCH, COUNT, HIGH_MARK, LISTS, SET_ROW, PerCpu
from structpage.core.linux.tracepoints import Tracepoints
from structpage.core.linux.zonetable import CMA_FREE, ISOLATED, MANAGED, SPECIAL, THRESHOLD, ZONE_ROW, ZoneTable
from structpage.core.words import CMA, HIGHATOMIC, ISOLATE, LANE_SHIFT, MOVABLE, TYPES
from structpage.state import AllocatorState
from structpage.zones import Zone

GFP_MOVABLE = 0xC08  # and both kinds of reclaim
GFP_UNMOVABLE = 0xC00
NORMAL = 2
FRAMES, AREA, CPUS = 256, 64, 2
ZONES = Zone("DMA32", 0, 112), Zone("Normal", 112, FRAMES)


class Small(AllocatorState):
    """Pageblocks of `1 << pageblock` frames, all Movable; what lies below `first` is reserved, the rest free."""

    def __init__(
        self,
        frames=64,
        placement="side-table",
        *,
        max_order=4,
        pageblock=3,
        cpus=1,
        high=0,
        batch=1,
        threshold=0,
        first=0,
        zones=None,
        engine="plain",
    ):
        zones = zones or (Zone("Normal", 0, frames),)
        slots = max(zone.number for zone in zones) + 1
        super().__init__(
            frames,
            placement,
            zones=zones,
            max_order=max_order,
            engine=engine,
            memory=None,
            needs_memory=False,
            stamp="every",
            deferred=False,
            section_order=15,
            more_lists=slots * cpus * LISTS,
        )
        table = ZoneTable(self._new_buffer("rows", slots * ZONE_ROW), self._new_buffer("drift", slots * cpus), cpus)
        types = self._new_buffer("types", (frames >> pageblock) + 2)
        lists = Fallback(
            Pageblocks(self.core, table, types, pageblock),
            Kernel61(),
            Tracepoints(self._new_buffer("trace", 2)),
            self._new_buffer("hint", 2),
        )
        base = (slots << LANE_SHIFT) * self.core.orders
        percpu = PerCpu(lists, self._new_buffer("percpu", slots * cpus * SET_ROW), cpus, base)
        avoid = self._new_buffer("avoid", slots)
        self.machine = self.engine.adopt(cast(Any, Machine)(percpu, self.ranges, avoid, cma=1, last_resort=1))
        self.blocks = self.machine.percpu.zone_lists.blocks
        for at in range(len(types)):
            types[at] = MOVABLE
        for at in range(0, len(percpu.row), SET_ROW):
            percpu.row[at + HIGH_MARK], percpu.row[at + BATCH] = high, batch
        for zone in self.zones:
            table.row[zone.number * ZONE_ROW + THRESHOLD] = threshold
            start = max(zone.start, first)
            if start < zone.end:
                self.core.hand_over(start, zone.end, MOVABLE, TO_TAIL)
                table.row[zone.number * ZONE_ROW + MANAGED] += zone.end - start
                table.add_free(zone.number, 0, zone.end - start, MOVABLE)

    # What it is

    def lists_of(self, mt, zone=NORMAL):
        """The free blocks on the lists of a type, `{order: [pfn, ...]}`, those that are empty left out."""
        found = {order: self.list_of(zone, mt, order) for order in range(self.core.orders)}
        return {order: pfns for order, pfns in found.items() if pfns}

    def list_of(self, zone, mt, order):
        return self.walk((zone << LANE_SHIFT | mt) * self.core.orders + order)

    def walk(self, lst):
        pfns, pfn = [], self.lists.first(lst)
        while pfn >= 0:
            pfns.append(pfn)
            pfn = self.lists.next(lst, pfn)
        return pfns

    def types(self):
        """The types of all pageblocks, one digit each."""
        return "".join(str(mt) for mt in self.buffers["types"].tolist()[: self.core.frames >> self.blocks.order])

    def free_pages(self, zone=NORMAL):
        return self.blocks.zones.free_pages(zone)

    def word(self, field, zone=NORMAL):
        return self.blocks.zones.row[zone * ZONE_ROW + field]

    def waiting(self):
        """The blocks on per-CPU lists, `{pfn: order}`, each counted by its set."""
        percpu, found = self.machine.percpu, {}
        for at in range(self.core.zones * percpu.cpus):
            here = {
                pfn: percpu.order_of(place)
                for place in range(LISTS)
                for pfn in self.walk(percpu.base + at * LISTS + place)
            }
            assert sum(1 << order for order in here.values()) == percpu.row[at * SET_ROW + COUNT]
            found |= here
        return found

    def state(self):
        return {name: words.tobytes() for name, words in self.buffers.items() if name != "trace"}

    # What must be true

    def check(self, owned):
        """No frame is lost or there twice, and all counters say what the lists say.

        `owned` is what somebody has, `{pfn: order}`; what is in none of these is reserved.
        """
        covered = {}
        for zone in self.zones:
            self.check_zone(zone.number, covered)
        for name, blocks in ("waiting", self.waiting()), ("owned", owned):
            for pfn, order in blocks.items():
                self.cover(covered, pfn, order, name)
        for pfn in set(range(self.core.frames)) - set(covered):
            assert self.core.memmap.is_reserved(pfn), pfn
        return covered

    def check_zone(self, zone, covered):
        counted = dict.fromkeys(range(TYPES), 0)
        for order in range(self.core.orders):
            on_lists = 0
            for mt in range(TYPES):
                for pfn in self.list_of(zone, mt, order):
                    assert self.core.memmap.is_free_block(pfn, order), pfn
                    assert (mt == ISOLATE) == (self.blocks.type_of(pfn) == ISOLATE), pfn
                    assert (mt == CMA) == (self.blocks.type_of(pfn) == CMA), pfn
                    self.cover(covered, pfn, order, "free")
                    counted[mt] += 1 << order
                    on_lists += 1
            assert on_lists == self.core.nr_free[zone * self.core.orders + order]
        assert self.free_pages(zone) == sum(counted.values()) - counted[ISOLATE]
        assert self.word(CMA_FREE, zone) == counted[CMA]
        bounds = self.core.zone_start[zone], self.core.zone_end[zone]
        kinds = [self.blocks.type_of(pfn) for pfn in range(*bounds, 1 << self.blocks.order)]
        assert self.word(ISOLATED, zone) == kinds.count(ISOLATE)
        assert self.word(SPECIAL, zone) == sum(kind >= HIGHATOMIC for kind in kinds)

    def cover(self, covered, pfn, order, name):
        for frame in range(pfn, pfn + (1 << order)):
            assert frame not in covered, (frame, covered[frame], name)
            covered[frame] = name

    def unmerged(self):
        """The pairs of free buddies of one order that nothing keeps apart."""
        return [
            (pfn, order)
            for order in range(self.core.orders - 1)
            for pfn in range(0, self.core.frames, 2 << order)
            if self.core.memmap.is_free_block(pfn, order) and self.core.memmap.is_free_block(pfn + (1 << order), order)
            if self.may_merge(pfn, pfn + (1 << order))
        ]

    def may_merge(self, pfn, other):
        types = self.blocks.type_of(pfn), self.blocks.type_of(other)
        if self.core.zone_at(pfn) != self.core.zone_at(other):
            return False
        return types[0] == types[1] or max(types) < HIGHATOMIC


def machine_with_area(placement, pageblock, max_order, **options):
    """Two zones, and at the bottom of the lower one a CMA area; the per-CPU lists keep some blocks."""
    options = {"high": 12, "batch": 3, "threshold": 5, "cpus": CPUS, "first": AREA, "zones": ZONES} | options
    small = Small(FRAMES, placement, pageblock=pageblock, max_order=max_order, **options)
    small.buffers["zone_area"] = np.zeros(AREA, np.uint64)
    area = CmaArea(small.engine.buffer("zone_area", small.buffers["zone_area"]), 0, AREA, 0)
    assert cma_activate_area(small.machine, area, 0) == 0
    return small, area
