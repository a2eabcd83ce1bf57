"""The policies of Linux 6.1, by cases worked out by hand from its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.linux.kernels import Kernel61
from structpage.core.words import CMA, HIGHATOMIC, MOVABLE, RECLAIMABLE, UNMOVABLE

KERNEL = Kernel61()


@pytest.mark.parametrize(
    ("batch", "order", "blocks"),
    [(63, 0, 63), (63, 1, 31), (63, 3, 7), (63, 9, 2), (1, 0, 1), (1, 3, 1), (2, 0, 2), (3, 1, 2), (7, 3, 2)],
)
def test_refill(batch, order, blocks):
    assert KERNEL.refill(batch, order) == blocks


@pytest.mark.parametrize(
    ("count", "high", "batch", "factor", "order", "reclaiming", "drained"),
    [
        (99, 100, 10, 0, 0, 0, 0),
        (100, 100, 10, 0, 0, 0, 10),
        (100, 100, 10, 2, 0, 0, 40),
        (100, 100, 10, 5, 0, 0, 90),  # one batch stays
        (100, 100, 10, 0, 3, 0, 10),
        (50, 100, 10, 1, 3, 0, 50),  # freeing in a row, and a block of more than a frame: all
        (50, 100, 10, 1, 1, 0, 50),
        (50, 100, 10, 1, 9, 0, 0),  # but not for a huge page
        (50, 100, 10, 1, 0, 0, 0),
        (39, 100, 10, 0, 0, 1, 0),  # kswapd runs: four batches at most
        (40, 100, 10, 0, 0, 1, 10),
        (40, 100, 10, 3, 0, 1, 30),
        (30, 30, 10, 0, 0, 1, 10),
        (1, 0, 1, 0, 0, 0, 1),  # the lists of boot keep nothing
        (9, 5, 10, 0, 0, 0, 1),
    ],
)
def test_surplus(count, high, batch, factor, order, reclaiming, drained):
    assert KERNEL.surplus(count, high, batch, factor, order, reclaiming) == drained


@pytest.mark.parametrize(
    ("high", "batch", "factor", "order", "reclaiming", "after"),
    [
        (1000, 10, 0, 0, 0, 1),
        (1000, 10, 4, 0, 0, 5),
        (1000, 10, 5, 0, 0, 5),  # no more than that
        (170, 10, 4, 0, 0, 4),  # 160 is all but one batch
        (171, 10, 4, 0, 0, 5),
        (1000, 10, 1, 2, 0, 1),  # all was drained, and nothing doubled
        (1000, 10, 1, 0, 1, 2),
        (1000, 10, 2, 0, 1, 2),  # four batches less one is 30
        (5, 10, 0, 0, 0, 0),
    ],
)
def test_factor_after_a_drain(high, batch, factor, order, reclaiming, after):
    assert KERNEL.after_drain(high, batch, factor, order, reclaiming) == after


def test_factor_is_halved_by_an_allocation():
    assert [KERNEL.after_alloc(factor) for factor in (5, 2, 1, 0)] == [2, 1, 0, 0]


@given(
    count=st.integers(1, 500), high=st.integers(0, 400), batch=st.integers(1, 63), factor=st.integers(0, 5),
    order=st.sampled_from((0, 1, 2, 3, 9)), reclaiming=st.integers(0, 1),
)  # fmt: skip
def test_a_drain_leaves_a_batch_unless_it_takes_all(count, high, batch, factor, order, reclaiming):
    drained = KERNEL.surplus(count, high, batch, factor, order, reclaiming)
    if drained not in (0, 1, count):
        limit = min(4 * batch, high) if reclaiming else high
        assert min(batch, limit - batch) <= drained <= limit - batch
        assert count >= limit


def test_who_may_take_a_whole_pageblock():
    assert [KERNEL.steals(9, order, MOVABLE) for order in (3, 4, 5, 9)] == [False, True, True, True]
    assert KERNEL.steals(9, 0, UNMOVABLE)
    assert KERNEL.steals(9, 0, RECLAIMABLE)


def test_which_used_frames_are_alike():
    assert KERNEL.alike(MOVABLE, UNMOVABLE, 512, 100, 70) == 70
    assert KERNEL.alike(UNMOVABLE, MOVABLE, 512, 100, 70) == 342
    assert KERNEL.alike(RECLAIMABLE, UNMOVABLE, 512, 100, 70) == 0


def test_half_a_pageblock_decides():
    assert not KERNEL.retypes(512, 200, 55)
    assert KERNEL.retypes(512, 200, 56)


@pytest.mark.parametrize(
    ("boost", "high", "managed", "after"),
    [
        (0, 1000, 2047, 0),  # less than four pageblocks
        (0, 1000, 2048, 512),
        (1024, 1000, 1 << 20, 1500),  # 150 % of the high watermark
        (1500, 1000, 1 << 20, 1500),
        (0, 100, 1 << 20, 512),  # but a pageblock always
        (512, 100, 1 << 20, 512),
        (0, 0, 1 << 20, 0),  # no watermarks yet
    ],
)
def test_boost(boost, high, managed, after):
    assert KERNEL.boost(boost, high, managed, 512) == after


def test_boost_may_be_switched_off():
    assert Kernel61(boost_factor=0).boost(0, 1000, 1 << 20, 512) == 0


def test_the_reserve_is_one_percent_and_a_pageblock():
    assert KERNEL.reserve_limit(100_000, 512) == 1512


def test_what_is_recorded_for_the_lists():
    assert [KERNEL.recorded_type(mt) for mt in (UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA)] == [0, 1, 2, 1, 1]
