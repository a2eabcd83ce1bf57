"""What the allocator did on the way to an answer, as the kernel's trace would say it.

Record: `entry[0]` is the place of the next record; a record is two words, a PFN and what happened to it:
kind in bits 0-3, order 4-9, migratetype 10-13, and for a fallback the order found 14-19, the type found 20-23 and
whether the pageblock is now of the type asked for in bit 24. Records that have no room are not kept.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer

REMOVED, DRAINED, FELL_BACK = 1, 2, 3
"""mm_page_alloc_zone_locked, mm_page_pcpu_drain, mm_page_alloc_extfrag."""
ORDER_AT, TYPE_AT, FOUND_ORDER_AT, FOUND_TYPE_AT, CHANGED_AT = 4, 10, 14, 20, 24


class Tracepoints(NamedTuple):
    """The records since the last `clear`."""

    entry: Buffer

    def clear(self) -> None:
        """Forget all records."""
        self.entry[0] = 1

    def note(self, pfn: int, what: int) -> None:
        """Keep a record."""
        entry = self.entry
        at = entry[0]
        if at + 2 <= len(entry):
            entry[at] = pfn
            entry[at + 1] = what
            entry[0] = at + 2
