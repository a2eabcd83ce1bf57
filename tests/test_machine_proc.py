"""A machine's text files, when nobody told it any: those of a kernel of the same version and zones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machine_helpers import REAL, small

from structpage import Machine, Zone
from structpage.procfs import parse_buddyinfo, parse_pagetypeinfo, parse_zoneinfo

SAMPLE = REAL[0].values[0]


def test_the_lines_are_those_of_a_real_kernel():
    """All but the numbers: the same counters of the same name in the same order, for the same zones."""
    real = parse_zoneinfo((SAMPLE / "zoneinfo").read_text("utf-8"))
    zones = [
        Zone(zone.zone, zone.start_pfn, zone.start_pfn + zone.spanned, zone.node) for zone in real if zone.pagesets
    ]
    cpus = max(len(zone.pagesets) for zone in real)
    machine = Machine(zones[-1].end, zones=zones, cpus=cpus, start="reserved", stamp="head")
    said = parse_zoneinfo(machine.zoneinfo())
    assert [shape(zone) for zone in said] == [shape(zone) for zone in real]


def shape(zone):
    return (
        zone.node,
        zone.zone,
        [name for name, _ in zone.node_stats],
        [name for name, _ in zone.counters],
        len(zone.protection),
        len(zone.pagesets),
        zone.start_pfn,
        zone.spanned,
        zone.boost is None,
        zone.promo is None,
        zone.cma is None,
    )


def test_the_numbers_are_those_of_the_machine():
    zones = [Zone("DMA32", 0, 64, holes=((8, 16),)), Zone("Normal", 64, 128), Zone("Normal", 128, 192, 1)]
    machine = small(192, zones=zones, cpus=2, threshold=7)
    machine.set_zone("DMA32", min=5, low=6, high=7, boost=3, lowmem_reserve=[0, 1, 2, 3, 4, 5])
    machine.alloc_pages(0, "GFP_DMA32|__GFP_MOVABLE", 1)
    said = {(zone.node, zone.zone): zone for zone in parse_zoneinfo(machine.zoneinfo())}
    zone = said[0, "DMA32"]
    assert (zone.free, zone.min, zone.low, zone.high, zone.boost) == (56, 5, 6, 7, 3)
    assert (zone.spanned, zone.present, zone.managed, zone.start_pfn) == (64, 56, 56, 0)
    assert zone.protection == (0, 1, 2, 4, 5)  # HighMem is not there
    assert [(pageset.count, pageset.high, pageset.batch, pageset.threshold) for pageset in zone.pagesets] == [
        (0, 16, 4, 7),
        (3, 16, 4, 7),
    ]
    machine.fold()
    assert dict(parse_zoneinfo(machine.zoneinfo())[1].counters)["nr_free_pages"] == 52
    assert said[1, "DMA32"] == replace(said[1, "DMA"], zone="DMA32")
    assert [key for key in said if said[key].node_stats] == [(0, "DMA32"), (1, "Normal")]


def test_high_memory_is_told_where_there_is_any():
    machine = small(128, zones=[Zone("Normal", 0, 64), Zone("HighMem", 64, 128)])
    machine.set_zone("Normal", lowmem_reserve=[0, 1, 2, 3, 4, 5])
    said = parse_zoneinfo(machine.zoneinfo())
    assert [zone.zone for zone in said] == ["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"]
    assert said[2].protection == (0, 1, 2, 3, 4, 5)


def test_a_counter_below_zero_is_shown_as_zero():
    machine = small(64)
    machine.words("zone_rows")[2 * 24 + 5] = -3
    assert parse_zoneinfo(machine.zoneinfo())[2].free == 0


@pytest.mark.parametrize("cma", [False, True])
def test_lists_and_pageblocks(cma):
    machine = small(64, zones=[Zone("Normal", 3, 61)], cma=cma)
    machine.alloc_pages(0)
    info = parse_pagetypeinfo(machine.pagetypeinfo())[0]
    assert info.types == ("Unmovable", "Movable", "Reclaimable", "HighAtomic", *(["CMA"] if cma else []), "Isolate")
    for order, counts in enumerate(zip(*info.free, strict=True)):
        assert sum(counts) == parse_buddyinfo(machine.buddyinfo())[0].counts[order]
    assert info.block_order == 3
    assert sum(info.blocks) == 8  # at 3, 11, ..., 59
    assert info.blocks[:2] == (1, 7)  # whose first frame does not exist


def test_sections_that_do_not_exist_have_no_pageblocks():
    """Of a hole, what lies in a section of something belongs to the zone above it: here nobody's."""
    zones = [
        Zone("DMA", 1, 4096, holes=((159, 256),)),
        Zone("DMA32", 4096, 1 << 20, holes=((49152, 1 << 20),)),
        Zone("Normal", 1 << 20, (1 << 20) + 81920),
    ]
    machine = Machine(zones[-1].end, zones=zones, start="reserved", stamp="head")
    blocks = [zone.blocks for zone in parse_pagetypeinfo(machine.pagetypeinfo())]
    assert [counts[:2] for counts in blocks] == [(1, 7), (0, 88), (0, 160)]
