"""Why the core refused: reads the state again and says subject, rule and value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structpage.errors import CorruptionError, must
from structpage.pages import Page, PageArray

if TYPE_CHECKING:
    from structpage.state import AllocatorState


def why_not_allocated(pages: PageArray, pfn: int, order: int | None) -> str:
    """Return why `pfn` cannot be freed as an allocated block (of `order`, where one was given)."""
    page = pages[pfn]
    if page.state == "allocated" and page.head == pfn:
        return must("order", f"{page.order}, as PFN {pfn} was allocated", order)
    return must(f"PFN {pfn}", "the head of an allocated block", _described(page))


def why_not_free(state: AllocatorState, start: int, end: int) -> str:
    """Return why [start, end) cannot be taken from the free memory."""
    return _why_not("free", state, start, end)


def why_not_reserved(state: AllocatorState, start: int, end: int) -> str:
    """Return why [start, end) cannot be put back to the free memory."""
    return _why_not("reserved", state, start, end)


def why_no_block(state: AllocatorState, start: int, end: int, order: int) -> str:
    """Return why no block of `order` can be taken from [start, end)."""
    first = _first_deferred(state, start, end)
    found = "without" if first == end else f"without, and deferred from PFN {first} on"
    return must(f"range [{start}, {end})", f"with a free block of order {order}", found)


def _why_not(wanted: str, state: AllocatorState, start: int, end: int) -> str:
    subject, rule = f"range [{start}, {end})", f"of {wanted} frames only"
    if not any(zone.start <= start and end <= zone.end for zone in state.zones):
        return must(subject, "within one zone", "across a border or outside all")
    deferred = _first_deferred(state, start, end)
    for pfn in range(start, end):
        page = state.pages[pfn]
        if pfn == deferred:
            return must(subject, rule, f"PFN {pfn}, deferred")
        if page.state != wanted:
            return must(subject, rule, f"PFN {pfn}, {_described(page)}")
    return must(subject, rule, "one that changed meanwhile")


def _first_deferred(state: AllocatorState, start: int, end: int) -> int:
    # The lowest deferred frame of [start, end); `end` if there is none.
    ranges = [part for zone in state.zones for part in state.deferred_ranges(zone)]
    return min((max(start, first) for first, stop in ranges if first < end and start < stop), default=end)


def _described(page: Page) -> str:
    if page.state == "reserved":
        return "reserved"
    if page.head == page.pfn:
        return f"{page.state}, order {page.order}"
    return f"inside the {page.state} block of order {page.order} at PFN {page.head}"


def corruption(state: AllocatorState) -> CorruptionError:
    """Return what `check()` finds; the core met a broken list or word."""
    try:
        state.check()
    except CorruptionError as error:
        return error
    return CorruptionError("list", "one whose blocks the words call free", "one that is broken")
