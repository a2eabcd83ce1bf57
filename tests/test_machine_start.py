"""Machines made from the text files of a kernel: the files are true of them, and they go on from there."""

from __future__ import annotations

import json
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import says
from hypothesis import assume, given
from hypothesis import strategies as st
from machine_helpers import REAL, free_lists, plans, small, whole_state

from structpage import InvalidArgument, Machine, OutOfMemory, TraceError, Zone
from structpage.core.words import TYPE_NAMES
from structpage.procfs import format_pagetypeinfo, format_zoneinfo, parse_pagetypeinfo, parse_zoneinfo

SAMPLE = REAL[0].values[0]


def read(folder, name):
    return (folder / name).read_text("utf-8")


@pytest.mark.parametrize("folder", REAL)
@pytest.mark.parametrize("seed", [None, 3])
def test_all_three_files_are_true(folder, seed):
    zoneinfo, lists, counts = (read(folder, name) for name in ("zoneinfo", "pagetypeinfo", "buddyinfo"))
    machine = Machine.from_proc(zoneinfo=zoneinfo, pagetypeinfo=lists, seed=seed)
    assert machine.zoneinfo() == zoneinfo
    assert machine.pagetypeinfo() == lists
    machine.check()
    machine = Machine.from_proc(zoneinfo=zoneinfo, buddyinfo=counts, seed=seed)
    assert machine.zoneinfo() == zoneinfo
    assert machine.buddyinfo() == counts
    machine.check()


def test_it_goes_on_from_there():
    machine = Machine.from_proc(zoneinfo=read(SAMPLE, "zoneinfo"), pagetypeinfo=read(SAMPLE, "pagetypeinfo"))
    pfns = [machine.alloc_pages(order % 10, "GFP_HIGHUSER_MOVABLE", order % machine.cpus) for order in range(60)]
    machine.free_pages(pfns[3])
    used = next(pfn for pfn in range(5000, 60000) if machine.pages[pfn].state == "reserved")
    machine.free_pages(used)
    machine.check()
    before, now = parse_zoneinfo(read(SAMPLE, "zoneinfo")), parse_zoneinfo(machine.zoneinfo())
    assert before != now
    unknown = [[dict(zone.counters) | {"nr_free_pages": 0} for zone in info] for info in (before, now)]
    assert unknown[0] == unknown[1]
    assert [zone.node_stats for zone in before] == [zone.node_stats for zone in now]


def test_free_blocks_lie_in_pageblocks_of_their_type_as_far_as_those_go():
    machine = Machine.from_proc(zoneinfo=read(SAMPLE, "zoneinfo"), pagetypeinfo=read(SAMPLE, "pagetypeinfo"))
    blocks = [
        (pfn, mt)
        for zone in machine.zones
        for (_, mt), pfns in free_lists(machine, zone.name, zone.node).items()
        for pfn in pfns
    ]
    alike = sum(machine.pageblock_types[pfn >> 9] == mt for pfn, mt in blocks)
    assert alike > 0.9 * len(blocks)


def test_a_seed_is_a_layout():
    files = {"zoneinfo": read(SAMPLE, "zoneinfo"), "pagetypeinfo": read(SAMPLE, "pagetypeinfo")}
    states = [whole_state(Machine.from_proc(**files, seed=seed)) for seed in (None, None, 1, 1, 2)]
    assert states[0] == states[1]
    assert states[2] == states[3]
    assert states[0]["free"] != states[2]["free"] != states[4]["free"]


@given(plan=plans(max_frames=96), data=st.data(), seed=st.none() | st.integers(0, 99))
def test_what_a_machine_says_is_true_of_the_machine_made_from_it(plan, data, seed):
    """Files of a machine after some requests, whose zones have memory and do not share a pageblock."""
    machine = plan.build()
    size = 1 << machine.pageblock_order
    assume(all(zone.present() for zone in machine.zones))
    assume(not any(zone.start % size for zone in machine.zones if zone.start))
    assume(not any(zone.end % size for zone in machine.zones if zone.end < plan.frames))
    live = []
    for _ in range(data.draw(st.integers(0, 12))):
        order = data.draw(st.integers(0, machine.max_order))
        gfp = data.draw(st.sampled_from(["GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC"]))
        try:
            live.append(machine.alloc_pages(order, gfp))
        except OutOfMemory:
            if live:
                machine.free_pages(live.pop(0))
    machine.drain()
    machine.fold()
    text = machine.zoneinfo(), machine.pagetypeinfo()
    again = Machine.from_proc(zoneinfo=text[0], pagetypeinfo=text[1], seed=seed, cpu_node=machine.cpu_node)
    again.check()
    assert (again.zoneinfo(), again.pagetypeinfo()) == text


def files(*, blocks=((0,) * 6, (0, 0, 0, 1, 0, 0)), pageblocks=(1, 1), count=0, cpus=1):
    """The files of a machine with one zone of 16 frames, pageblocks of 8."""
    machine = small(16, cpus=cpus)
    lists = parse_pagetypeinfo(machine.pagetypeinfo())[0]
    free = (*blocks, *lists.free[2:])
    infos = [
        replace(info, pagesets=tuple(replace(pageset, count=count) for pageset in info.pagesets))
        for info in parse_zoneinfo(machine.zoneinfo())
    ]
    told = replace(lists, free=free, blocks=(*pageblocks, *lists.blocks[2:]))
    return {"zoneinfo": format_zoneinfo(infos), "pagetypeinfo": format_pagetypeinfo([told])}


def test_frames_that_wait_are_of_the_type_of_their_pageblock():
    machine = Machine.from_proc(**files(count=2, cpus=2, blocks=((0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0))))
    machine.check()
    assert free_lists(machine) == {(2, 1): [8]}
    assert [machine.percpu_lists(cpu)[0] for cpu in range(2)] == [[0, 1], [2, 3]]
    assert machine.pageblock_types.tolist() == [0, 1]


def test_of_two_pageblocks_of_different_types_not_both_are_free():
    """They would have merged: so of a whole pageblock the lower one is taken, though it is of another type."""
    machine = Machine.from_proc(**files())
    assert free_lists(machine) == {(3, 1): [0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pagetypeinfo": None}, "free lists must be told by either pagetypeinfo or buddyinfo, not neither"),
        ({"buddyinfo": "x"}, "free lists must be told by either pagetypeinfo or buddyinfo, not both"),
        (files(blocks=((0, 0, 0, 2, 0, 0), (0, 0, 0, 1, 0, 0))),
         "free blocks of range [0, 16) must be such as fit into it, not 24 frames"),
        (files(count=9), "frames on lists of CPU 0 must be 9 in use, not 8 left of zone Normal"),
        ({"seed": "x"}, "seed must be an int, not 'x'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(change, message):
    with pytest.raises(InvalidArgument, match=says(message)):
        Machine.from_proc(**(files() | change))


def test_zones_must_be_the_same():
    other = Machine(64, zones=[Zone("DMA", 0, 64)]).pagetypeinfo()
    with pytest.raises(InvalidArgument, match=r"^zones of the free lists must be those of zoneinfo, "):
        Machine.from_proc(zoneinfo=files()["zoneinfo"], pagetypeinfo=other)
    with pytest.raises(TraceError):
        Machine.from_proc(zoneinfo="Node 0", pagetypeinfo=other)


# The hand-over of a real boot


@pytest.mark.parametrize("name", ["boot_61_256"])
def test_memory_of_a_real_boot_is_handed_over_to_the_same_lists(name):
    shared = Path(__file__).resolve().parents[2] / "shared" / "captures"
    folder = Path(os.environ.get("STRUCTPAGE_CAPTURES", shared)) / name
    if not folder.is_dir():
        pytest.skip(f"no capture {name}; set STRUCTPAGE_CAPTURES")
    memblock = json.loads((folder / "memblock.json").read_text("utf-8"))
    recorded = json.loads(lzma.decompress((folder / "freelists.json.xz").read_bytes()))["nodes"][0]["zones"]
    told = [zone for zone in recorded if zone["present"]]
    bounds = [(zone["name"], zone["start_pfn"], zone["start_pfn"] + zone["spanned"]) for zone in told]
    ranges = {
        kind: [(region["base"], region["base"] + region["size"]) for region in memblock[kind]["regions"]]
        for kind in ("memory", "reserved")
    }
    exist = [(-(-start // 4096), end // 4096) for start, end in ranges["memory"]]
    machine = Machine(
        bounds[-1][2], zones=[Zone(n, s, e, 0, tuple(gaps(exist, s, e))) for n, s, e in bounds], start="reserved"
    )
    for start, end in ranges["memory"]:
        below = start
        for first, last in [*sorted(ranges["reserved"]), (end, end)]:
            pfn, stop = -(-below // 4096), min(first, end) // 4096
            for _, zone_start, zone_end in bounds:
                if max(pfn, zone_start) < min(stop, zone_end):
                    machine.release(max(pfn, zone_start), min(stop, zone_end) - max(pfn, zone_start))
            below = max(below, last)
    machine.check()
    for zone in told:
        assert machine.zone_table[machine.zone_table["zone"] == zone["name"]][["managed", "present"]].tolist() == [
            (zone["managed"], zone["present"])
        ]
        for area in zone["free_area"]:
            found = {mt: machine.free_list(area["order"], zone=zone["name"], migratetype=mt) for mt in range(6)}
            assert found == {mt: area["lists"].get(name, []) for mt, name in enumerate(TYPE_NAMES)}
        first = zone["pageblock_first"]
        assert machine.pageblock_types[first:][: len(zone["pageblocks"])].tolist() == zone["pageblocks"]


def gaps(exist, start, end):
    """The ranges of [start, end) that do not exist."""
    for first, stop in [*exist, (end, end)]:
        if start < min(first, end):
            yield start, min(first, end)
        start = max(start, stop)
