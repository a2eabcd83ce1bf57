"""The free counter: differences of CPUs, and when they are folded."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.linux.zonetable import CMA_FREE, FREE, THRESHOLD, ZONE_ROW, ZoneTable
from structpage.core.words import CMA, MOVABLE


@pytest.fixture
def table():
    zones = ZoneTable(array("q", [0] * (2 * ZONE_ROW)), array("q", [0] * 6), 3)
    zones.row[ZONE_ROW + FREE], zones.row[ZONE_ROW + THRESHOLD] = 1000, 4
    return zones


def counter(table):
    return table.row[ZONE_ROW + FREE]


def test_a_difference_is_kept_up_to_the_threshold_and_then_folded(table):
    table.add_free(1, 2, 4, MOVABLE)
    assert (counter(table), table.drift[5]) == (1000, 4)
    table.add_free(1, 2, 1, MOVABLE)
    assert (counter(table), table.drift[5]) == (1005, 0)
    table.add_free(1, 2, -4, MOVABLE)
    assert (counter(table), table.drift[5]) == (1005, -4)
    table.add_free(1, 2, -1, MOVABLE)
    assert (counter(table), table.drift[5]) == (1000, 0)


def test_each_cpu_has_a_difference_of_its_own(table):
    table.add_free(1, 0, 3, MOVABLE)
    table.add_free(1, 1, 3, MOVABLE)
    assert (counter(table), table.free_pages(1), table.free_pages(0)) == (1000, 1006, 0)
    table.fold(0, 2)
    assert (counter(table), table.drift.tolist()) == (1003, [0, 0, 0, 0, 3, 0])


def test_cma_pages_are_counted_too_and_at_once(table):
    table.add_free(1, 0, 2, CMA)
    assert (counter(table), table.row[ZONE_ROW + CMA_FREE]) == (1000, 2)


@given(changes=st.lists(st.tuples(st.integers(0, 2), st.integers(-40, 40))), threshold=st.integers(0, 9))
def test_nothing_is_lost(changes, threshold):
    zones = ZoneTable(array("q", [0] * ZONE_ROW), array("q", [0] * 3), 3)
    zones.row[THRESHOLD] = threshold
    for cpu, pages in changes:
        zones.add_free(0, cpu, pages, MOVABLE)
        assert all(abs(change) <= threshold for change in zones.drift)
    assert zones.free_pages(0) == sum(pages for _, pages in changes)
