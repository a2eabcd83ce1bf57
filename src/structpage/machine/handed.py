"""`HandedMachine`: memory that a machine is handed over, at boot and later."""

from __future__ import annotations

from typing import Any

from structpage.arguments import a_range
from structpage.boot import Memblock
from structpage.boot.handover import SECTION, free_late
from structpage.core.buddy import TO_TAIL
from structpage.core.linux.zonetable import MANAGED
from structpage.errors import InvalidFree
from structpage.machine.booting import BootReport
from structpage.machine.placed import PlacedMachine
from structpage.refusal import why_not_reserved
from structpage.zones import Zone


class HandedMachine(PlacedMachine):
    """A machine whose frames begin reserved, and become its own range by range."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.memblock: Memblock | None = None
        """The allocator of boot that its memory came from, if it booted."""
        self.boot_report: BootReport | None = None
        """What was taken of the memory before, if it booted."""

    def release(self, start: int, count: int) -> None:
        """Hand reserved frames over as at boot: they are managed from now on, and go to the tails of the zone's lists.

        Raises `OutOfRange`, and `InvalidFree` if one is not reserved or they are not of one zone. O(frames).
        """
        first, end = a_range(start, count, self.pages.frames)
        if not self.ranges.is_reserved_range(first, end):
            raise InvalidFree(why_not_reserved(self, first, end))
        self._begin(freed=first)
        self.hand_over(next(zone for zone in self.zones if zone.start <= first < zone.end), first, end)

    def hand_over(self, zone: Zone, start: int, end: int) -> None:
        """Do what `release` does, without looking: all frames of [start, end) are reserved, and of this zone.

        Raises `CorruptionError`. O((end - start) / 2^max_order).
        """
        blocks = self.machine.percpu.zone_lists.blocks
        self._row(zone)[MANAGED] += end - start
        while start < end:
            if self.supply is not None:
                if self.supply.becomes_nodes(start):
                    start += 1
                    continue
                self.supply.before_free(start)
            order = self.core.chunk(start, end)
            self._raise_if(blocks.free(start, order, zone.number, blocks.type_of(start), TO_TAIL, 0))
            start += 1 << order

    @property
    def deferred_frames(self) -> int:
        """Number of frames that are still to be handed over."""
        return sum(end - start for _, start, end in self.late)

    def hand_over_deferred(self) -> None:
        """Hand over all frames that are deferred, and compute the sizes of the zones; O(those frames / 2^max_order)."""
        while self._grow():
            pass
        self.compute_sizes()

    def _grow(self) -> bool:
        # Hand over the deferred frames of one section more; whether there were any.
        if not self.late:
            return False
        zone, start, end = self.late.pop(0)
        middle = min((start // SECTION + 1) * SECTION, end)
        if middle < end:
            self.late.insert(0, (zone, middle, end))
        free_late(self, zone, start, middle)
        return True

    def _in_use(self, blocks: int) -> None:
        # So many blocks more are in use, or fewer.
        if self.supply is not None:
            self.supply.in_use(blocks)
