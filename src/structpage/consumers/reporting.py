"""Free page reporting: a guest tells the host of large free blocks, and the host takes their memory.

Followed: Linux 6.1 mm/page_reporting.c, `page_reporting_process_zone`, `page_reporting_cycle`, `page_reporting_drain`:
lists ascending by order and type; from the head of a list, blocks that were not reported are isolated; a batch
of 32 is reported with the zone lock dropped, and put back at the tail, flagged unless it merged; a list has
a budget of a sixteenth of its blocks per cycle; a zone near its low watermark is skipped; a cycle comes 2 s
after a block of `order` was freed. Two things differ: there are no pageblocks whose type isolation changes, and a
list is rotated block by block.

The block is off the lists while it is reported, so nothing is lost. But the put-back writes links into a
discarded page, which the host has to make again.
"""

from __future__ import annotations

from structpage.consumers.base import Consumer, Verdict
from structpage.core.buddy import TO_TAIL
from structpage.core.words import ISOLATE, LANE_SHIFT, TYPE_MASK
from structpage.zones import Zone

CAPACITY = 32
DELAY = 2_000_000
PAGEBLOCK_ORDER = 9


class FreePageReporting(Consumer):
    """Reports free blocks of at least `order` to a host that discards them (`discard`).

    `low_watermark` maps a zone's index to frames; `delay` is in microseconds of the workload's clock.
    """

    name = "free-page-reporting"

    def __init__(
        self,
        *,
        discard: bool = True,
        order: int = PAGEBLOCK_ORDER,
        delay: int = DELAY,
        low_watermark: dict[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.discard, self.order, self.delay = discard, order, delay
        self.low_watermark = low_watermark or {}
        self._now = 0
        # When the next cycle is due; registration requests the first one.
        self._due: int | None = delay
        # Reported blocks that were put back: PFN to (order, frames that came back since).
        self._reported: dict[int, tuple[int, int]] = {}
        self.cycles = self.blocks = 0

    def after_free(self, pfn: int, order: int) -> None:
        """F14: request a cycle when the block that came of it is large enough."""
        head = self.buddy.core.head_of(pfn)
        if self._due is None and self.buddy.core.memmap.order_of(head) >= self.order:
            self._due = self._now + self.delay

    def tick(self, microseconds: int) -> None:
        """Run the cycle that is due."""
        self._now = microseconds
        if self._due is not None and microseconds >= self._due:
            self._cycle()

    def finish(self) -> None:
        """Run one cycle more, and count what came back of all that was reported."""
        self._cycle()
        for pfn in list(self._reported):
            self._recount(pfn)

    def _cycle(self) -> None:
        self._due = None
        self.cycles += 1
        for zone, counts in zip(self.buddy.zones, self.buddy.free_counts_by_zone.tolist(), strict=True):
            free = sum(count << order for order, count in enumerate(counts))
            if free > self.low_watermark.get(zone.number, 0) + (CAPACITY << self.order):
                self._zone(zone)

    def _zone(self, zone: Zone) -> None:
        batch: list[tuple[int, int, int]] = []
        for order in range(self.order, self.buddy.core.orders):
            for mt in range(ISOLATE):
                self._list(zone.number << LANE_SHIFT | mt, order, batch)
        self._report(batch)

    def _list(self, lane: int, order: int, batch: list[tuple[int, int, int]]) -> None:
        """Isolate and report from one list, within its budget; what is left in `batch` goes on to the next."""
        core, lists = self.buddy.core, self.buddy.lists
        lst = lane * core.orders + order
        nr_free = core.nr_free[(lane >> LANE_SHIFT) * core.orders + order]
        budget = -(-nr_free // (CAPACITY * 16))
        pfn = lists.first(lst)
        while pfn >= 0 and budget > 0:
            after = lists.next(lst, pfn)
            if not core.memmap.is_reported(pfn):
                if len(batch) == CAPACITY:
                    self._rotate(lst, pfn)
                    self._report(batch)
                    batch.clear()
                    budget -= 1
                    pfn = lists.first(lst)
                    continue
                self.buddy.ranges.take(pfn, order, lane & TYPE_MASK)
                batch.append((pfn, order, lane))
            pfn = after

    def _rotate(self, lst: int, pfn: int) -> None:
        lists = self.buddy.lists
        while lists.first(lst) != pfn:
            passed = lists.first(lst)
            lists.remove(passed)
            lists.push_back(lst, passed)

    def _report(self, batch: list[tuple[int, int, int]]) -> None:
        core = self.buddy.core
        for pfn, order, _ in batch:
            if self.discard:
                self.memory.discard(pfn, order)
        for pfn, order, lane in batch:
            core.free_block(pfn, order, lane, TO_TAIL, core.orders - 1)
            if core.memmap.is_free_block(pfn, order):
                core.memmap.mark_reported(pfn)
                self._reported[pfn] = (order, 0)
        for pfn, _, _ in batch:
            self._recount(pfn)
        self.blocks += len(batch)

    def _recount(self, pfn: int) -> None:
        """Ask the system how many frames of a block that is still reported it has had to make again."""
        order, before = self._reported.get(pfn, (0, 0))
        if not (self.buddy.core.memmap.is_reported(pfn) and self.buddy.core.memmap.is_free_block(pfn, order)):
            self._reported.pop(pfn, None)
            return
        resident = self.memory.resident_frames(pfn, order) if self.discard else 0
        if resident > before:
            self.cost += resident - before
            self.note("cost", pfn, 0, 0, self.memory.read(pfn, 0, 1)[0])
            self._reported[pfn] = (order, resident)

    def verdict(self) -> Verdict:
        """`cost` when frames came back: a host fault each, and 4 KiB that the report had saved."""
        seen = f"{self.blocks} blocks reported in {self.cycles} cycles"
        if not self.cost:
            return Verdict("ok", 0, f"{seen}, and none came back")
        return Verdict("cost", self.cost, f"{seen}, {self.cost} frames faulted back by links written into them")
