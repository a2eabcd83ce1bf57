"""The reference model, by examples small enough to check by eye."""

from __future__ import annotations

import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from structpage import Zone
from structpage.testing import Model, ModelError
from structpage.testing.strategies import shapes


def test_free_blocks_are_the_largest_aligned_ones():
    model = Model(11, max_order=3)
    assert model.free_blocks() == {(0, 3), (8, 1), (10, 0)}
    model.alloc(4, 0)
    assert model.free_blocks() == {(0, 2), (5, 0), (6, 1), (8, 1), (10, 0)}
    model.free(4)
    assert model.free_blocks() == {(0, 3), (8, 1), (10, 0)}
    assert Model(4, max_order=0).free_blocks() == {(pfn, 0) for pfn in range(4)}


def test_free_blocks_end_at_borders_and_holes():
    zones = [Zone("DMA", 0, 4), Zone("Normal", 4, 12, holes=((9, 10),))]
    model = Model(12, zones, max_order=3)
    assert model.free_blocks() == {(0, 2), (4, 2), (8, 0), (10, 1)}
    assert model.free_blocks_of(zones[0]) == {(0, 2)}
    assert not model.is_free(2, 6)
    assert not model.is_reserved(9, 10)
    assert not model.is_free(9, 10)


@given(shape=shapes(), data=st.data())
def test_free_blocks_cover_the_free_frames_and_no_two_are_buddies(shape, data):
    model = Model(*shape[:2], max_order=shape.max_order)
    for pfn in data.draw(st.sets(st.integers(0, shape.frames - 1))) & model.free_set:
        model.alloc(pfn, 0)
    blocks = model.free_blocks()
    covered = [pfn + i for pfn, order in blocks for i in range(1 << order)]
    assert sorted(covered) == sorted(model.free_set)
    for pfn, order in blocks:
        assert pfn % (1 << order) == 0
        assert len({model.zone_of(pfn + i) for i in range(1 << order)}) == 1
        buddy = pfn ^ (1 << order)
        merges = order < model.max_order and model.zone_of(buddy) == model.zone_of(pfn)
        assert not (merges and (buddy, order) in blocks)


def test_where_a_block_may_come_from():
    model = Model(20, max_order=3)
    assert model.where_alloc(0) == {16}
    assert model.where_alloc(2) == {16}
    assert model.where_alloc(3) == {0, 8}
    assert model.where_alloc(0, align_order=3) == {16}
    assert model.where_alloc(0, align_order=5) == {0}
    assert model.where_within(1, 20, 1) == {16}
    assert model.where_within(1, 16, 1) == {2}
    assert model.where_contig(17) == {0}
    assert model.where_contig(21) == set()
    model.reserve(0, 1)
    assert model.where_contig(17) == {1}


def test_zones_are_tried_from_the_wanted_one_down_then_other_nodes():
    dma, normal = Zone("DMA", 0, 4), Zone("Normal", 4, 8)
    far = Zone("Normal", 8, 16, node=1)
    model = Model(16, [dma, normal, far], max_order=3)
    assert model.where_alloc(0) == {4}
    assert model.where_alloc(0, dma) == {0}
    assert model.where_alloc(3) == {8}
    assert model.where_alloc(3, dma) == set()
    assert model.where_alloc(0, far) == {8}


def test_what_is_impossible_is_refused():
    model = Model(8, max_order=3)
    model.alloc(0, 1)
    for act, message in [
        (lambda: model.alloc(3, 1), "PFN 3 must be a multiple of 2, not otherwise"),
        (lambda: model.alloc(0, 0), "block of order 0 at PFN 0 must be free, in one zone, not otherwise"),
        (lambda: model.free(1), "PFN 1 must be the head of an allocated block, not otherwise"),
        (lambda: model.free(0, 2), "PFN 0 must be the head of an allocated block, not otherwise"),
        (lambda: model.reserve(1, 3), "range [1, 3) must be free, in one zone, not otherwise"),
        (lambda: model.release(2, 3), "range [2, 3) must be reserved, in one zone, not otherwise"),
        (lambda: model.free_range(0, 3), "range [0, 3) must be made up of allocated blocks, not otherwise"),
    ]:
        with pytest.raises(ModelError, match=says(message)):
            act()
    model.free_range(0, 2)
    assert model.free_set == set(range(8))
