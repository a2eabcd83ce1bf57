"""Watermarks: what each kind of request may not go below, by hand."""

from __future__ import annotations

import pytest
from machine_helpers import small

from structpage import OutOfMemory, Zone
from structpage.core.linux.gfp import HIGHATOMIC_ALLOWED, MIN_RESERVE, NON_BLOCK, OOM
from structpage.core.linux.watermark import reserve_of, watermark_ok
from structpage.core.linux.zonetable import FREE, HIGHATOMIC_PAGES


@pytest.mark.parametrize(
    ("flags", "mark"),
    [
        (0, 1000),
        (NON_BLOCK, 1000),  # without __GFP_HIGH it opens no reserve
        (MIN_RESERVE, 500),
        (MIN_RESERVE | NON_BLOCK, 375),  # 62.5 % deep
        (OOM, 500),
        (MIN_RESERVE | NON_BLOCK | OOM, 188),
    ],
)
def test_how_deep_the_reserves_are(flags, mark):
    assert reserve_of(1000, flags) == mark


def ok(machine, order, mark, highest=2, flags=0):
    return watermark_ok(machine.machine.percpu.zone_lists, 2, order, mark, highest, flags)


def test_free_memory_must_be_above_the_mark_and_the_reserve():
    machine = small(64)
    assert ok(machine, 0, 63)
    assert not ok(machine, 0, 64)
    assert ok(machine, 3, 56)  # the other seven frames of the block do not count
    assert not ok(machine, 3, 57)
    machine.set_zone("Normal", lowmem_reserve=[0, 0, 0, 5, 0, 0])
    assert ok(machine, 0, 63, highest=2)
    assert ok(machine, 0, 58, highest=3)
    assert not ok(machine, 0, 59, highest=3)


def test_only_the_global_counter_is_looked_at():
    machine = small(64, threshold=60)
    machine.alloc_pages(4)
    assert machine.zone_table["free"] == 48
    assert ok(machine, 0, 63)
    machine.fold()
    assert not ok(machine, 0, 48)


def test_there_must_be_a_block():
    machine = small(16, max_order=3, batch=1)
    pfns = [machine.alloc_pages(0, "GFP_KERNEL|__GFP_MOVABLE") for _ in range(16)]
    for pfn in pfns[::2]:
        machine.free_pages(pfn)
    machine.drain()
    assert ok(machine, 0, 0)
    assert not ok(machine, 1, 0)


def test_the_high_atomic_reserve_counts_for_those_who_may_use_it():
    machine = small(64)
    machine.words("zone_rows").reshape(-1, 24)[2, HIGHATOMIC_PAGES] = 8
    assert not ok(machine, 0, 56)
    assert ok(machine, 0, 55)
    assert ok(machine, 0, 56, flags=NON_BLOCK)
    assert ok(machine, 0, 56, flags=HIGHATOMIC_ALLOWED)


def test_blocks_of_the_reserve_are_blocks_for_those_who_may_use_it():
    machine = small(8, max_order=3)
    blocks = machine.machine.percpu.zone_lists.blocks
    blocks.set_type(0, 2, 3)
    blocks.move_block(0, 2, 3)
    assert not ok(machine, 1, 0)
    assert ok(machine, 1, 0, flags=HIGHATOMIC_ALLOWED)
    assert ok(machine, 1, 0, flags=OOM)
    assert not ok(machine, 1, 0, flags=NON_BLOCK)


MARKS = {"min": 16, "low": 24, "high": 32}


def allocations(gfp, order=0, **sizes):
    """How many single frames or blocks of 64 a request gets before it fails."""
    machine = small(64, batch=1, high=1)
    machine.set_zone("Normal", **(MARKS | sizes))
    count = 0
    while True:
        try:
            machine.alloc_pages(order, gfp)
        except OutOfMemory:
            return count
        count += 1


@pytest.mark.parametrize(
    ("gfp", "frames"),
    [
        ("GFP_KERNEL", 64 - 16),
        ("GFP_NOWAIT", 64 - 16),
        ("GFP_KERNEL|__GFP_HIGH", 64 - 8),
        ("GFP_ATOMIC", 64 - 6),
        ("GFP_ATOMIC|__GFP_NOMEMALLOC", 64 - 8),
        ("GFP_KERNEL|__GFP_MEMALLOC", 64),
        ("GFP_KERNEL|__GFP_MEMALLOC|__GFP_NOMEMALLOC", 64 - 16),
    ],
)
def test_how_far_requests_get(gfp, frames):
    assert allocations(gfp) == frames


def test_a_boost_raises_all_marks_but_that_of_single_atomic_frames():
    assert allocations("GFP_KERNEL", boost=20) == 64 - 36
    assert allocations("GFP_ATOMIC", boost=20) == 64 - 6
    assert allocations("GFP_ATOMIC", 1, boost=20) < (64 - 6) // 2


def test_the_low_mark_is_for_the_first_attempt():
    """A zone below its low mark is passed by while another one is above it."""
    zones = [Zone("DMA32", 0, 64), Zone("Normal", 64, 128)]
    machine = small(128, zones=zones, batch=1, high=1)
    machine.set_zone("Normal", min=10, low=50, high=60)
    machine.set_zone("DMA32", min=10, low=40, high=60)
    zone = ["Normal" if machine.alloc_pages() >= 64 else "DMA32" for _ in range(14 + 24 + 40 + 30)]
    # Down to 50, in the other zone to 40, then at the min mark: Normal first.
    assert zone == ["Normal"] * 14 + ["DMA32"] * 24 + ["Normal"] * 40 + ["DMA32"] * 30


def test_lowmem_reserve_keeps_a_lower_zone_from_requests_for_a_higher_one():
    zones = [Zone("DMA32", 0, 64), Zone("Normal", 64, 128)]
    machine = small(128, zones=zones, batch=1, high=1)
    machine.set_zone("DMA32", lowmem_reserve=[0, 0, 30, 30, 30, 30])
    assert sum(machine.alloc_pages() < 64 for _ in range(64 + 34)) == 34
    with pytest.raises(OutOfMemory):
        machine.alloc_pages()
    assert machine.alloc_pages(0, "GFP_DMA32") < 64


def test_the_counter_that_counts_is_that_of_the_row():
    machine = small(64)
    machine.words("zone_rows").reshape(-1, 24)[2, FREE] = 3
    assert not ok(machine, 0, 3)
