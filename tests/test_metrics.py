"""The indices are the kernel's: published vectors, and scalar models that follow the formulas one number at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from structpage import metrics
from structpage.errors import InvalidArgument

ROW = [100, 50, 25, 10, 4, 2, 1, 0, 0, 1, 0]
"""1084 pages in 193 blocks."""

rows = st.lists(st.integers(0, 1) | st.integers(0, 1 << 20), min_size=1, max_size=16)
tables = st.integers(1, 12).flatmap(
    lambda orders: st.lists(
        st.lists(st.lists(st.integers(0, 3), min_size=orders, max_size=orders), min_size=2, max_size=2),
        min_size=1,
        max_size=3,
    )
)


def scalar(row, order):
    """F, B and S(j) of one row, by counting."""
    free = sum(blocks * 2**k for k, blocks in enumerate(row))
    suitable = sum(blocks * 2 ** (k - order) for k, blocks in enumerate(row) if k >= order)
    return free, sum(row), suitable


def scalar_unusable(row, order):
    free, _, suitable = scalar(row, order)
    return 1000 if free == 0 else (free - suitable * 2**order) * 1000 // free


def scalar_for_order(row, order):
    free, _, suitable = scalar(row, order)
    return 0 if free == 0 else (free - suitable * 2**order) * 100 // free


def scalar_extfrag(row, order):
    free, blocks, suitable = scalar(row, order)
    if blocks == 0:
        return 0
    return -1000 if suitable else 1000 - (1000 + free * 1000 // 2**order) // blocks


def scalar_fmfi(row, order):
    free, blocks, _ = scalar(row, order)
    return 1 - (1 + free / 2**order) / blocks if blocks else 0.0


PER_ORDER = [
    (metrics.unusable_index, scalar_unusable),
    (metrics.extfrag_for_order, scalar_for_order),
    (metrics.extfrag_index, scalar_extfrag),
    (metrics.fmfi, scalar_fmfi),
    (metrics.suitable_blocks, lambda row, order: scalar(row, order)[2]),
]


@pytest.mark.parametrize(
    ("order", "extfrag", "unusable", "percent"),
    [(0, -1000, 0, 0), (3, -1000, 276, 27), (9, -1000, 527, 52), (10, 990, 1000, 100)],
)
def test_a_row_with_known_indices(order, extfrag, unusable, percent):
    assert metrics.free_pages(ROW) == 1084
    assert metrics.extfrag_index(ROW)[order] == extfrag
    assert metrics.unusable_index(ROW)[order] == unusable
    assert metrics.extfrag_for_order(ROW)[order] == percent


@pytest.mark.parametrize(("blocks", "extfrag"), [(512, 997), (1024, 998), (10, 899)])
def test_nothing_but_single_pages(blocks, extfrag):
    row = [blocks] + [0] * 10
    assert metrics.extfrag_index(row)[9] == extfrag
    assert metrics.unusable_index(row)[9] == 1000


@pytest.mark.parametrize(("array", "model"), PER_ORDER, ids=[array.__name__ for array, _ in PER_ORDER])
@given(row=rows)
def test_each_order_is_what_the_formula_says(array, model, row):
    found = array(row).tolist()
    expected = [model(row, order) for order in range(len(row))]
    if array is metrics.fmfi:
        assert all(math.isclose(one, other, abs_tol=1e-12) for one, other in zip(found, expected, strict=True))
    else:
        assert found == expected


@given(table=tables)
def test_any_leading_shape(table):
    counts = np.array(table)
    for array, _ in PER_ORDER:
        result = array(counts)
        for place in np.ndindex(counts.shape[:-1]):
            assert result[place].tolist() == array(counts[place]).tolist()
    for array in (metrics.free_pages, metrics.huge_pages):
        assert array(counts).tolist() == [[array(row) for row in rows] for rows in table]
    assert metrics.unusable_index(counts).dtype == metrics.extfrag_index(counts).dtype == np.int64
    assert metrics.fmfi(counts).dtype == np.float64


@given(row=rows)
def test_what_the_indices_promise(row):
    extfrag, unusable, fmfi = metrics.extfrag_index(row), metrics.unusable_index(row), metrics.fmfi(row)
    would_fail = (metrics.suitable_blocks(row) == 0) & (sum(row) > 0)
    assert (np.diff(unusable) >= 0).all()
    assert ((unusable >= 0) & (unusable <= 1000)).all()
    assert (extfrag[would_fail] >= -500).all()
    assert (np.abs(extfrag[would_fail] - 1000 * fmfi[would_fail]) <= 2).all()
    assert ((extfrag == -1000) == (metrics.suitable_blocks(row) > 0)).all()


def test_a_machine_of_16_tib_does_not_overflow():
    counts = np.array([1 << 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 22])
    assert metrics.free_pages(counts) == 2 << 32
    assert metrics.unusable_index(counts).tolist() == [0] + [500] * 10
    assert metrics.extfrag_index(counts[:9]).tolist() == [-1000, 500, 750, 875, 938, 969, 985, 993, 997]


def test_huge_pages_of_counts():
    assert metrics.huge_pages(ROW) == 1
    assert metrics.huge_pages([[0] * 9 + [1, 3], ROW]).tolist() == [7, 1]
    assert metrics.huge_pages([[5, 5], [0, 1]]).tolist() == [0, 0]
    assert metrics.huge_pages(ROW, order=6) == 1 + (1 << 3)


@given(free=st.lists(st.booleans(), min_size=1, max_size=80), order=st.integers(0, 5))
def test_huge_pages_of_runs_are_the_aligned_ones(free, order):
    edges = np.flatnonzero(np.diff(np.array([False, *free, False])))
    starts, stops = edges[::2], edges[1::2]
    found = metrics.huge_pages_in_runs(starts, stops - starts, order)
    size = 1 << order
    whole = np.array([pfn for pfn in range(0, len(free) - size + 1, size) if all(free[pfn : pfn + size])], np.int64)
    runs = zip(starts, stops, strict=True)
    assert found.tolist() == [int(((start <= whole) & (whole < stop)).sum()) for start, stop in runs]


@given(lengths=st.lists(st.integers(0, 70) | st.integers(0, 1 << 40)))
def test_frames_by_the_length_of_their_run(lengths):
    frames = metrics.frames_by_run_length(np.array(lengths, np.int64)).tolist()
    top = max(lengths, default=0).bit_length()
    assert frames == [sum(length for length in lengths if length.bit_length() == k + 1) for k in range(top)]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0, 2.0], "counts must be ints with an axis of orders, not float64 of shape (2,)"),
        (3, "counts must be ints with an axis of orders, not int64 of shape ()"),
        ([3, -1], "counts must be at least 0, not -1"),
    ],
)
def test_what_are_no_counts(counts, message):
    for array in (metrics.free_pages, metrics.huge_pages, *(array for array, _ in PER_ORDER)):
        with pytest.raises(InvalidArgument, match=says(message)):
            array(counts)
    with pytest.raises(InvalidArgument, match=says(message)):
        metrics.huge_pages_in_runs(counts, [1])


def test_orders_of_huge_pages():
    for arguments in (([1],), ([0], [1])):
        function = metrics.huge_pages if len(arguments) == 1 else metrics.huge_pages_in_runs
        with pytest.raises(InvalidArgument, match=says("order must be between 0 and 62, not -1")):
            function(*arguments, order=-1)
