"""What a machine did on the way to an answer, as the kernel's trace would say it.

Followed: Linux 6.1 include/trace/events/kmem.h. `mm_page_alloc` and `mm_page_free` are the calls themselves, and not
among the records.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from structpage.core.linux.tracepoints import (
    CHANGED_AT,
    DRAINED,
    FELL_BACK,
    FOUND_ORDER_AT,
    FOUND_TYPE_AT,
    ORDER_AT,
    REMOVED,
    TYPE_AT,
)

KINDS = {
    REMOVED: "mm_page_alloc_zone_locked",
    DRAINED: "mm_page_pcpu_drain",
    FELL_BACK: "mm_page_alloc_extfrag",
}
EVENT = np.dtype(
    [("kind", "U25"), ("pfn", np.int64)]
    + [
        (name, np.int16)
        for name in ("order", "migratetype", "fallback_order", "fallback_migratetype", "change_ownership")
    ]
)
"""`order` and `migratetype` are those of the block, of an extfrag those asked for; its last three are -1 elsewhere."""


def decoded(entry: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """Return the records that a `Tracepoints` keeps; `EVENT`, a row each, in their order."""
    pairs = entry[1 : entry[0]].reshape(-1, 2)
    pfn, what = pairs[:, 0], pairs[:, 1]
    rows = np.zeros(len(pairs), EVENT)
    rows["kind"] = [KINDS[kind] for kind in (what & 15).tolist()]
    rows["pfn"], rows["order"], rows["migratetype"] = pfn, what >> ORDER_AT & 63, what >> TYPE_AT & 15
    stolen = what & 15 == FELL_BACK
    rows["fallback_order"] = np.where(stolen, what >> FOUND_ORDER_AT & 63, -1)
    rows["fallback_migratetype"] = np.where(stolen, what >> FOUND_TYPE_AT & 15, -1)
    rows["change_ownership"] = np.where(stolen, what >> CHANGED_AT & 1, -1)
    return rows
