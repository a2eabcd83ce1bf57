"""What a recorded kernel was asked for, and what it did: the rows of `core.linux.script`, and the records beside them.

Terminology: a *request* is what came from outside the allocator: allocations, frees, and with hints what the kmem
events do not show. A *record* is what the allocator did about it. A free names the allocation that it undoes; the
kernel's PFNs only say which that is. Frames that were in use before the trace, or were allocated out of its sight,
have no other name than their PFN.

No request is made from a record, with two exceptions that no event outside the allocator determines: whether a
theft retyped its pageblock, and the node that was asked for where there are several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.linux import script
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
from structpage.request import ALLOC, FREE, RELEASE, SPLIT, Column
from structpage.traces.capture import Capture
from structpage.traces.events import MM_PAGE_ALLOC, MM_PAGE_FREE, Events
from structpage.traces.pairing import PageEvents, Pairing

VMEMMAP = 0xFFFFEA0000000000
PAGE_STRUCT = 64


def pfn_of(page: Column) -> Column:
    """Return the PFNs of pointers to page structures, as x86-64 without address randomisation has them."""
    return ((page.view(np.uint64) - np.uint64(VMEMMAP)) // np.uint64(PAGE_STRUCT)).astype(np.int64)


def detail(events: Events, kind: str) -> NDArray[np.void] | None:
    table = events.details.get(kind)
    return table if table is not None and len(table) else None
