"""Hardened free pointers, against the same in bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.field import signed
from structpage.core.slab.freepointer import hardened, swab

WORDS = st.integers(0, (1 << 64) - 1)


@given(WORDS)
def test_swab_turns_the_bytes_round(word):
    assert swab(signed(word)) == int.from_bytes(word.to_bytes(8, "little"), "big", signed=True)


@given(WORDS, WORDS, WORDS)
def test_what_is_stored_is_the_pointer_again(pointer, random, at):
    stored = hardened(signed(pointer), signed(random), signed(at))
    assert -(1 << 63) <= stored < 1 << 63
    assert hardened(stored, signed(random), signed(at)) == signed(pointer)


@pytest.mark.parametrize(
    ("pointer", "random", "at", "stored"),
    [
        (0, 0, 0xFFFF888000000060, 0x60000000_8088FFFF),
        (0xFFFF888000000100, 0, 0, 0xFFFF888000000100),
        (0xFFFF888000000100, 0x1234, 0xFFFF888000000060, 0xFFFF888000000100 ^ 0x1234 ^ 0x600000008088FFFF),
    ],
)
def test_by_hand(pointer, random, at, stored):
    assert hardened(signed(pointer), signed(random), signed(at)) == signed(stored)
