"""Pictures in, pictures out."""

from __future__ import annotations

import doctest

import pytest
from helpers import PLACEMENTS, says
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, Zone
from structpage.errors import InvalidArgument
from structpage.testing import Model, picture_of, zone_from_picture
from structpage.testing import drawing as module
from structpage.testing.strategies import pictures


@given(picture=pictures(), placement=st.sampled_from(PLACEMENTS), stamp=st.sampled_from(("every", "head")))
def test_a_picture_comes_back(picture, placement, stamp):
    buddy = zone_from_picture(picture, placement, stamp=stamp, max_order=4)
    assert picture_of(buddy) == picture
    buddy.check()


@given(picture=pictures())
def test_free_blocks_are_what_merging_makes_of_dots(picture):
    buddy = zone_from_picture(picture, max_order=4)
    model = Model(buddy.pages.frames, max_order=4, start="reserved")
    for page in buddy.pages:
        if page.state == "free":
            model.release(page.pfn, page.pfn + 1)
    heads, orders = buddy.pages.free_heads()
    assert set(zip(heads.tolist(), orders.tolist(), strict=True)) == model.free_blocks()
    for order in range(5):
        assert buddy.free_list(order) == sorted(buddy.free_list(order))


def test_the_picture_of_the_docstring():
    buddy = zone_from_picture("##..2 ")
    assert buddy.pages.frames == 9
    assert [page.state for page in buddy.pages] == ["allocated"] * 2 + ["free"] * 2 + ["allocated"] * 4 + ["reserved"]
    assert [page.order for page in buddy.pages] == [0, 0, 1, 1, 2, 2, 2, 2, None]
    failures, tests = doctest.testmod(module)
    assert (failures, tests > 0) == (0, True)


def test_orders_above_nine_are_letters():
    buddy = zone_from_picture("a" + "." * 1024, max_order=11)
    assert buddy.pages[5].order == 10
    assert picture_of(buddy) == "a" + "." * 1024
    buddy.free(0)
    assert buddy.free_list(11) == [0]


def test_zones_have_borders_and_holes():
    zones = [Zone("DMA", 0, 2), Zone("Normal", 2, 8, holes=((4, 5),))]
    buddy = zone_from_picture(".... ..#", zones=zones)
    assert buddy.free_counts_by_zone[:, :3].tolist() == [[0, 1, 0], [2, 1, 0]]
    assert picture_of(buddy) == ".... ..#"


def test_the_picture_of_any_allocator():
    buddy = BuddyAllocator(16, max_order=4)
    buddy.alloc(2)
    buddy.alloc(0)
    buddy.reserve(10, 3)
    assert picture_of(buddy) == "2#.....   ..."


@pytest.mark.parametrize(
    ("picture", "options", "message"),
    [
        ("", {}, "picture must be of at least one frame, not ''"),
        ("..-.", {}, "character 2 of the picture must be one of '.', '#', '1'-'9', 'a'-'u' and space, not '-'"),
        (".2", {}, "PFN of a block of order 2 must be a multiple of 4, not 1"),
        ("3", {"max_order": 2}, "order of the block at PFN 0 must be at most 2, not 3"),
        (
            "1",
            {"zones": [Zone("DMA", 0, 1), Zone("Normal", 1, 2)]},
            "block of order 1 at PFN 0 must be within one zone, not across a border",
        ),
        (
            "..",
            {"zones": [Zone("DMA", 0, 1)]},
            "block of order 0 at PFN 1 must be within one zone, not across a border",
        ),
    ],
)
def test_what_is_no_picture(picture, options, message):
    with pytest.raises(InvalidArgument, match=says(message)):
        zone_from_picture(picture, **options)
