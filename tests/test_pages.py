"""The memmap: what it costs, that its views are the memory, that arrays and single frames decode alike."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import PLACEMENTS, says
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, PageArray
from structpage.core.words import TAGS
from structpage.errors import InvalidArgument, OutOfRange, UnknownName
from structpage.testing import zone_from_picture
from structpage.testing.strategies import pictures


@pytest.mark.parametrize(("layout", "size"), [("two-word", 16), ("one-word", 8)])
def test_bytes_a_frame_and_nothing_else(layout, size):
    pages = PageArray(1 << 18, layout=layout)
    assert pages.nbytes == size << 18
    assert len(pages) == 1 << 18
    assert not pages.words.any()


def test_views_are_the_memory():
    pages = PageArray(4)
    pages.allocator[2] = 7
    pages.allocatee[2] = (1 << 64) - 1
    assert pages.words.tolist() == [0, 0, 0, 0, 7, (1 << 64) - 1, 0, 0]
    for view in (pages.allocator, pages.allocatee):
        assert view.dtype == np.uint64
        assert np.shares_memory(view, pages.words)
        assert view.flags.writeable


def test_one_word_has_no_allocatee():
    pages = PageArray(4, layout="one-word")
    assert np.shares_memory(pages.allocator, pages.words)
    with pytest.raises(InvalidArgument, match=says("layout must be two-word to have an allocatee word, not one-word")):
        pages.allocatee  # noqa: B018


@given(picture=pictures(), placement=st.sampled_from(PLACEMENTS), stamp=st.sampled_from(("every", "head")))
def test_arrays_decode_as_single_frames_do(picture, placement, stamp):
    buddy = zone_from_picture(picture, placement, stamp=stamp, max_order=4)
    pages = buddy.pages
    assert pages.is_free.tolist() == [page.state == "free" for page in pages]
    assert pages.is_free_head.tolist() == [page.state == "free" and page.head == page.pfn for page in pages]
    told = [page for page in pages if stamp == "every" or page.state != "allocated" or page.head == page.pfn]
    for name, attribute in (("order", "order"), ("node", "node"), ("migratetype", "migratetype")):
        array = getattr(pages, name)
        for page in told:
            value = getattr(page, attribute)
            assert array[page.pfn] == (-1 if value is None else value)
    assert sum(pages.summary().values()) == pages.frames or stamp == "head"


@pytest.mark.parametrize("stamp", ["every", "head"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_any_frame_of_a_block_says_whose_it_is(placement, stamp):
    buddy = BuddyAllocator(32, placement, max_order=4, stamp=stamp)
    pfn = buddy.alloc(3, owner="me")
    other = buddy.alloc(0, owner=("you", 2))
    assert {buddy.pages[frame].owner for frame in range(pfn, pfn + 8)} == {"me"}
    assert {buddy.pages[frame].head for frame in range(pfn, pfn + 8)} == {pfn}
    assert buddy.pages[other].owner == ("you", 2)
    assert buddy.pages[31].owner is None
    stamped = np.flatnonzero(buddy.pages.owner).tolist()
    assert stamped == ([*range(8), 8] if stamp == "every" else [0, 8])


def test_pages_draw_themselves():
    buddy = zone_from_picture("##1.. ")
    assert repr(buddy.pages[2]) == "<Page 2: allocated, order 1, node 0, zone Normal>"
    assert repr(buddy.pages[3]) == "<Page 3: allocated, tail of 2, order 1, node 0, zone Normal>"
    assert repr(buddy.pages[5]) == "<Page 5: free, tail of 4, order 1, node 0, zone Normal>"
    assert repr(buddy.pages[6]) == "<Page 6: reserved>"
    buddy.alloc(0, owner="me")
    assert repr(buddy.pages[4]) == "<Page 4: allocated, order 0, node 0, zone Normal, owner 'me'>"
    assert repr(buddy.pages) == ("<PageArray: 7 frames, two-word, 112 bytes; 1 reserved, 1 free, 4 allocated, 1 tail>")
    html = buddy.pages._repr_html_()
    assert "PageArray: 7 frames, two-word, 112 bytes" in html
    assert "allocated" in html


def test_one_word_pages_have_no_zone_while_free():
    page = zone_from_picture("..", "one-word").pages[0]
    assert (page.order, page.zone, page.node, page.migratetype) == (1, None, None, None)


def test_set_field_builds_states_by_hand():
    pages = PageArray(3)
    pages.set_field("tag", TAGS["allocated"])
    pages.set_field("order", [0, 0, 5])
    pages.set_field("owner_kind", 1)
    pages.set_field("owner", np.array([0, 1, (1 << 60) - 1], np.uint64))
    assert pages.order.tolist() == [0, 0, 5]
    assert pages.owner.tolist() == [1, 17, (1 << 64) - 15]
    assert pages.tag.tolist() == [2, 2, 2]
    pages.set_field("order", 1)
    assert pages.order.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("order", 64, InvalidArgument, "order must be between 0 and 63, not 64"),
        ("order", -1, InvalidArgument, "order must be between 0 and 63, not -1"),
        ("order", [1, 64], InvalidArgument, "order must be between 0 and 63, not [1, 64]"),
    ],
)
def test_set_field_refuses_what_does_not_fit(name, value, error, message):
    pages = PageArray(2)
    with pytest.raises(error, match=says(message)):
        pages.set_field(name, value)
    assert not pages.words.any()


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match=says("frames must be at least 1, not 0")):
        PageArray(0)
    with pytest.raises(UnknownName, match=says("layout must be one of two-word, one-word, not 'wide'")):
        PageArray(1, layout="wide")
    pages = PageArray(2)
    for pfn in (-1, 2):
        with pytest.raises(OutOfRange, match=says(f"PFN must be between 0 and 1, not {pfn}")):
            pages[pfn]
    with pytest.raises(InvalidArgument, match=says("PFN must be an int, not 1.5")):
        pages[1.5]
    fields = "cache, head, migratetype, nid, order, owner, owner_kind, tag, zid"
    with pytest.raises(UnknownName, match=says(f"field must be one of {fields}, not 'colour'")):
        pages.decode("colour")
    with pytest.raises(UnknownName, match=says(f"field must be one of {fields}, not 'colour'")):
        pages.set_field("colour", 1)
    with pytest.raises(
        InvalidArgument, match=says("field must be of at most 15 bits to decode into int16, not 'head'")
    ):
        pages.decode("head")
    pages.allocator[1] = 12
    with pytest.raises(InvalidArgument, match=r"^tag of PFN 1 must be one of \[.*\], not 12$"):
        pages[1]
