"""Fields and layouts as data."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FULL, says
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.field import Field, Layout, signed
from structpage.core.words import LAYOUTS, ONE_WORD, TAGS, TWO_WORD

ALL = [field for layout in LAYOUTS.values() for field in layout.fields]
WORD = st.integers(0, FULL)
SMALL = Layout(
    "small",
    1,
    {"a": 0, "b": 1},
    {3: "b"},
    (
        Field("tag", 0, 0, 2, frozenset({"a", "b"}), "the state"),
        Field("x", 0, 8, 1, frozenset({"a"}), "one bit"),
        Field("y", 0, 60, 4, frozenset({"b"}), "at the top"),
    ),
)


@given(field=st.sampled_from(ALL), word=WORD, data=st.data())
def test_put_then_get_and_nothing_else_changes(field, word, data):
    value = data.draw(st.integers(0, field.max))
    put = field.put(word, value)
    assert -(1 << 63) <= put < 1 << 63
    assert field.get(put) == value
    assert field.get(put & FULL) == value
    assert (put & FULL & ~field.mask) == word & ~field.mask


@given(field=st.sampled_from(ALL), word=WORD)
def test_get_of_an_array_is_get_of_each(field, word):
    words = np.array([word, 0, FULL], np.uint64)
    assert field.get(words).tolist() == [field.get(word), 0, field.max]


def test_top_fields_are_those_that_reach_the_sign():
    assert {(field.name, *sorted(field.states)) for field in TWO_WORD.fields if field.top} == {
        ("head", "tail"),
        ("cache", "slab"),
        ("prev", "free", "pcp"),
        ("owner", "allocated", "slab", "tail"),
    }
    assert {field.name for field in ONE_WORD.fields if field.top} == {"prev", "owner"}
    assert Field("top", 0, 60, 4, frozenset(), "").put(0, 8) == -(1 << 63)


@given(word=WORD)
def test_signed_has_the_same_bits(word):
    assert signed(word) & FULL == word
    assert -(1 << 63) <= signed(word) < 1 << 63


@pytest.mark.parametrize("value", [-1, 64])
def test_put_refuses_what_does_not_fit(value):
    with pytest.raises(ValueError, match=says(f"order must be between 0 and 63, not {value}")):
        TWO_WORD.field("order").put(0, value)


@given(layout=st.sampled_from(list(LAYOUTS.values())), state=st.sampled_from(list(TAGS)), data=st.data())
def test_pack_then_unpack(layout, state, data):
    fields = [field for field in layout.of_state(state) if field.name != "tag"]
    values = {field.name: data.draw(st.integers(0, field.max)) for field in fields}
    words = layout.pack(state, **values)
    assert len(words) == layout.words
    assert layout.state_of(words[0]) == state
    assert layout.unpack(words) == {"tag": TAGS[state], **values}


def test_aliases_are_other_tags_of_a_state():
    assert [SMALL.state_of(tag) for tag in range(4)] == ["a", "b", None, "b"]


def test_pack_refuses_a_field_that_the_state_has_not():
    with pytest.raises(KeyError, match=r"^'head'$"):
        TWO_WORD.pack("free", head=1)
    with pytest.raises(ValueError, match=says("order must be between 0 and 15, not 16")):
        ONE_WORD.pack("free", order=16)


def test_unpack_of_an_unused_tag_tells_the_tag_alone():
    assert TWO_WORD.state_of(12) is None
    assert TWO_WORD.unpack((12 | 7 << 4, 5)) == {"tag": 12}


def test_overlapping_fields_of_one_state_are_refused():
    fields = (Field("a", 0, 0, 4, frozenset({"s"}), ""), Field("b", 0, 3, 2, frozenset({"s"}), ""))
    with pytest.raises(ValueError, match=says("bad: field 'b' must have bits of its own in state 's'")):
        Layout("bad", 1, {"s": 0}, {}, fields)
    with pytest.raises(ValueError, match=says("long: field 'a' must have bits of its own in state 's'")):
        Layout("long", 1, {"s": 0}, {}, (Field("a", 0, 60, 5, frozenset({"s"}), ""),))
    apart = (fields[0], Field("b", 0, 3, 2, frozenset({"t"}), ""))
    assert Layout("good", 1, {"s": 0, "t": 1}, {}, apart).of_state("t") == [apart[1]]


def test_fields_of_two_placements_may_overlap_but_not_with_those_of_all():
    common = Field("a", 0, 0, 4, frozenset({"s"}), "all have it")
    one, other = (Field("b", 0, 4, width, frozenset({"s"}), "own", name) for width, name in ((4, "one"), (8, "other")))
    layout = Layout("shared", 1, {"s": 0}, {}, (Field("tag", 0, 60, 4, frozenset({"s"}), ""), common, one, other))
    assert layout.placements("s") == ["", "one", "other"]
    assert [field.name for field in layout.of_state("s")] == ["a", "tag"]
    assert layout.of_state("s", "one")[1] == layout.field("b", "s", "one") == one
    assert layout.field("b", placement="other") == other
    with pytest.raises(KeyError, match=r"^'b'$"):
        layout.field("b")
    assert list(layout.table())[1:3] == [
        ("b", "memdesc", "4-7", "all", "placement one: own"),
        ("b", "memdesc", "4-11", "all", "placement other: own"),
    ]
    assert layout.diagram().splitlines()[2:] == [
        "  memdesc   | tag 63:60 | - 59:4 | a 3:0 |",
        "    one             | tag 63:60 | - 59:8 | b 7:4 | a 3:0 |",
        "    other           | tag 63:60 | - 59:12 | b 11:4 | a 3:0 |",
    ]
    with pytest.raises(ValueError, match=says("bad: field 'b' must have bits of its own in state 's'")):
        Layout("bad", 1, {"s": 0}, {}, (common, one._replace(shift=3)))


def test_table_has_a_row_per_field():
    assert list(SMALL.table()) == [
        ("tag", "memdesc", "0-1", "all", "the state"),
        ("x", "memdesc", "8", "a", "one bit"),
        ("y", "memdesc", "60-63", "b", "at the top"),
    ]
    assert len(list(TWO_WORD.table())) == len(TWO_WORD.fields)


def test_diagram_shows_every_bit_of_every_state():
    assert SMALL.diagram().splitlines() == [
        "small: 8 bytes a frame",
        "a (tag 0)",
        "  memdesc   | - 63:9 | x 8 | - 7:2 | tag 1:0 |",
        "b (tag 1)",
        "  memdesc   | y 63:60 | - 59:2 | tag 1:0 |",
    ]
