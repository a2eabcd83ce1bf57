"""What each zone knows of itself: sizes, watermarks, reserves, flags, and a free counter that drifts.

Terminology: `NR_FREE_PAGES` of a zone is kept in one global word and one *difference* per CPU. A CPU adds to its own
difference, and folds it into the global word when it exceeds the zone's *threshold*, or at regular times
(Linux 6.1, mm/vmstat.c, `__mod_zone_page_state`, `refresh_cpu_vm_stats`). Watermarks look at the global word alone.

Record: `row[zone * ZONE_ROW + FIELD]`, in frames unless said otherwise; `drift[zone * cpus + cpu]`.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.words import CMA

MANAGED, MIN, LOW, HIGH, BOOST, FREE = range(6)
HIGHATOMIC_PAGES = 6
"""Frames of pageblocks reserved for high-order atomic requests."""
ISOLATED = 7
"""Pageblocks of type Isolate."""
SPECIAL = 8
"""Pageblocks whose type does not merge with others: HighAtomic, CMA, Isolate."""
THRESHOLD = 9
RECLAIMING = 10
"""1 while kswapd balances the zone's node."""
BOOSTED = 11
"""1 from a boost until kswapd is woken for it."""
BOOST_SEEN = 12
"""The boost when kswapd began: what it takes away when it is done."""
CMA_FREE = 13
RESERVE = 16
"""From here on the frames withheld from requests whose highest zone is 0, 1, ...: lowmem_reserve."""
ZONE_ROW = 24


class ZoneTable(NamedTuple):
    """Rows of zones, and the differences of CPUs."""

    row: Buffer
    drift: Buffer
    cpus: int

    def add_free(self, zone: int, cpu: int, pages: int, mt: int) -> None:
        """Count frames of type `mt` that became free, or fewer if `pages` is negative."""
        row = self.row
        base = zone * ZONE_ROW
        change = self.drift[zone * self.cpus + cpu] + pages
        limit = row[base + THRESHOLD]
        if change > limit or change < -limit:
            row[base + FREE] += change
            change = 0
        self.drift[zone * self.cpus + cpu] = change
        if mt == CMA:
            row[base + CMA_FREE] += pages

    def fold(self, cpu: int, zones: int) -> None:
        """Fold a CPU's differences into the global words."""
        for zone in range(zones):
            at = zone * self.cpus + cpu
            self.row[zone * ZONE_ROW + FREE] += self.drift[at]
            self.drift[at] = 0

    def free_pages(self, zone: int) -> int:
        """Return the free frames of a zone with all differences; O(cpus)."""
        pages = self.row[zone * ZONE_ROW + FREE]
        for cpu in range(self.cpus):
            pages += self.drift[zone * self.cpus + cpu]
        return pages
