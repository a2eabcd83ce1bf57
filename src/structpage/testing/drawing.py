"""States drawn as strings: a picture in, an allocator out, and back.

A picture reads from PFN 0 up. Each character is a frame, except that a digit is a whole block:

=============  ====================================================================================
`.`            a free frame; which blocks the free frames make up follows from eager merging
`#`            an allocated block of order 0
`1` - `9`      an allocated block of that order, all its 2^order frames; then `a` - `u` for orders 10 - 30
` ` (space)    a reserved frame, or one outside every zone
=============  ====================================================================================

So `"##..2 "` is nine frames: two allocated ones, two free ones, a block of order 2 at PFN 4, and a reserved
frame. A block must be aligned, as in any buddy allocator: `".2"` is no picture, `"....2"` is one. Free lists
of an allocator that was drawn ascend from head to tail.

>>> from structpage.testing import picture_of, zone_from_picture
>>> buddy = zone_from_picture("##..2 ")
>>> buddy.free(4)
>>> picture_of(buddy)
'##...... '
>>> buddy.free_list(2)
[4]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from structpage.allocator import BuddyAllocator
from structpage.core.words import DEFAULT_TYPE
from structpage.errors import InvalidArgument, must
from structpage.testing.model import Model

FREE, ALLOCATED, RESERVED = ".", "#", " "
BLOCKS = "#123456789abcdefghijklmnopqrstu"
"""The character of an allocated block of each order."""


def zone_from_picture(picture: str, placement: str | type = "side-table", **options: Any) -> BuddyAllocator:
    """Return an allocator in the state that a picture shows; `options` go to `BuddyAllocator`.

    By default all frames are one zone; `zones` may draw borders and holes. Raises `InvalidArgument` for a
    character that is not of the alphabet, a block that is not aligned or above `max_order`, and a block or
    free frame that no zone has.
    """
    parts = list(_read(picture))
    frames = sum(1 << order if mark != FREE else 1 for _, mark, order in parts)
    if not frames:
        raise InvalidArgument(must("picture", "of at least one frame", repr(picture)))
    buddy = BuddyAllocator(frames, placement, **{**options, "start": "reserved"})
    model = Model(frames, buddy.zones, max_order=buddy.max_order, start="reserved")
    for pfn, mark, order in parts:
        if mark != RESERVED:
            _demand_place(model, pfn, order)
            model.release(pfn, pfn + (1 << order))
            if mark == ALLOCATED:
                model.alloc(pfn, order)
                buddy.release(pfn, 1 << order)
                buddy.alloc_at(pfn, order)
    buddy.place((pfn, order, DEFAULT_TYPE) for pfn, order in sorted(model.free_blocks()))
    return buddy


def _read(picture: str) -> Iterator[tuple[int, str, int]]:
    pfn = 0
    for index, mark in enumerate(picture):
        order = max(BLOCKS.find(mark), 0)
        if mark not in (FREE, RESERVED) and mark not in BLOCKS:
            rule = "one of '.', '#', '1'-'9', 'a'-'u' and space"
            raise InvalidArgument(must(f"character {index} of the picture", rule, repr(mark)))
        yield pfn, mark if mark in (FREE, RESERVED) else ALLOCATED, order
        pfn += 1 << order


def _demand_place(model: Model, pfn: int, order: int) -> None:
    if order > model.max_order:
        raise InvalidArgument(must(f"order of the block at PFN {pfn}", f"at most {model.max_order}", order))
    if pfn % (1 << order):
        raise InvalidArgument(must(f"PFN of a block of order {order}", f"a multiple of {1 << order}", pfn))
    if not model.is_reserved(pfn, pfn + (1 << order)):
        raise InvalidArgument(must(f"block of order {order} at PFN {pfn}", "within one zone", "across a border"))


def picture_of(buddy: BuddyAllocator) -> str:
    """Return the picture of an allocator's state, by what the words say; O(frames)."""
    picture, pfn = [], 0
    while pfn < buddy.pages.frames:
        page = buddy.pages[pfn]
        order = page.order if page.order is not None and page.head == pfn else 0
        if page.state == "free":
            picture.append(FREE * (1 << order))
        else:
            picture.append(BLOCKS[order] if page.state == "allocated" else RESERVED)
        pfn += 1 << order
    return "".join(picture)
