"""Why the core refused: reads the state again and says subject, rule and value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from structpage.errors import CorruptionError, must
from structpage.pages import Page, PageArray
from structpage.zones import Zone

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator


def why_not_allocated(pages: PageArray, pfn: int, order: int | None) -> str:
    """Return why `pfn` cannot be freed as an allocated block (of `order`, where one was given)."""
    page = pages[pfn]
    if page.state == "allocated" and page.head == pfn:
        return must("order", f"{page.order}, as PFN {pfn} was allocated", order)
    return must(f"PFN {pfn}", "the head of an allocated block", _described(page))


def why_not_free(pages: PageArray, zones: Sequence[Zone], start: int, end: int) -> str:
    """Return why [start, end) cannot be taken from the free memory."""
    return _why_not("free", pages, zones, start, end)


def why_not_reserved(pages: PageArray, zones: Sequence[Zone], start: int, end: int) -> str:
    """Return why [start, end) cannot be put back to the free memory."""
    return _why_not("reserved", pages, zones, start, end)


def _why_not(state: str, pages: PageArray, zones: Sequence[Zone], start: int, end: int) -> str:
    subject = f"range [{start}, {end})"
    if not any(zone.start <= start and end <= zone.end for zone in zones):
        return must(subject, "within one zone", "across a border or outside all")
    for pfn in range(start, end):
        page = pages[pfn]
        if page.state != state:
            return must(subject, f"of {state} frames only", f"PFN {pfn}, {_described(page)}")
    return must(subject, f"of {state} frames only", "one that changed meanwhile")


def _described(page: Page) -> str:
    if page.state == "reserved":
        return "reserved"
    if page.head == page.pfn:
        return f"{page.state}, order {page.order}"
    return f"inside the {page.state} block of order {page.order} at PFN {page.head}"


def corruption(buddy: BuddyAllocator) -> CorruptionError:
    """Return what `check()` finds; the core met a broken list or word."""
    try:
        buddy.check()
    except CorruptionError as error:
        return error
    return CorruptionError("list", "one whose blocks the words call free", "one that is broken")
