"""CMA areas: who may use them, and the bitmap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_machine import GFP_MOVABLE, GFP_UNMOVABLE, Small

from structpage.core.linux.cma import CmaArea, cma_activate_area, cma_alloc, cma_release, init_cma_reserved_pageblock
from structpage.core.linux.contig import alloc_contig_range
from structpage.core.linux.zonetable import CMA_FREE, MANAGED, SPECIAL
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import CMA, MOVABLE


def area_of(base, frames, order_per_bit=0):
    return CmaArea(np.zeros(max(frames >> order_per_bit, 1), np.int64).data, base, frames, order_per_bit)


def with_area(frames=64, base=0, size=32, order_per_bit=0, **options):
    small = Small(frames, first=size, **options)
    area = area_of(base, size, order_per_bit)
    assert cma_activate_area(small.machine, area, 0) == 0
    return small, area


def alloc(small, area, count, align=0):
    return cma_alloc(small.machine, area, count, align, 0, 0)


def test_an_area_becomes_free_memory_of_its_type():
    small, _ = with_area()
    assert small.types() == "44441111"
    assert small.lists_of(CMA) == {4: [16, 0]}
    assert small.lists_of(MOVABLE) == {4: [32, 48]}
    assert [small.word(field) for field in (CMA_FREE, MANAGED, SPECIAL)] == [32, 64, 4]
    assert small.free_pages() == 64
    small.check({})


def test_its_pageblocks_wait_at_the_cpu_where_that_keeps_such_blocks():
    small, _ = with_area(high=100, batch=63)
    assert small.waiting() == dict.fromkeys(range(0, 32, 8), 3)
    assert small.word(CMA_FREE) == 0
    small.check({})


@pytest.mark.parametrize(
    "area", [area_of(4, 8), area_of(0, 12), area_of(0, 16, 4), area_of(24, 16), area_of(-8, 8), area_of(56, 16)]
)
def test_areas_that_are_not_reserved_pageblocks_of_one_zone_are_refused(area):
    small = Small(64, first=32)
    before = small.state()
    assert cma_activate_area(small.machine, area, 0) == REFUSED
    assert small.state() == before


def test_only_movable_requests_use_it():
    small, _ = with_area()
    got = [small.machine.alloc(3, GFP_UNMOVABLE, 0, 0, 0) for _ in range(5)]
    assert min(got[:4]) >= 32
    assert got[4] == NO_MEMORY
    assert [small.machine.alloc(3, GFP_MOVABLE, 0, 0, 0) for _ in range(5)] == [16, 24, 0, 8, NO_MEMORY]


def test_first_fit_with_alignment():
    small, area = with_area()
    assert [alloc(small, area, count, align) for count, align in ((3, 0), (4, 2), (1, 0), (5, 3))] == [0, 4, 3, 8]
    assert "".join(map(str, area.bitmap.tolist())) == "1111111111111" + 19 * "0"
    small.check(dict.fromkeys((*range(8), *range(8, 13)), 0))
    assert cma_release(small.machine, area, 4, 4, 0) == 0
    assert alloc(small, area, 2, 1) == 4
    assert alloc(small, area, 20) == NO_MEMORY
    assert alloc(small, area, 19) == 13


def test_alignment_is_that_of_the_pfn():
    small = Small(64, first=32)
    area = area_of(8, 24)
    assert cma_activate_area(small.machine, area, 0) == 0
    assert [alloc(small, area, 8, 4) for _ in range(2)] == [16, NO_MEMORY]


def test_a_granule_is_taken_whole():
    small, area = with_area(order_per_bit=2)
    assert [alloc(small, area, count) for count in (5, 1)] == [0, 8]
    assert area.bitmap.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    small.check(dict.fromkeys((*range(5), 8), 0))
    assert cma_release(small.machine, area, 0, 5, 0) == 0
    assert area.bitmap.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def test_frames_in_use_are_passed_over_one_place_at_a_time():
    small, area = with_area(48)
    used = small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0)
    assert used == 16
    assert alloc(small, area, 16) == 0
    assert cma_release(small.machine, area, 0, 16, 0) == 0
    assert alloc(small, area, 10, 1) == 0
    assert alloc(small, area, 8, 1) == 18
    assert alloc(small, area, 6) == 10
    assert alloc(small, area, 1) == 17
    small.check(dict.fromkeys(range(26), 0))


def test_the_next_place_may_overlap_the_one_that_was_busy():
    small, area = with_area(48)
    assert small.machine.alloc(0, GFP_MOVABLE, 0, 0, 0) == 16
    assert [alloc(small, area, count) for count in (12, 6)] == [0, 17]


def test_an_area_that_is_not_in_the_memory_is_refused_and_marks_nothing():
    small, area = Small(64), area_of(56, 16)
    assert alloc(small, area, 12) == REFUSED
    assert not any(area.bitmap)


def test_a_pageblock_in_use_is_refused():
    small = Small(64, first=32)
    before = small.state()
    assert init_cma_reserved_pageblock(small.machine, 32, 0) == REFUSED
    assert init_cma_reserved_pageblock(small.machine, 60, 0) == REFUSED
    assert small.state() == before


def test_frames_below_the_area_are_not_its_own():
    small = Small(64, first=32)
    area = area_of(16, 16)
    assert cma_activate_area(small.machine, area, 0) == 0
    assert alloc_contig_range(small.machine, 40, 44, MOVABLE, 0, 0) == 0
    assert cma_release(small.machine, area, 40, 4, 0) == REFUSED
    assert cma_release(small.machine, area_of(48, 16), 40, 4, 0) == REFUSED
    small.check(dict.fromkeys(range(40, 44), 0))


@pytest.mark.parametrize("count", [0, -1, 33])
def test_no_such_run(count):
    small, area = with_area()
    assert alloc(small, area, count) == NO_MEMORY
    assert not any(area.bitmap)


@pytest.mark.parametrize(("pfn", "count"), [(-1, 1), (30, 3), (40, 1), (0, -1), (0, 4), (4, 1)])
def test_what_the_area_did_not_give_is_not_released(pfn, count):
    small, area = with_area()
    assert alloc(small, area, 3) == 0
    before = small.state()
    assert cma_release(small.machine, area, pfn, count, 0) == REFUSED
    assert (small.state(), area.bitmap.tolist()[:4]) == (before, [1, 1, 1, 0])


@given(
    bits=st.lists(st.integers(0, 1), min_size=1, max_size=40),
    base=st.integers(0, 40),
    count=st.integers(1, 30),
    align=st.integers(0, 5),
    start=st.integers(0, 45),
    order_per_bit=st.integers(0, 2),
)
def test_the_first_run_of_free_granules(bits, base, count, align, start, order_per_bit):
    base <<= order_per_bit
    area = CmaArea(np.array(bits, np.int64).data, base, len(bits) << order_per_bit, order_per_bit)
    need = -(-count >> order_per_bit)
    fits = [
        place
        for place in range(start, len(bits) - need + 1)
        if not any(bits[place : place + need])
        if align <= order_per_bit or (base + (place << order_per_bit)) % (1 << align) == 0
    ]
    assert area.find(count, align, start) == min(fits, default=NO_MEMORY)
