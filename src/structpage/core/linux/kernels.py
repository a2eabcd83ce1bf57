"""What kernels do differently, as policies: pure functions of small values whose verdicts the mechanisms act on.

A policy is a class of constants and functions; `Kernel61` follows Linux 6.1 (mm/page_alloc.c; the functions named are
there). Another kernel is another class with the same functions, and no mechanism asks which it has.

Per-CPU lists: the mechanism keeps `high` and one more word for each set of lists, `factor`, and passes both at every
free and refill, with the limits between which `high` may move; the verdict has their new values. In 6.1 `high` stays,
and `factor` is `free_factor`, how often in a row the lists were drained. Where `high` is tuned (6.7 and later) `factor`
has room for two counters.

Where a later kernel goes another way altogether, as in its fallback, it brings a mechanism with the same methods in the
place of the one here (`fallback.Fallback`).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.words import HIGHATOMIC, MOVABLE, RECLAIMABLE, UNMOVABLE

COSTLY_ORDER = 3
"""PAGE_ALLOC_COSTLY_ORDER: blocks above it are dear, and, but for huge pages, not kept on per-CPU lists."""


class Kernel61(NamedTuple):
    """The policies of Linux 6.1."""

    batch_scale: int = 5
    """CONFIG_PCP_BATCH_SCALE_MAX: a drain takes at most batch << batch_scale."""
    boost_factor: int = 15000
    """vm.watermark_boost_factor, in 1/10000 of the high watermark."""

    # Per-CPU lists

    def refilled(
        self, count: int, high: int, least: int, most: int, batch: int, factor: int, order: int
    ) -> tuple[int, int, int]:
        """Return how many blocks an empty list is refilled with, and `high` and `factor` from then on."""
        return self.refill(batch, order), high, factor

    def freed(
        self, count: int, high: int, least: int, most: int, batch: int, factor: int, order: int, reclaiming: int
    ) -> tuple[int, int, int]:
        """Return how many frames to drain after a free of `order`, 0 for none, and `high` and `factor` from then on.

        `count` has the freed block; `reclaiming` is 1 while kswapd balances the zone.
        """
        surplus = self.surplus(count, high, batch, factor, order, reclaiming)
        if surplus:
            factor = self.after_drain(high, batch, factor, order, reclaiming)
        return surplus, high, factor

    def after_alloc(self, factor: int) -> int:
        """Return `factor` after an allocation from the lists (`rmqueue_pcplist`)."""
        return factor >> 1

    def refill(self, batch: int, order: int) -> int:
        """Return how many blocks an empty list is refilled with (`__rmqueue_pcplist`)."""
        if batch <= 1:
            return batch
        return max(batch >> order, 2)

    def surplus(self, count: int, high: int, batch: int, factor: int, order: int, reclaiming: int) -> int:
        """Return how many frames to drain after a free of `order`, 0 for none.

        (`free_unref_page_commit`, `nr_pcp_high`, `nr_pcp_free`.)
        """
        drain_all = self.drains_all(factor, order)
        if drain_all or high == 0:
            high = 0
        elif reclaiming:
            high = min(batch << 2, high)
        if count < high:
            return 0
        if drain_all:
            return count
        if high < batch:
            return 1
        return min(batch << factor, high - batch)

    def drains_all(self, factor: int, order: int) -> bool:
        """Whether a free of `order` makes the lists be drained whole."""
        return factor > 0 and 0 < order <= COSTLY_ORDER

    def after_drain(self, high: int, batch: int, factor: int, order: int, reclaiming: int) -> int:
        """Return `factor` after a drain that a free of `order` made (`nr_pcp_free`)."""
        if self.drains_all(factor, order):
            return factor
        if high and reclaiming:
            high = min(batch << 2, high)
        if high >= batch and batch << factor < high - batch and factor < self.batch_scale:
            return factor + 1
        return factor

    # Fallback

    def steals(self, block_order: int, order: int, mt: int) -> bool:
        """Whether a request of type `mt` may take all of the pageblock of a foreign block (`can_steal_fallback`)."""
        return order >= block_order // 2 or mt in (RECLAIMABLE, UNMOVABLE)

    def alike(self, mt: int, was: int, pages: int, free: int, movable: int) -> int:
        """Return how many used frames of a pageblock are as the type that steals it (`steal_suitable_fallback`)."""
        if mt == MOVABLE:
            return movable
        return pages - free - movable if was == MOVABLE else 0

    def retypes(self, pages: int, free: int, alike: int) -> bool:
        """Whether a pageblock of `pages` frames changes its type, when its free ones were taken."""
        return free + alike >= pages >> 1

    def boost(self, boost: int, high: int, managed: int, pages: int) -> int:
        """Return a zone's watermark boost after another theft from a pageblock of `pages` (`boost_watermark`)."""
        if pages * 4 > managed:
            return boost
        most = high * self.boost_factor // 10000
        return min(boost + pages, max(pages, most)) if most else boost

    # Watermarks and the reserve

    def unusable(self, reserved: int) -> int:
        """Return how many free frames the high-atomic reserve withholds (`__zone_watermark_unusable_free`)."""
        return reserved

    def reserve_limit(self, managed: int, pages: int) -> int:
        """Return the size from which on the high-atomic reserve grows no more (`reserve_highatomic_pageblock`)."""
        return managed // 100 + pages

    def recorded_type(self, mt: int) -> int:
        """Return the per-CPU list's type for a block of type `mt` (`free_unref_page`)."""
        return MOVABLE if mt >= HIGHATOMIC else mt
