"""Owner references."""

from __future__ import annotations

import pytest
from helpers import FULL, says
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.words import ONE_WORD, TWO_WORD
from structpage.errors import InvalidArgument, LimitExceeded, UnknownName
from structpage.owners import KINDS, Owner, Owners


@given(kind=st.sampled_from(KINDS[2:]), index=st.integers(0, (1 << 60) - 1))
def test_an_address_comes_back(kind, index):
    owners = Owners(TWO_WORD.field("owner").width)
    reference = owners.reference(Owner(kind, index << 4))
    assert -(1 << 63) <= reference < 1 << 63
    word = reference & FULL
    assert word == index << 4 | KINDS.index(kind)
    assert owners.read(word & 15, word >> 4) == Owner(kind, index << 4)


def test_objects_are_kept_once():
    owners = Owners(36)
    unhashable = ["list"]
    given_ = ["me", ("you", 1), unhashable, 1, True, 1.0]
    references = [owners.reference(owner) for owner in given_]
    assert references == [owners.reference(owner) for owner in given_]
    assert len(set(references)) == 6
    assert [owners.read(reference & 15, reference >> 4) for reference in references] == given_
    assert owners.read(1, 2) is unhashable
    assert owners.reference(None) == 0
    assert owners.read(0, 5) is None
    assert owners.read(1, 99) == Owner("object", 99 << 4)
    assert owners.read(15, 1) == Owner("kind 15", 16)


def test_what_is_no_owner():
    owners = Owners(ONE_WORD.field("owner").width)
    kinds = ", ".join(KINDS[2:])
    with pytest.raises(UnknownName, match=says(f"owner kind must be one of {kinds}, not 'cat'")):
        owners.reference(Owner("cat", 0))
    for address in (8, 1 << 64, -16):
        message = f"owner address must be a 16-byte aligned 64-bit address, not {hex(address)}"
        with pytest.raises(InvalidArgument, match=says(message)):
            owners.reference(Owner("folio", address))
    assert owners.reference(Owner("folio", (1 << 40) - 16)) == (1 << 40) - 16 | 2
    with pytest.raises(LimitExceeded, match=says("owner address must be below 2^40 in this layout, not 0x10000000000")):
        owners.reference(Owner("folio", 1 << 40))
