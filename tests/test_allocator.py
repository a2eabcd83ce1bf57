"""The user's object: every wrong call is refused with its reason, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import PLACEMENTS, says, state

from structpage import BuddyAllocator, FrameMemory, PageArray, Zone
from structpage.errors import InvalidArgument, InvalidFree, OutOfMemory, OutOfRange, StructPageError, UnknownName
from structpage.testing import picture_of, zone_from_picture

PICTURE = "##..2 ...2......"  # reserved at 8, allocated of order 2 at 4 and 12, free at 2, 9 and from 16 on

REFUSED = [
    ("alloc", {"order": -1}, InvalidArgument, "order must be between 0 and 3, not -1"),
    ("alloc", {"order": 4}, InvalidArgument, "order must be between 0 and 3, not 4"),
    ("alloc", {"order": 1.0}, InvalidArgument, "order must be an int, not 1.0"),
    ("alloc", {"order": 3}, OutOfMemory,
     "free memory must be with a Movable block of order 3 or more, not with none above order 2"),
    ("alloc", {"migratetype": 6}, InvalidArgument, "migratetype must be between 0 and 5, not 6"),
    ("alloc", {"align_order": 63}, InvalidArgument, "align_order must be between 0 and 62, not 63"),
    ("alloc", {"align_order": 5}, OutOfMemory, "align_order must be one that a free block of order 0 has, not 5"),
    ("alloc", {"zone": "DMA"}, UnknownName, "zone must be one of Normal of node 0, not DMA of node 0"),
    ("free", {"pfn": -1}, OutOfRange, "PFN must be between 0 and 21, not -1"),
    ("free", {"pfn": 22}, OutOfRange, "PFN must be between 0 and 21, not 22"),
    ("free", {"pfn": 2}, InvalidFree, "PFN 2 must be the head of an allocated block, not free, order 1"),
    ("free", {"pfn": 3}, InvalidFree,
     "PFN 3 must be the head of an allocated block, not inside the free block of order 1 at PFN 2"),
    ("free", {"pfn": 5}, InvalidFree,
     "PFN 5 must be the head of an allocated block, not inside the allocated block of order 2 at PFN 4"),
    ("free", {"pfn": 4, "order": 1}, InvalidFree, "order must be 2, as PFN 4 was allocated, not 1"),
    ("free", {"pfn": 4, "order": 9}, InvalidArgument, "order must be between 0 and 3, not 9"),
    ("free", {"pfn": 8}, InvalidFree, "PFN 8 must be the head of an allocated block, not reserved"),
    ("free", {"pfn": 4, "migratetype": 6}, InvalidArgument, "migratetype must be between 0 and 5, not 6"),
    ("alloc_at", {"pfn": 3, "order": 1}, InvalidArgument, "PFN must be a multiple of 2 for order 1, not 3"),
    ("alloc_at", {"pfn": 8}, OutOfMemory, "range [8, 9) must be of free frames only, not PFN 8, reserved"),
    ("alloc_at", {"pfn": 20, "order": 2}, OutOfRange, "range must be within the 22 frames of memory, not [20, 24)"),
    ("alloc_within", {"start": 4, "end": 9}, OutOfMemory,
     "range [4, 9) must be with a free block of order 0, not without"),
    ("alloc_within", {"start": 4, "end": 4}, InvalidArgument, "count must be at least 1, not 0"),
    ("alloc_range", {"start": 2, "count": 3}, OutOfMemory,
     "range [2, 5) must be of free frames only, not PFN 4, allocated, order 2"),
    ("alloc_contig", {"count": 7}, OutOfMemory, "count must be at most the longest run of free frames, not 7"),
    ("alloc_contig", {"count": 0}, InvalidArgument, "count must be at least 1, not 0"),
    ("free_range", {"start": 0, "count": 3}, InvalidFree,
     "range [0, 3) must be made up of allocated blocks, not <Page 2: free, order 1, node 0, zone Normal>"),
    ("reserve", {"start": 8, "count": 2}, OutOfMemory,
     "range [8, 10) must be of free frames only, not PFN 8, reserved"),
    ("release", {"start": 8, "count": 2}, InvalidFree,
     "range [8, 10) must be of reserved frames only, not PFN 9, free, order 0"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments", "error", "message"), REFUSED)
def test_a_refusal_says_why_and_changes_nothing(method, arguments, error, message):
    buddy = zone_from_picture(PICTURE, max_order=3)
    before = state(buddy)
    with pytest.raises(error, match=says(message)):
        getattr(buddy, method)(**arguments)
    assert state(buddy) == before


@pytest.mark.parametrize("stamp", ["every", "head"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_refusal_is_of_one_type_everywhere(placement, stamp):
    buddy = zone_from_picture(PICTURE, placement, max_order=3, stamp=stamp)
    before = state(buddy)
    for method, arguments, error, _ in REFUSED:
        with pytest.raises(StructPageError) as caught:
            getattr(buddy, method)(**arguments)
        assert type(caught.value) is error
        assert state(buddy) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pages": 0}, InvalidArgument, "frames must be at least 1, not 0"),
        ({"max_order": 31}, InvalidArgument, "max_order must be between 0 and 30, not 31"),
        ({"max_order": -1}, InvalidArgument, "max_order must be between 0 and 30, not -1"),
        ({"engine": "steam"}, UnknownName, "engine must be one of plain, compiled, probed, checked, not 'steam'"),
        ({"stamp": "some"}, UnknownName, "stamp must be one of every, head, not 'some'"),
        ({"start": "full"}, UnknownName, "start must be one of free, reserved, deferred, not 'full'"),
        ({"memory": FrameMemory(2)}, InvalidArgument, "memory must be of at least 8 frames, not 2 frames"),
    ],
)
def test_what_makes_no_allocator(arguments, error, message):
    with pytest.raises(error, match=says(message)):
        BuddyAllocator(**{"pages": 8, **arguments})


def test_a_used_memmap_is_refused():
    first = BuddyAllocator(8)
    with pytest.raises(
        InvalidArgument, match=says(f"pages must be a memmap that no allocator has yet, not that of {first!r}")
    ):
        BuddyAllocator(first.pages)


def test_an_order_larger_than_the_zone():
    buddy = BuddyAllocator(5)
    with pytest.raises(
        OutOfMemory,
        match=says("free memory must be with a Movable block of order 3 or more, not with none above order 2"),
    ):
        buddy.alloc(3)
    buddy.alloc_range(0, 5)
    with pytest.raises(
        OutOfMemory, match=says("free memory must be with a Movable block of order 0 or more, not exhausted")
    ):
        buddy.alloc()


def test_ranges_across_a_border_or_outside_all_zones():
    buddy = BuddyAllocator(12, zones=[Zone("DMA", 0, 4), Zone("Normal", 4, 8)])
    for start, count in [(3, 2), (8, 2), (7, 2)]:
        message = f"range [{start}, {start + count}) must be within one zone, not across a border or outside all"
        with pytest.raises(OutOfMemory, match=says(message)):
            buddy.reserve(start, count)
        with pytest.raises(InvalidFree, match=says(message)):
            buddy.release(start, count)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_double_free(placement):
    buddy = BuddyAllocator(8, placement, max_order=3)
    pfn = buddy.alloc(1)
    buddy.free(pfn)
    with pytest.raises(InvalidFree, match=says(f"PFN {pfn} must be the head of an allocated block, not free, order 3")):
        buddy.free(pfn)


@pytest.mark.parametrize("number", [np.int64, np.uint64, np.uint8, np.int32])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_numpy_integers_do(placement, number):
    buddy = BuddyAllocator(1024, placement)
    pfn = buddy.alloc(number(9))
    assert pfn == 0
    buddy.free(number(pfn), number(9))
    assert buddy.alloc_at(number(4), number(2)) == 4
    buddy.free(number(4))
    assert buddy.alloc_within(number(8), number(64), number(3)) == 8
    buddy.free(number(8))
    assert buddy.alloc_range(number(3), number(9)) == 3
    buddy.free_range(number(3), number(9))
    buddy.reserve(number(100), number(7))
    buddy.release(number(100), number(7))
    assert buddy.alloc_contig(number(5)) == 0
    buddy.free_range(0, 5)
    assert buddy.free_list(10) == [0]
    buddy.check()


def test_a_type_chooses_the_list_that_a_free_goes_to():
    buddy = BuddyAllocator(8, max_order=2)
    pfn = buddy.alloc(2)
    buddy.free(pfn, migratetype=2)
    assert [buddy.free_list(2, migratetype=mt) for mt in range(6)] == [[], [4], [0], [], [], []]
    assert buddy.alloc(2, migratetype=2) == 0
    buddy.free(0)
    assert buddy.free_list(2, migratetype=2) == [0]
    assert buddy.free_counts.tolist() == [0, 0, 2]
    buddy.check()


def test_counts_and_sizes():
    buddy = BuddyAllocator(100, max_order=4)
    assert buddy.free_frames == 100
    assert buddy.free_counts.tolist() == [0, 0, 1, 0, 6]
    assert buddy.free_counts.dtype == np.int64
    assert buddy.free_counts_by_zone.tolist() == [[0, 0, 1, 0, 6]]
    assert buddy.metadata_bytes == sum(words.nbytes for words in buddy.buffers.values()) > 100 * 32
    pages = PageArray(100)
    assert BuddyAllocator(pages, max_order=4).pages is pages


def test_it_draws_itself():
    buddy = zone_from_picture("#...", max_order=2)
    assert repr(buddy) == "<BuddyAllocator: side-table, 4 frames, 3 free: 1 of order 0, 1 of order 1>"
    assert "3 of 4 frames free" in buddy._repr_html_()
    assert repr(zone_from_picture("#")) == "<BuddyAllocator: side-table, 1 frames, 0 free>"
    assert buddy.explain()


def test_aligned_blocks():
    buddy = zone_from_picture("#......." + "." * 24, max_order=4)
    assert buddy.alloc(0, align_order=2) == 4
    assert buddy.alloc(1, align_order=4) == 16
    assert picture_of(buddy) == "#...#..........." + "1" + "." * 14
    buddy.check()


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        ((0, 4, 1), InvalidArgument, "order must be between 0 and 3, not 4"),
        ((1, 1, 1), InvalidArgument, "PFN must be a multiple of 2 for order 1, not 1"),
        ((14, 2, 1), OutOfRange, "range must be within the 16 frames of memory, not [14, 18)"),
        ((0, 0, 6), InvalidArgument, "migratetype must be between 0 and 5, not 6"),
        ((8, 1, 1), InvalidFree, "range [8, 10) must be of reserved frames only, not PFN 8, free, order 1"),
    ],
)
def test_what_cannot_be_placed(block, error, message):
    buddy = BuddyAllocator(16, max_order=3, start="reserved")
    buddy.place([(8, 1, 1)])
    before = state(buddy)
    with pytest.raises(error, match=says(message)):
        buddy.place([block])
    assert state(buddy) == before
