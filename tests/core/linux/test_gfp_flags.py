"""What the allocator makes of a caller's flags."""

from __future__ import annotations

import pytest

from structpage.core.linux import gfp as flags
from structpage.core.words import ZIDS
from structpage.gfp import PRINTED, parse_gfp, zones_wanted


@pytest.mark.parametrize("bits", range(16))
def test_the_highest_zone_is_that_of_the_trace_reader(bits):
    assert flags.highest_zid(bits) == zones_wanted(bits)


@pytest.mark.parametrize(
    ("text", "mt"), [("GFP_KERNEL", 0), ("GFP_HIGHUSER_MOVABLE", 1), ("GFP_KERNEL|__GFP_RECLAIMABLE", 2)]
)
def test_migratetype(text, mt):
    assert flags.migratetype(parse_gfp(text)) == mt


def test_bits_are_those_that_the_kernel_prints():
    names = {
        "__GFP_HIGHMEM": flags.GFP_HIGHMEM,
        "__GFP_MOVABLE": flags.GFP_MOVABLE,
        "__GFP_RECLAIMABLE": flags.GFP_RECLAIMABLE,
        "__GFP_HIGH": flags.GFP_HIGH,
        "__GFP_ATOMIC": flags.GFP_ATOMIC_BIT,
        "__GFP_DIRECT_RECLAIM": flags.GFP_DIRECT_RECLAIM,
        "__GFP_KSWAPD_RECLAIM": flags.GFP_KSWAPD_RECLAIM,
        "__GFP_MEMALLOC": flags.GFP_MEMALLOC,
        "__GFP_NOMEMALLOC": flags.GFP_NOMEMALLOC,
        "__GFP_ACCOUNT": flags.GFP_ACCOUNT,
        "__GFP_THISNODE": flags.GFP_THISNODE,
    }
    assert {name: dict(PRINTED)[name] for name in names} == names


def test_the_first_attempt_spares_pageblocks_where_normal_memory_is_preferred():
    kernel = parse_gfp("GFP_KERNEL")
    assert flags.first_flags(kernel, flags.NORMAL, 1) == flags.WMARK_LOW | flags.KSWAPD | flags.NOFRAGMENT
    assert flags.first_flags(kernel, ZIDS + flags.NORMAL, 1) & flags.NOFRAGMENT
    assert not flags.first_flags(kernel, flags.NORMAL, 0) & flags.NOFRAGMENT
    assert not flags.first_flags(kernel, flags.DMA32, 1) & flags.NOFRAGMENT
    assert flags.first_flags(0, flags.DMA32, 1) == flags.WMARK_LOW


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("GFP_KERNEL", 0, flags.KSWAPD),
        ("GFP_NOWAIT", 3, flags.KSWAPD | flags.NON_BLOCK),
        ("GFP_ATOMIC", 0, flags.KSWAPD | flags.NON_BLOCK | flags.MIN_RESERVE),
        ("GFP_ATOMIC", 1, flags.KSWAPD | flags.NON_BLOCK | flags.MIN_RESERVE | flags.HIGHATOMIC_ALLOWED),
        ("GFP_ATOMIC|__GFP_NOMEMALLOC", 1, flags.KSWAPD | flags.MIN_RESERVE),
        ("GFP_KERNEL|__GFP_HIGH", 1, flags.KSWAPD | flags.MIN_RESERVE),
    ],
)
def test_the_second_attempt_opens_reserves(text, order, expected):
    assert flags.slow_flags(parse_gfp(text), order) == expected


@pytest.mark.parametrize(
    ("text", "may"), [("GFP_KERNEL", 0), ("__GFP_MEMALLOC", 1), ("__GFP_MEMALLOC|__GFP_NOMEMALLOC", 0)]
)
def test_who_may_use_what_is_left(text, may):
    assert flags.may_use_reserves(parse_gfp(text)) == may
