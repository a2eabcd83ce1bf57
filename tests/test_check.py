"""`check()` finds nothing in a sound state, and never loops; what it finds is in `testing/test_corruptions.py`."""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS, says, state

from structpage import BuddyAllocator, Zone
from structpage.check import list_name
from structpage.core.words import TAGS
from structpage.errors import CorruptionError
from structpage.testing import zone_from_picture


@pytest.mark.parametrize("stamp", ["every", "head"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_sound_state_is_left_as_it_is(placement, stamp):
    zones = [Zone("DMA", 1, 9), Zone("Normal", 9, 30, holes=((12, 13),)), Zone("Normal", 32, 40, node=1)]
    buddy = BuddyAllocator(41, placement, zones=zones, max_order=4, stamp=stamp)
    buddy.alloc(1)
    buddy.alloc(2, owner="me", node=1)
    before = state(buddy)
    buddy.check()
    assert state(buddy) == before


def test_list_names():
    assert list_name(11 * (2 << 3 | 1) + 4, 11) == "order 4 Movable"
    assert list_name(0, 11) == "order 0 Unmovable"


@pytest.mark.parametrize(
    ("name", "state_", "value", "pfn", "message"),
    [
        ("order", "allocated", 3, 4, "PFN 4, order must be one that PFN 4 is aligned to, not 3"),
        ("order", "allocated", 5, 0, "PFN 0, order must be one that ends within the memory, not 5"),
        ("tag", "tail", TAGS["allocated"], 5, "PFN 5, order must be one that PFN 5 is aligned to, not 2"),
        ("order", "tail", 1, 5, "PFN 5, order must be 2, not 1"),
        ("nid", "tail", 1, 6, "PFN 6, nid must be 0, not 1"),
    ],
)  # fmt: skip
def test_allocated_blocks_are_checked_too(name, state_, value, pfn, message):
    buddy = zone_from_picture("####2........  .", max_order=3)
    field = buddy.pages.layout.field(name, state_)
    buddy.pages.allocator[pfn] = field.put(int(buddy.pages.allocator[pfn]), value) & (1 << 64) - 1
    with pytest.raises(CorruptionError, match=says(message)):
        buddy.check()


def test_a_block_inside_a_block():
    buddy = zone_from_picture("####2", stamp="head")
    buddy.pages.allocator[5] = TAGS["allocated"]
    message = "PFN 5, state must be that of a frame inside the block at PFN 4, not allocated"
    with pytest.raises(CorruptionError, match=says(message)):
        buddy.check()


def test_a_block_beyond_its_zone():
    buddy = BuddyAllocator(8, zones=[Zone("DMA", 0, 2), Zone("Normal", 2, 8)], max_order=2, stamp="head")
    buddy.alloc_at(0, 1)
    buddy.reserve(2, 2)
    buddy.pages.allocator[0] += 1 << 4
    with pytest.raises(
        CorruptionError, match=r"^zone DMA.*, PFN 0, order must be one that ends within the zone, not 2$"
    ):
        buddy.check()


def test_a_broken_list_met_by_an_operation_is_named():
    buddy = zone_from_picture("........", max_order=3)
    buddy.pages.allocator[0] = 0
    message = "zone Normal of node 0, list order 3 Movable, PFN 0, state must be free, not reserved"
    with pytest.raises(CorruptionError, match=says(message)):
        buddy.alloc()
