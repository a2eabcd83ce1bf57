"""/proc/buddyinfo and the indices: the values of real lines, and the kernel's way to print a number below 0."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from procfs_text import printed, sample

from structpage import metrics
from structpage.procfs import (
    BuddyInfo,
    FragmentationIndex,
    format_buddyinfo,
    format_extfrag_index,
    format_unusable_index,
    parse_buddyinfo,
    parse_extfrag_index,
    parse_unusable_index,
)


def test_the_columns_are_orders():
    zones = parse_buddyinfo(sample("buddyinfo"))
    assert [(zone.node, zone.zone) for zone in zones] == [(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")]
    assert zones[3].counts == (901, 826, 584, 518, 244, 119, 45, 17, 7, 5, 62)


def test_counts_of_arrays_are_printed_as_ints_are():
    zone = BuddyInfo(3, "HighMem", (0, 12, 1_234_567))
    assert format_buddyinfo([zone]) == "Node 3, zone  HighMem      0     12 1234567 \n"
    assert format_buddyinfo([BuddyInfo(3, "HighMem", tuple(np.array(zone.counts)))]) == format_buddyinfo([zone])


def test_indices_of_a_real_machine_are_those_of_its_counts():
    """The samples are a model's, which knows no `metrics`."""
    zones = parse_buddyinfo(sample("buddyinfo"))
    for index, show, kind in (
        (metrics.extfrag_index, format_extfrag_index, "extfrag_index"),
        (metrics.unusable_index, format_unusable_index, "unusable_index"),
    ):
        records = [FragmentationIndex(zone.node, zone.zone, tuple(index(zone.counts))) for zone in zones]
        assert show(records) == sample(kind)


def test_an_index_between_minus_one_and_zero_has_its_sign_after_the_point():
    one_page = FragmentationIndex(0, "DMA", tuple(metrics.extfrag_index([1, 0, 0])))
    assert one_page.index == (-1000, -500, -250)
    text = "Node 0, zone      DMA -1.000  0.-500  0.-250 \n"
    assert format_extfrag_index([one_page]) == text
    assert parse_extfrag_index(text) == (one_page,)


def test_nothing_free_is_all_unusable():
    nothing = FragmentationIndex(0, "Normal", tuple(metrics.unusable_index([0, 0])))
    assert format_unusable_index([nothing]) == "Node 0, zone   Normal 1.000 1.000 \n"
    assert parse_unusable_index("Node 0, zone   Normal 1.000 1.000 \n") == (nothing,)


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_an_index_is_printed_as_by_c(value):
    text = f"Node 0, zone      DMA {printed(value, 2)} \n"
    assert format_extfrag_index([FragmentationIndex(0, "DMA", (value,))]) == text
