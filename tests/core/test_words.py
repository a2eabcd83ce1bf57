"""The two tables: no field on another's bits, no word but a free head's that passes the free test."""

from __future__ import annotations

import pytest
from helpers import FULL, Sparse, SparseFill
from hypothesis import given
from hypothesis import strategies as st

from structpage.core import words
from structpage.core.memmap import OneWord, TwoWord
from structpage.core.placements import BUILTIN
from structpage.core.words import FREE_BIT, LAYOUTS, ONE_WORD, REPORTED_BIT, TAGS, TWO_WORD
from structpage.owners import KINDS, Owner, Owners

layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
NOT_FREE = [state for state in TAGS if state != "free"]


@layouts
@pytest.mark.parametrize("placement", ["", *BUILTIN])
@pytest.mark.parametrize("state", TAGS)
def test_fields_of_one_state_never_overlap(layout, state, placement):
    fields = layout.of_state(state, placement)
    bits = [(field.word, bit) for field in fields for bit in range(64) if field.mask >> bit & 1]
    assert len(bits) == len(set(bits)) == sum(field.width for field in fields)
    assert all(field.shift + field.width <= 64 and field.word < layout.words for field in fields)


def test_what_one_placement_keeps_is_in_words_that_are_the_placements():
    own = [field for layout in LAYOUTS.values() for field in layout.fields if field.placement]
    assert {field.placement for field in own} < BUILTIN.keys()
    assert {(field.word, *sorted(field.states)) for field in own} == {(1, "free", "pcp")}
    assert TWO_WORD.of_state("free", "side-table") == TWO_WORD.of_state("free")


@layouts
def test_states_have_tags_of_their_own_and_one_alone_is_free(layout):
    assert len(set(layout.tags.values())) == len(layout.tags)
    assert [state for state, tag in layout.tags.items() if tag & FREE_BIT] == ["free"]
    assert (TAGS["free"] | REPORTED_BIT) not in TAGS.values()
    assert all(state in layout.tags for field in layout.fields for state in field.states)


@layouts
def test_a_word_of_zeros_is_reserved(layout):
    assert layout.pack("reserved") == (0,) * layout.words
    assert layout.state_of(0) == "reserved"


@given(layout=st.sampled_from(list(LAYOUTS.values())), state=st.sampled_from(list(TAGS)), data=st.data())
def test_no_other_word_passes_the_free_test(layout, state, data):
    fields = [field for field in layout.of_state(state) if field.name != "tag"]
    values = {field.name: data.draw(st.integers(0, field.max) | st.just(field.max)) for field in fields}
    word = layout.pack(state, **values)[0]
    assert bool(word & FREE_BIT) is (state == "free")


@given(
    address=st.integers(0, (1 << 60) - 1),
    kind=st.sampled_from(KINDS[2:]),
    order=st.integers(0, 6),
    lane=st.integers(0, words.LANE_MASK),
    two=st.booleans(),
)
def test_no_aligned_pointer_passes_the_free_test(address, kind, order, lane, two):
    layout, memmap = (TWO_WORD, TwoWord) if two else (ONE_WORD, OneWord)
    width = layout.field("owner").width
    reference = Owners(width).reference(Owner(kind, (address << 4) & ((1 << width + 4) - 1)))
    buffer = Sparse()
    subject = memmap(buffer, SparseFill(buffer), 1)
    subject.mark_allocated(64, order, lane, reference)
    for pfn in range(64, 64 + (1 << order)):
        assert not buffer[layout.words * pfn] & FREE_BIT
        assert not subject.is_free_head(pfn)


def test_an_object_as_owner_never_passes_the_free_test():
    owners = Owners(60)
    assert [owners.reference(object()) & 15 for _ in range(3)] == [1, 1, 1]
    # Bit 0 of a reference may be set, for it lies in a field of its own: never in the free bit.
    for layout in LAYOUTS.values():
        kind = layout.field("owner_kind")
        assert kind.word != 0 or not kind.mask & FREE_BIT


def test_constants_are_the_table():
    two, one = TWO_WORD.field, ONE_WORD.field
    assert (words.FREE, words.ALLOCATED, words.TAIL) == (1, 2, 4)
    assert (words.TAG_MASK, words.ORDER_SHIFT, words.ORDER_MASK) == (15, 4, 63)
    prev = two("prev", "free", "in-words")
    assert (words.HEAD_SHIFT, words.LINK_SHIFT) == (two("head").shift, prev.shift) == (32, 32)
    assert words.LINK_MASK == two("next", "pcp", "in-words").max == two("head").max == (1 << 32) - 1
    assert words.LINK_SIGN == 1 << 31
    assert words.ONE_WAY_MASK == two("next", "free", "singly-linked").max == (1 << 60) - 1
    assert (words.LISTED_MASK, words.INDEX_MASK, words.INDEX_LIST_SHIFT) == ((1 << 32) - 1, (1 << 36) - 1, 36)
    # A lane is the three fields side by side, in both layouts.
    for field in (two, one):
        at = field("migratetype", "allocated").shift
        assert field("zid", "allocated").shift == at + words.LANE_SHIFT
        assert field("nid", "allocated").shift == at + words.LANE_SHIFT + 3
    assert two("migratetype").shift == words.LANE_AT
    assert one("migratetype").shift == words.ONE_LANE_AT
    assert words.LANE_MASK == (1 << 3 + 3 + 10) - 1
    assert two("zid").max + 1 == words.ZIDS
    assert two("migratetype").max + 1 == 1 << words.LANE_SHIFT > words.TYPES
    assert words.TYPE_MASK == 7
    assert (words.ONE_NEXT_SHIFT, words.ONE_PREV_SHIFT) == (8, 36)
    assert words.ONE_LINK_MASK == one("next").max == one("prev").max
    assert words.ONE_LINK_SIGN == 1 << 27
    assert words.ONE_ORDER_MASK == one("order").max == 15
    assert one("tag").mask | one("order").mask == words.ONE_STATE_MASK
    assert one("owner_kind").shift == words.ONE_OWNER_SHIFT
    assert one("owner").shift == one("owner_kind").shift + 4
    assert one("owner").mask | one("owner_kind").mask == words.ONE_OWNER_MASK << words.ONE_OWNER_SHIFT
    assert words.ONE_OWNER_SIGN << words.ONE_OWNER_SHIFT == 1 << 63
    assert FULL >> words.ONE_OWNER_SHIFT == words.ONE_OWNER_MASK
