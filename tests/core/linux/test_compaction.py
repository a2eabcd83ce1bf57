"""What compaction does to lists."""

from __future__ import annotations

from small_machine import Small

from structpage.core.linux.compaction import rotate_to
from structpage.core.status import CORRUPT
from structpage.core.words import MOVABLE


def test_a_list_is_turned_to_a_block():
    small = Small(64)
    assert rotate_to(small.machine, 32, 4, MOVABLE) == 0
    assert small.lists_of(MOVABLE) == {4: [32, 48, 0, 16]}


def test_a_block_that_is_not_on_the_list_is_not_looked_for_forever():
    small = Small(64)
    assert rotate_to(small.machine, 8, 4, MOVABLE) == CORRUPT
