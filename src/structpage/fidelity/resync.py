"""After a wrong prediction: doing to the machine what the kernel did, as far as the trace tells.

The per-CPU lists are made exactly those of the kernel, and so are the free frames. Where a block stood on a free list
no event tells: a block that the kernel took is taken from wherever it is, and what is left of it goes to the heads of
the lists, as in a split. Once compaction was at work a list that begins wrongly was turned by a search of it that found
nothing (`move_freelist_head`), so it is turned to the block that the kernel took.
"""

from __future__ import annotations

from typing import Any

from structpage.core.buddy import MERGE_LIKELY
from structpage.core.linux import script
from structpage.core.linux.compaction import rotate_to
from structpage.core.linux.gfp import migratetype
from structpage.core.linux.percpu import (
    BATCH,
    COUNT,
    FACTOR,
    HIGH_LEAST,
    HIGH_MARK,
    HIGH_MOST,
    LISTS,
    SET_ROW,
    TYPES_KEPT,
)
from structpage.core.linux.tracepoints import CHANGED_AT, DRAINED, FELL_BACK, FOUND_ORDER_AT, ORDER_AT, REMOVED, TYPE_AT
from structpage.core.linux.zonetable import RECLAIMING, ZONE_ROW
from structpage.core.words import LANE_SHIFT, MOVABLE, TYPE_MASK, UNMOVABLE
from structpage.errors import CorruptionError
from structpage.machine import Machine

Row = script.Row
Record = tuple[int, int]


class Resync:
    """Does recorded rows to a machine. `where` is the table of the slots' PFNs."""

    compacted = False
    """Whether compaction was at work."""

    def __init__(self, machine: Machine, where: Any) -> None:
        self.core: Any = machine.machine
        self.percpu = self.core.percpu
        self.lists = self.percpu.zone_lists
        self.blocks = self.lists.blocks
        self.buddy = self.blocks.buddy
        self.memmap = self.buddy.memmap
        self.where = where

    def act(self, row: Row, records: list[Record], answer: int) -> None:
        """Do one row as it was recorded; `answer` is the PFN that an allocation got, or `UNTOLD`."""
        kind, order, slot, at, _, _, _ = row
        if kind == script.ALLOC:
            self._alloc(row, records, answer)
        elif kind == script.BULK:
            self._bulk(row, records)
        elif kind == script.ISOLATE:
            self._own(at, order)
            self.where[slot] = at
        elif kind in (script.DRAIN, script.DRAIN_BATCH):
            self._drain(records, slot)
        elif kind in (script.FOLD, script.BALANCE):
            script.act(self.core, row, self.where)
        else:
            self._free(row, records)

    # Allocations

    def _alloc(self, row: Row, records: list[Record], answer: int) -> None:
        _, order, slot, gfp, cpu, _, _ = row
        self.where[slot] = answer
        if answer < 0:
            return
        zone, mt = self.buddy.zone_at(answer), migratetype(gfp)
        lane = zone << LANE_SHIFT | mt
        kept = self.percpu.keeps(order)
        if kept:
            at = self._set(zone, cpu) + FACTOR
            self.percpu.row[at] = self.lists.kernel.after_alloc(self.percpu.row[at])
        self._take(records, cpu, kept)
        if kept:
            self._hidden(self._list(zone, cpu, order, mt), answer, order, lane)
        self._detach(answer, order, cpu)
        self.memmap.mark_allocated(answer, order, lane, 0)

    def _bulk(self, row: Row, records: list[Record]) -> None:
        _, count, slot, gfp, cpu, node, _ = row
        self._take(records, cpu, True)
        zone = self.buddy.zone_at(records[0][0]) if records else self.core.bulk_zone(count, gfp, node)
        for i in range(slot, slot + count):
            pfn = self.buddy.lists.first(self._list(zone, cpu, 0, migratetype(gfp)))
            if pfn >= 0:
                self._detach(pfn, 0, cpu)
                self.memmap.mark_allocated(pfn, 0, zone << LANE_SHIFT | migratetype(gfp), 0)
            self.where[i] = pfn

    def _take(self, records: list[Record], cpu: int, kept: bool) -> None:
        # Blocks left their zone's lists, and went to the CPU's if those keep them. A refill finds its list empty.
        refilled = set()
        for pfn, what in records:
            order, mt = what >> ORDER_AT & 63, what >> TYPE_AT & 15
            zone = self.buddy.zone_at(pfn)
            if what & 15 == FELL_BACK:
                self._steal(pfn, what, zone, mt)
            elif what & 15 == REMOVED:
                lst = self._list(zone, cpu, order, mt) if kept else -1
                if kept and lst not in refilled:
                    refilled.add(lst)
                    self._hidden(lst, -1, order, zone << LANE_SHIFT | mt)
                if self.compacted:
                    self._turn(pfn)
                self._detach(pfn, order, cpu)
                if kept:
                    self.memmap.mark_pcp(pfn, order, zone << LANE_SHIFT | mt)
                    self.buddy.lists.push_back(lst, pfn)
                    self.percpu.row[self._set(zone, cpu) + COUNT] += 1 << order

    def _steal(self, pfn: int, what: int, zone: int, mt: int) -> None:
        found = what >> FOUND_ORDER_AT & 63
        if self.memmap.is_free_block(pfn, found):
            self.lists.hint[0] = 2 | what >> CHANGED_AT & 1
            self.lists.move(zone, pfn, found, mt, 0)
            self.lists.hint[0] = 0
        elif what >> CHANGED_AT & 1:
            self.blocks.set_type(pfn, zone, mt)

    def _hidden(self, lst: int, until: int, order: int, lane: int) -> None:
        # Blocks at the head of a per-CPU list were taken out of sight, if one behind them was taken next.
        waiting = []
        pfn = self.buddy.lists.first(lst)
        while pfn >= 0 and pfn != until:
            waiting.append(pfn)
            pfn = self.buddy.lists.next(lst, pfn)
        if until < 0 or pfn == until:
            for taken in waiting:
                self._unlist(taken)
                self.memmap.mark_allocated(taken, order, lane, 0)

    # Frees

    def _free(self, row: Row, records: list[Record]) -> None:
        kind, order, slot, at, cpu, arg, _ = row
        pfn = at if slot < 0 else self.where[slot] + at
        if slot >= 0 and self.where[slot] < 0:
            return
        if kind == script.SPLIT:
            if self.core.ranges.split(pfn, order):
                for part in range(pfn, pfn + (1 << order), 1 << order):
                    self._own(part, order)
            return
        if not (self.memmap.is_allocated_head(pfn) and self.memmap.order_of(pfn) == order):
            self._own(pfn, order)
        if kind == script.PREPARE:
            self.core.prepare(pfn, order)
            return
        lane = self.memmap.unmark_allocated(pfn, order)
        mt = lane & TYPE_MASK if kind == script.COMMIT else self.blocks.type_of(pfn)
        zone = lane >> LANE_SHIFT
        if kind == script.PUT_BACK:
            self.blocks.free(pfn, order, zone, arg, 1, cpu)
        elif self.percpu.keeps(order) and not (kind == script.COMMIT and arg & 1):
            self._wait(zone, cpu, pfn, order, mt, drained=bool(records))
        else:
            self.blocks.free(pfn, order, zone, mt, MERGE_LIKELY, cpu)
        self._drain(records, cpu)

    def _wait(self, zone: int, cpu: int, pfn: int, order: int, mt: int, *, drained: bool) -> None:
        kernel, row, base = self.lists.kernel, self.percpu.row, self._set(zone, cpu)
        self.memmap.mark_pcp(pfn, order, zone << LANE_SHIFT | mt)
        self.buddy.lists.push_front(self._list(zone, cpu, order, kernel.recorded_type(mt)), pfn)
        row[base + COUNT] += 1 << order
        if drained:
            reclaiming = self.blocks.zones.row[zone * ZONE_ROW + RECLAIMING]
            limits = row[base + HIGH_LEAST], row[base + HIGH_MOST]
            numbers = row[base + COUNT], row[base + HIGH_MARK], *limits, row[base + BATCH], row[base + FACTOR]
            _, row[base + HIGH_MARK], row[base + FACTOR] = kernel.freed(*numbers, order, reclaiming)

    def _drain(self, records: list[Record], cpu: int) -> None:
        for pfn, what in records:
            if what & 15 == DRAINED:
                order, mt, zone = what >> ORDER_AT & 63, what >> TYPE_AT & 15, self.buddy.zone_at(pfn)
                if not (self.memmap.is_free_head(pfn) or self.buddy.head_of(pfn) < 0):
                    self._detach(pfn, order, cpu)
                    self.blocks.free(pfn, order, zone, mt, MERGE_LIKELY, cpu)

    # Blocks wherever they are

    def _turn(self, pfn: int) -> None:
        # Make the free block that has a frame the first of its list.
        head = self.buddy.head_of(pfn)
        if head >= 0 and self.memmap.is_free_head(head) and self.memmap.list_type(head) in (MOVABLE, -1):
            rotate_to(self.core, head, self.memmap.order_of(head), MOVABLE)

    def _own(self, pfn: int, order: int) -> None:
        # Make frames a block that somebody has.
        self._detach(pfn, order, 0)
        self.memmap.mark_allocated(pfn, order, self.buddy.zone_at(pfn) << LANE_SHIFT | UNMOVABLE, 0)

    def _detach(self, pfn: int, order: int, cpu: int) -> None:
        # Make frames nobody's, whoever has them.
        stop = pfn + (1 << order)
        while pfn < stop:
            head = self.buddy.head_of(pfn)
            size = 1
            if head >= 0 and self.memmap.is_free_head(head):
                size = 1 << self._from_free(head, pfn, order, cpu)
            elif head >= 0:
                held = self.memmap.order_of(head)
                size = (1 << held) - (pfn - head)
                if self.memmap.is_pcp_head(head):
                    self._unlist(head)
                else:
                    self.memmap.unmark_allocated(head, held)
            pfn += size

    def _from_free(self, head: int, pfn: int, order: int, cpu: int) -> int:
        held = self.memmap.order_of(head)
        order = min(order, held)
        zone = self.buddy.zone_at(pfn)
        mt = self.memmap.list_type(head)
        if mt < 0:
            mt = self.blocks.type_of(head)
        self.core.ranges.take(pfn, order, mt)
        self.blocks.zones.add_free(zone, cpu, -(1 << order), mt)
        return order

    def _unlist(self, pfn: int) -> None:
        # Take a block off its per-CPU list, and out of the count of its set.
        order = self.memmap.order_of(pfn)
        self.percpu.row[self._holder(pfn, order) + COUNT] -= 1 << order
        self.buddy.lists.remove(pfn)
        self.memmap.unmark(pfn)

    def _holder(self, pfn: int, order: int) -> int:
        # The set whose lists have a block.
        zone = self.buddy.zone_at(pfn)
        for cpu in range(self.percpu.cpus):
            for mt in range(TYPES_KEPT):
                lst = self._list(zone, cpu, order, mt)
                other = self.buddy.lists.first(lst)
                while other >= 0 and other != pfn:
                    other = self.buddy.lists.next(lst, other)
                if other == pfn:
                    return self._set(zone, cpu)
        raise CorruptionError("per-CPU list", "one that has the block", "none", pfn=pfn)

    def _list(self, zone: int, cpu: int, order: int, mt: int) -> int:
        return int(self.percpu.base + (zone * self.percpu.cpus + cpu) * LISTS + self.percpu.place(order, mt))

    def _set(self, zone: int, cpu: int) -> int:
        return int((zone * self.percpu.cpus + cpu) * SET_ROW)
