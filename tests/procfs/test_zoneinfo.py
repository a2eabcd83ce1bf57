"""/proc/zoneinfo: the values of real zones, and what the kernels print and others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from procfs_text import FOLDERS, sample

from structpage.procfs import Pageset, format_zoneinfo, parse_zoneinfo
from structpage.zones import ZONE_NAMES


def zone_of(zones, node, name):
    return next(zone for zone in zones if (zone.node, zone.zone) == (node, name))


def test_a_real_zone_of_6_1():
    zones = parse_zoneinfo(sample("zoneinfo"))
    normal = zone_of(zones, 0, "Normal")
    assert (normal.free, normal.boost, normal.min, normal.low, normal.high, normal.promo) == (
        30405, 0, 3114, 3892, 4670, None,
    )  # fmt: skip
    assert (normal.spanned, normal.present, normal.managed, normal.cma) == (65536, 65536, 63380, 0)
    assert normal.protection == (0, 0, 0, 0, 0)
    assert normal.counters[0] == ("nr_free_pages", 30405)
    assert normal.counters[-1] == ("numa_other", 25188)
    assert normal.pagesets == (
        Pageset(0, 3810, 3892, 15, threshold=8),
        Pageset(1, 0, 3892, 15, threshold=8),
    )
    assert (normal.node_unreclaimable, normal.start_pfn, normal.reserved_highatomic) == (0, 1048576, None)


def test_a_real_zone_of_6_18():
    zones = parse_zoneinfo(sample("zoneinfo", "6.18"))
    dma = zone_of(zones, 0, "DMA")
    assert (dma.min, dma.low, dma.high, dma.promo) == (10, 13, 16, 19)
    assert dma.pagesets[0] == Pageset(0, 0, 0, 1, high_min=6, high_max=240, threshold=4)
    movable = zone_of(zones, 0, "Movable")
    assert (movable.present, movable.promo, movable.start_pfn) == (0, 32, None)


def test_all_zones_are_there_and_nodes_have_their_stats_once():
    zones = parse_zoneinfo(sample("zoneinfo"))
    of_a_node = [name for name in ZONE_NAMES if name != "HighMem"]
    assert [(zone.node, zone.zone) for zone in zones] == [(node, name) for node in (0, 1) for name in of_a_node]
    assert [(zone.node, zone.zone) for zone in zones if zone.node_stats] == [(0, "DMA"), (1, "Normal")]
    assert all((zone.present > 0) == (zone.start_pfn is not None) == bool(zone.pagesets) for zone in zones)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_sizes_of_a_zone_go_together(folder):
    for zone in parse_zoneinfo((folder / "zoneinfo").read_text("utf-8")):
        assert zone.spanned >= zone.present >= zone.managed >= zone.free
        assert zone.low - zone.min == zone.high - zone.low
        assert dict(zone.counters).get("nr_free_pages", 0) == zone.free
        assert len(zone.protection) == len(ZONE_NAMES) - 1


TEXT = """\
Node 0, zone   Normal
  per-node stats
      nr_dirty     7
  pages free     1
        boost    2
        min      3
        low      4
        high     5
        promo    6
        spanned  10
        present  10
        managed  10
        cma      0
        protection: (0, 12)
      nr_free_pages 1
  pagesets
    cpu: 0
              count:    1
              high:     2
              batch:    3
              high_min: 4
              high_max: 5
  vm stats threshold: 6
  node_unreclaimable:  0
  start_pfn:           1048576
  reserved_highatomic: 512
  free_highatomic:     44
Node 0, zone  Movable
  pages free     0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
        protection: (0, 0)
"""


def test_everything_that_7_3_prints_and_all_that_may_be_missing():
    full, empty = parse_zoneinfo(TEXT)
    assert (full.reserved_highatomic, full.free_highatomic) == (512, 44)
    assert (empty.boost, empty.promo, empty.cma, empty.counters) == (None, None, None, ())
    assert format_zoneinfo([full, empty]) == TEXT


@pytest.mark.parametrize("field", ["boost", "promo", "cma", "reserved_highatomic", "free_highatomic"])
def test_what_a_kernel_does_not_print_is_none(field):
    full, _ = parse_zoneinfo(TEXT)
    without = replace(full, **{field: None})
    text = format_zoneinfo([without])
    assert field not in text
    assert text.count("\n") == format_zoneinfo([full]).count("\n") - 1
    assert parse_zoneinfo(text) == (without,)
