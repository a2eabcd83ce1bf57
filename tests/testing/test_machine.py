"""The state machine, over every placement, alone and side by side."""

from __future__ import annotations

import pytest
from helpers import IN_ORDER, says

from structpage.core.buffers import Declaration
from structpage.core.placements.side_table import SideTable
from structpage.errors import InvalidArgument
from structpage.testing import buddy_machine


class Unordered(SideTable):
    @staticmethod
    def declares():
        return Declaration(keeps_order=False)


TestSideBySide = buddy_machine(IN_ORDER).TestCase
TestHeadsAlone = buddy_machine(["side-table", "one-word"], stamp="head").TestCase
TestFromNothing = buddy_machine("in-words", start="reserved").TestCase
TestDeferred = buddy_machine(IN_ORDER, start="deferred", section_order=2).TestCase
TestDeferredByTheFrame = buddy_machine("one-word", start="deferred", section_order=0).TestCase
TestProbed = buddy_machine("in-page", engine="probed").TestCase
TestUnordered = buddy_machine(Unordered).TestCase
TestBitmap = buddy_machine("bitmap").TestCase
TestBitmapDeferred = buddy_machine("bitmap", start="deferred", section_order=2).TestCase
TestArrayIndex = buddy_machine("array-index").TestCase
TestRadixTree = buddy_machine("radix-tree").TestCase
TestSinglyLinkedChecked = buddy_machine("singly-linked", engine="checked").TestCase
TestBitmapChecked = buddy_machine("bitmap", engine="checked").TestCase
TestArrayIndexChecked = buddy_machine("array-index", engine="checked").TestCase


def test_unordered_lists_cannot_be_held_to_others():
    message = (
        "placement Unordered must be one that keeps the order of its lists, to run beside others, not one that does not"
    )
    with pytest.raises(InvalidArgument, match=says(message)):
        buddy_machine(["side-table", Unordered])
