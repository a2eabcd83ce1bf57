"""/proc/pagetypeinfo: the sections belong together, and to buddyinfo; counts cut short; mixed blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from procfs_text import FOLDERS, parse, sample

from structpage.procfs import MOST_COUNTED, PageTypeInfo, format_pagetypeinfo, parse_pagetypeinfo

SMALL = PageTypeInfo(1, "Normal", 9, ("Unmovable", "CMA"), ((1, 23), (4, 5)), (6, 7), (8, 9))


def test_the_sections_of_a_real_file():
    zones = parse_pagetypeinfo(sample("pagetypeinfo"))
    assert [(zone.node, zone.zone) for zone in zones] == [(0, "DMA"), (0, "DMA32"), (0, "Normal"), (1, "Normal")]
    assert {zone.block_order for zone in zones} == {9}
    assert {zone.types for zone in zones} == {("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")}
    assert zones[2].free[0] == (91, 84, 73, 60, 30, 11, 2, 1, 0, 1, 0)
    assert zones[2].blocks == (65, 61, 2, 0, 0)
    assert zones[2].mixed is None


def test_all_types_together_are_what_buddyinfo_counts():
    counts = [zone.counts for zone in parse("buddyinfo", sample("buddyinfo"))]
    free = [np.sum(zone.free, axis=0).tolist() for zone in parse_pagetypeinfo(sample("pagetypeinfo"))]
    assert free == [list(row) for row in counts]


@pytest.mark.parametrize("folder", FOLDERS)
def test_pageblocks_are_those_of_the_present_pages(folder):
    """A zone has as many pageblocks as its present pages need, or one more where they start within one."""
    zones = parse("zoneinfo", (folder / "zoneinfo").read_text("utf-8"))
    present = {(zone.node, zone.zone): zone.present for zone in zones}
    for zone in parse_pagetypeinfo((folder / "pagetypeinfo").read_text("utf-8")):
        needed = -(-present[zone.node, zone.zone] // (1 << zone.block_order))
        assert needed <= sum(zone.blocks) <= needed + 1


def test_text_of_a_small_machine():
    assert format_pagetypeinfo([SMALL]) == (
        "Page block order: 9\n"
        "Pages per block:  512\n"
        "\n"
        "Free pages count per migrate type at order       0      1 \n"
        "Node    1, zone   Normal, type    Unmovable      1     23 \n"
        "Node    1, zone   Normal, type          CMA      4      5 \n"
        "\n"
        "Number of blocks type     Unmovable          CMA \n"
        "Node 1, zone   Normal            6            7 \n"
        "\n"
        "Number of mixed blocks    Unmovable          CMA \n"
        "Node 1, zone   Normal            8            9 \n"
    )


@pytest.mark.parametrize(
    ("count", "shown", "read"),
    [(99_999, "  99999", 99_999), (100_000, " >100000", MOST_COUNTED), (7_654_321, " >100000", MOST_COUNTED)],
)
def test_a_count_is_cut_short_as_the_kernel_does(count, shown, read):
    text = format_pagetypeinfo([replace(SMALL, free=((0, count), (0, 0)))])
    assert f"type    Unmovable      0{shown} \n" in text
    assert parse_pagetypeinfo(text)[0].free[0] == (0, read)
