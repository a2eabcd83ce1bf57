"""Sizes as the kernel computes them: the table in its source, hand-computed cases, and what real kernels printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_helpers import REAL

from structpage import Machine, Tuning, Zone, sizing
from structpage.procfs import parse_zoneinfo

MB = 256
GB = 1024 * MB


@pytest.mark.parametrize(
    ("megabytes", "kbytes"),
    [(1, 128), (16, 512), (32, 724), (64, 1024), (128, 1448), (256, 2048), (512, 2896), (1024, 4096), (2048, 5792),
     (4096, 8192), (8192, 11585), (16384, 16384), (65536, 32768), (262144, 65536), (1 << 20, 131072), (4 << 20, 262144),
     (8 << 20, 262144)],
)  # fmt: skip
def test_min_free_kbytes(megabytes, kbytes):
    assert sizing.min_free_kbytes(megabytes << 10) == kbytes


def test_khugepaged_keeps_eleven_pageblocks_of_each_zone_but_no_more_than_a_twentieth():
    assert sizing.khugepaged_min_free_kbytes(3, 16 * GB) == 4 * 512 * 3 * (2 + 9)
    assert sizing.khugepaged_min_free_kbytes(2, 100_000) == 4 * 5000
    assert sizing.khugepaged_min_free_kbytes(1, GB, pageblock_order=3) == 4 * 8 * 11


def test_watermarks_of_one_zone_of_16_gigabytes():
    assert sizing.watermarks(16384, 16 * GB, 16 * GB) == (4096, 8290, 12484)


def test_watermarks_share_what_is_kept_free_by_size():
    assert sizing.watermarks(4000, 250, 1000) == (250, 312, 374)  # a quarter of the min is more than 0.1 %
    assert sizing.watermarks(4000, 250, 1000, scale=3000) == (250, 325, 400)
    assert sizing.watermarks(4000, 100_000, 1_000_000, high=True) == (97, 197, 297)
    assert sizing.watermarks(4000, 1000, 1_000_000, high=True) == (32, 33, 34)
    assert sizing.watermarks(4000, 1 << 20, 1 << 30, high=True)[0] == 128
    assert sizing.watermarks(4000, 0, 0) == (0, 0, 0)


def test_lowmem_reserve_by_hand():
    managed = [4000, 500_000, 2_000_000, 0, 100_000, 0]
    rows = sizing.lowmem_reserve(managed, (256, 256, 32, 0, 0, 0))
    assert rows[0] == (0, 1953, 9765, 9765, 10156, 10156)
    assert rows[1] == (0, 0, 7812, 7812, 8203, 8203)
    assert rows[2] == (0, 0, 0, 0, 3125, 3125)
    assert rows[3:] == [(0,) * 6] * 3
    assert sizing.lowmem_reserve([0, 10], (1, 1)) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("managed", "batch"),
    [(16 * MB, 1), (20 * MB, 1), (128 * MB, 7), (256 * MB, 15), (1 * GB, 63), (64 * GB, 63), (0, 1)],
)
def test_batch(managed, batch):
    assert sizing.percpu_batch(managed) == batch


def test_high():
    assert sizing.percpu_high(8290, 16 * GB, 8, 63) == 1036
    assert sizing.percpu_high(1000, 16 * GB, 8, 63) == 252
    assert sizing.percpu_high(8290, 16 * GB, 8, 63, fraction=8) == 65536


@pytest.mark.parametrize(
    ("megabytes", "cpus", "threshold"),
    [(950, 1, 8), (950, 2, 16), (1500, 2, 20), (3000, 2, 24), (6000, 2, 28), (12000, 2, 32), (100, 2, 4), (3000, 4, 36),
     (12000, 4, 48), (1500, 8, 40), (100, 16, 10), (900, 16, 40), (12000, 1024, 125)],
)  # fmt: skip
def test_threshold(megabytes, cpus, threshold):
    assert sizing.normal_threshold(megabytes * MB, cpus) == threshold


def test_threshold_under_pressure():
    assert sizing.pressure_threshold(8290, 4096, 8) == 125
    assert sizing.pressure_threshold(400, 200, 8) == 25
    assert sizing.pressure_threshold(200, 200, 8) == 1


def test_a_machine_without_khugepaged():
    zone = Zone("Normal", 0, 16 * GB)
    found = sizing.sizes([zone], [16 * GB], [0] * 8, Tuning(thp=False))
    assert found == [sizing.Sizes(4096, 8290, 12484, (0,) * 6, 63, 1036, 72)]


def test_khugepaged_looks_above_the_marks_that_there_are():
    zone = Zone("Normal", 0, 100_000)
    marks = sizing.sizes([zone], [100_000], [0], Tuning(thp=False))[0]
    raised = sizing.sizes([zone], [100_000], [0], Tuning())[0]
    assert marks.min == sizing.min_free_kbytes(400_000) // 4 == 632
    assert raised.min == (100_000 - marks.high) // 20


def test_only_a_machine_with_high_memory_has_any():
    zones = [Zone("Normal", 0, 1000), Zone("Movable", 1000, 101_000)]
    without = sizing.sizes(zones, [1000, 100_000], [0], Tuning(min_free_kbytes=4040))
    assert [size.min for size in without] == [10, 1000]
    zones = [Zone("Normal", 0, 1000), Zone("HighMem", 1000, 2000), Zone("Movable", 2000, 102_000)]
    with_it = sizing.sizes(zones, [1000, 1000, 100_000], [0], Tuning(min_free_kbytes=4040))
    assert [size.min for size in with_it] == [1010, 32, 97]


def test_high_marks_are_shared_by_the_cpus_of_the_node():
    zones = [Zone("Normal", 0, GB), Zone("Normal", GB, 2 * GB, 1), Zone("Normal", 2 * GB, 3 * GB, 2)]
    found = sizing.sizes(zones, [GB] * 3, [0, 0, 0, 1], Tuning())
    assert [size.pcp_high for size in found] == [found[0].low // 3, found[0].low, found[0].low // 4]


@given(managed=st.integers(0, 1 << 32), cpus=st.integers(1, 512), low=st.integers(0, 1 << 20))
def test_bounds(managed, cpus, low):
    batch = sizing.percpu_batch(managed)
    assert batch in (1, 3, 7, 15, 31, 63)
    assert sizing.percpu_high(low, managed, cpus, batch) >= 4 * batch
    assert 2 <= sizing.normal_threshold(managed, cpus) <= 125


@pytest.mark.parametrize("folder", REAL)
def test_what_a_real_kernel_computed(folder):
    """Distances of watermarks, per-CPU limits and thresholds follow from min watermark, managed pages and CPUs."""
    zones = [zone for zone in parse_zoneinfo((folder / "zoneinfo").read_text("utf-8")) if zone.pagesets]
    for zone in zones:
        cpus = len(zone.pagesets)
        gap = max(zone.min // 4, zone.managed * 10 // 10000)
        batch = sizing.percpu_batch(zone.managed)
        high = sizing.percpu_high(zone.low, zone.managed, cpus // len({other.node for other in zones}), batch)
        assert (zone.low, zone.high) == (zone.min + gap, zone.min + 2 * gap)
        for pageset in zone.pagesets:
            threshold = sizing.normal_threshold(zone.managed, cpus)
            assert (pageset.batch, pageset.high, pageset.threshold) == (batch, high, threshold)


def test_a_machine_has_the_sizes_of_its_kernel():
    machine = Machine(16 * GB >> 4, zones=[Zone("Normal", 0, 16 * GB >> 4)], cpus=8, tuning=Tuning(thp=False))
    row, sets = machine.zone_table[0], machine.percpu_table
    size = sizing.sizes(machine.zones, [GB], [0] * 8, Tuning(thp=False))[0]
    assert (row["min"], row["low"], row["high"], row["threshold"]) == (size.min, size.low, size.high, size.threshold)
    assert set(sets["batch"].tolist()) == {63}
    assert set(sets["pcp_high"].tolist()) == {size.pcp_high}
