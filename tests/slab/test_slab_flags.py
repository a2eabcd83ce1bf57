"""The flags of caches, and the texts they come from."""

from __future__ import annotations

import pytest
from helpers import says

from structpage.errors import InvalidArgument
from structpage.slab.flags import DEBUG, DEBUG_DEFAULT, SlabFlags, slab_flags


def test_letters_of_slub_debug():
    assert slab_flags("FZPU") == slab_flags("fzpu") == DEBUG_DEFAULT
    assert slab_flags("Z") == SlabFlags.RED_ZONE
    assert slab_flags("") == slab_flags("-") == 0
    assert slab_flags("FZ-P") == SlabFlags.POISON, "a minus takes back what was before it"


def test_a_recorded_word():
    """That of the cache jbd2_journal_head of a 6.1 kernel."""
    flags = slab_flags(0x400A0000)
    assert flags == SlabFlags.CMPXCHG_DOUBLE | SlabFlags.TYPESAFE_BY_RCU | SlabFlags.RECLAIM_ACCOUNT
    assert not flags & DEBUG


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("FX", "slub_debug letter must be one of F, Z, P, U, -, not 'X'"),
        (1, "flags must be SlabFlags, a number made of them, or letters of slub_debug=, not 0x1"),
        (-1, "flags must be SlabFlags, a number made of them, or letters of slub_debug=, not -0x1"),
        (None, "flags must be SlabFlags, a number made of them, or letters of slub_debug=, not None"),
        (8.0, "flags must be SlabFlags, a number made of them, or letters of slub_debug=, not 8.0"),
    ],
)
def test_errors(value, message):
    with pytest.raises(InvalidArgument, match=says(message)):
        slab_flags(value)
