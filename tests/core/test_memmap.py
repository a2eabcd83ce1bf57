"""Setters and getters of descriptors, at the top of what the fields hold."""

from __future__ import annotations

import pytest
from helpers import FULL, Sparse, SparseFill
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.memmap import OneWord, TwoWord
from structpage.core.words import FREE_BIT, LANE_MASK, ONE_WORD, REPORTED_BIT, TWO_WORD

TOP_PFN = {"two-word": (1 << 32) - 1, "one-word": (1 << 28) - 1}
PAIRS = [(TwoWord, TWO_WORD), (OneWord, ONE_WORD)]
both = pytest.mark.parametrize(("cls", "layout"), PAIRS, ids=["two-word", "one-word"])


def memmap(cls, stamp=1):
    words = Sparse()
    return cls(words, SparseFill(words), stamp), words


def words_at(words, layout, pfn):
    return tuple(words[layout.words * pfn + i] & FULL for i in range(layout.words))


def unsigned(words):
    return tuple(word & FULL for word in words)


def lane_fields(lane):
    return {"migratetype": lane & 7, "zid": lane >> 3 & 7, "nid": lane >> 6}


@both
@given(
    order=st.integers(0, 4),
    lane=st.integers(0, LANE_MASK) | st.just(LANE_MASK),
    owner=st.integers(0, (1 << 60) - 1) | st.just((1 << 60) - 1),
    kind=st.integers(0, 15),
    top=st.booleans(),
)
def test_allocated_blocks_are_what_the_table_packs(cls, layout, order, lane, owner, kind, top):
    subject, words = memmap(cls)
    owner &= layout.field("owner").max
    pfn = TOP_PFN[layout.name] + 1 - (1 << order) if top else 1 << 10
    reference = owner << 4 | kind
    subject.mark_allocated(pfn, order, lane, reference - (1 << 64) if reference >> 63 else reference)
    fields = {"order": order, **lane_fields(lane), "owner": owner, "owner_kind": kind}
    assert words_at(words, layout, pfn) == unsigned(layout.pack("allocated", **fields))
    head = {"head": pfn} if layout.words == 2 else {}
    for tail in range(pfn + 1, pfn + (1 << order)):
        assert words_at(words, layout, tail) == unsigned(layout.pack("tail", **fields, **head))
    assert subject.is_allocated_head(pfn)
    assert subject.order_of(pfn) == order
    assert subject.lane_of(pfn) == lane
    assert subject.owner_of(pfn) & (FULL if layout.words == 2 else (1 << 40) - 1) == reference
    assert subject.unmark_allocated(pfn, order) == lane
    for frame in range(pfn, pfn + (1 << order)):
        assert words_at(words, layout, frame)[0] == 0


@both
def test_a_stamped_head_alone_leaves_the_tails(cls, layout):
    subject, words = memmap(cls, stamp=0)
    subject.mark_allocated(8, 3, 5, 1)
    assert [words[layout.words * pfn] for pfn in range(9, 16)] == [0] * 7
    assert subject.unmark_allocated(8, 3) == 5


@both
def test_unmark_allocated_refuses_any_other_block(cls, layout):
    subject, words = memmap(cls)
    subject.mark_allocated(8, 2, 5, 1)
    before = dict(words.values)
    for pfn, order in [(8, 1), (8, 3), (9, 2), (9, 0), (0, 0), (0, 2)]:
        assert subject.unmark_allocated(pfn, order) == -1
    subject.mark_free(0, 2, 0)
    assert subject.unmark_allocated(0, 2) == -1
    assert {at: words[at] for at in before} == before


@both
@given(order=st.integers(0, 15), lane=st.integers(0, LANE_MASK))
def test_free_heads(cls, layout, order, lane):
    subject, words = memmap(cls)
    subject.mark_free(64, order, lane)
    expected = {"order": order, **(lane_fields(lane) if layout.words == 2 else {})}
    assert words[layout.words * 64] == layout.pack("free", **expected)[0]
    assert subject.is_free_head(64)
    assert subject.is_free_block(64, order)
    assert not subject.is_free_block(64, order + 1)
    assert not subject.is_free_block(64, order - 1)
    assert not subject.is_allocated_head(64)
    assert subject.order_of(64) == order
    subject.unmark(64)
    assert subject.is_reserved(64)
    assert not subject.is_free_head(64)


@both
def test_reported_is_a_free_state_that_a_new_marking_ends(cls, layout):
    subject, words = memmap(cls)
    subject.mark_free(4, 2, 1)
    assert not subject.is_reported(4)
    subject.mark_reported(4)
    assert subject.is_reported(4)
    assert subject.is_free_block(4, 2)
    assert words[layout.words * 4] & (FREE_BIT | REPORTED_BIT) == FREE_BIT | REPORTED_BIT
    subject.mark_free(4, 2, 1)
    assert not subject.is_reported(4)
    subject.mark_allocated(4, 2, 1, 0)
    assert not subject.is_reported(4)


@both
@given(order=st.integers(0, 4), lane=st.integers(0, LANE_MASK), record=st.integers(1, (1 << 36) - 1), top=st.booleans())
def test_slab_heads_keep_all_but_the_state(cls, layout, order, lane, record, top):
    subject, words = memmap(cls)
    cache = 1023
    pfn = TOP_PFN[layout.name] + 1 - (1 << order) if top else 1 << 10
    subject.mark_allocated(pfn, order, lane, record << 4 | 5)
    before = [words_at(words, layout, frame) for frame in range(pfn, pfn + (1 << order))]
    subject.mark_slab(pfn, cache)
    fields = {"order": order, **lane_fields(lane), "owner": record, "owner_kind": 5}
    more = {"cache": cache} if layout.words == 2 else {}
    assert words_at(words, layout, pfn) == unsigned(layout.pack("slab", **fields, **more))
    assert [words_at(words, layout, frame) for frame in range(pfn + 1, pfn + (1 << order))] == before[1:]
    heads = (subject.is_slab_head(pfn), subject.is_block_head(pfn), subject.is_allocated_head(pfn))
    assert heads == (True, True, False)
    assert (subject.is_free_head(pfn), subject.order_of(pfn), subject.lane_of(pfn)) == (False, order, lane)
    assert subject.owner_of(pfn) >> 4 == record
    assert subject.unmark_allocated(pfn, order) == -1
    subject.unmark_slab(pfn)
    assert [words_at(words, layout, frame) for frame in range(pfn, pfn + (1 << order))] == before
