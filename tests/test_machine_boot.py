"""Boot for real: whatever the placement, what it keeps lies in the machine's own memory, and nothing else does."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import says
from hypothesis import given, settings
from hypothesis import strategies as st

import structpage as sp
from structpage import (
    BootstrapError,
    InvalidArgument,
    LimitExceeded,
    Machine,
    Memblock,
    OutOfMemory,
    OutOfRange,
    StructPageError,
    UnknownName,
    Zone,
)
from structpage.boot import zones_of
from structpage.boot.handover import SECTION
from structpage.core.words import LAYOUTS
from structpage.engines import ProbedEngine
from structpage.errors import must
from structpage.machine.booting import DESCRIPTOR_BYTES, LOWEST, OUTSIDE, TAKEN, memory_map
from structpage.placing import declared, placement_class, placement_names

PAGE = 4096
E820 = """
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x0000000001ffffff] usable
"""


def booted(placement="side-table", memory="16M", **options):
    if declared(placement_class(placement)).node_bytes:
        options = {"reserve": 64} | options
    return Machine.boot(memory, placement, **options)


def least(placement):
    return 8 * LAYOUTS[declared(placement_class(placement)).layout].words


def frames_of(row):
    return set(range(row["address"] // PAGE, -(-(row["address"] + row["bytes"]) // PAGE)))


@pytest.mark.parametrize("size", DESCRIPTOR_BYTES)
@pytest.mark.parametrize("placement", placement_names())
def test_what_is_taken_is_memory_that_nobody_is_given(placement, size):
    if size < least(placement):
        rule = must(f"descriptor_bytes for placement {placement}", "one of 64, 32, 16", size)
        with pytest.raises(InvalidArgument, match=says(rule)):
            booted(placement, descriptor_bytes=size)
        return
    machine = booted(placement, descriptor_bytes=size)
    rows = machine.boot_report.rows
    taken = set().union(*(frames_of(row) for row in rows if row["bytes"]))
    listed = {
        frame
        for order in range(machine.max_order + 1)
        for zone in machine.zones
        for pfn in machine.free_list(order, zone=zone.name)
        for frame in range(pfn, pfn + (1 << order))
    }
    assert not taken & listed
    assert min(listed) * PAGE >= LOWEST
    assert rows["bytes"][rows["what"] == "descriptors"].sum() == size * machine.pages.frames
    by_place = sorted((row["address"], row["address"] + row["bytes"]) for row in rows)
    assert all(below[1] <= above[0] or below[0] == above[0] for below, above in pairwise(by_place))
    machine.check()


@pytest.mark.parametrize("placement", placement_names())
def test_every_buffer_is_a_view_of_the_memory(placement):
    machine = booted(placement)
    rows = {row["what"]: row for row in machine.boot_report.rows}
    for name, words in machine.buffers.items():
        inside = np.shares_memory(words, machine.memory.words)
        assert inside == (name not in OUTSIDE), name
        if inside and name != "words":
            place = words.__array_interface__["data"][0] - machine.memory.words.__array_interface__["data"][0]
            assert (place, words.nbytes) == (rows[name]["address"], rows[name]["bytes"])
            assert place % 64 == 0


@pytest.mark.parametrize("placement", placement_names())
def test_it_serves_and_takes_back(placement):
    machine = booted(placement)
    free = machine.free_frames
    frames = [machine.alloc_pages(order) for order in (0, 0, 3, 0, 1, 5) * 20]
    for pfn in frames[::2] + frames[1::2]:
        machine.memory.fill(pfn, 0, 0xFF)  # what owners write reaches no table
        machine.free_pages(pfn)
    machine.drain()
    machine.check()
    nodes = 0 if machine.supply is None else machine.supply.total * machine.supply.node_bytes
    assert free - machine.free_frames <= 2 + nodes // 2000


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(range(6)), st.booleans()), min_size=10, max_size=60))
def test_a_booted_machine_hands_out_what_any_other_would(calls):
    """The same map, with the metadata outside: the same frames in the same order."""
    memblock = memory_map("16M")
    inside = Machine.boot(memory_map("16M"))
    for row in inside.boot_report.rows:
        memblock.reserve(int(row["address"]), int(row["bytes"]))
    outside = Machine(inside.pages.frames, zones=zones_of(memblock), start="reserved")
    from structpage.boot import free_all

    free_all(outside, memblock, deferred=False)
    outside.compute_sizes()
    held = []
    for order, frees in calls:
        if frees and held:
            pfn = held.pop(order % len(held))
            inside.free_pages(pfn)
            outside.free_pages(pfn)
        else:
            held.append(inside.alloc_pages(order))
            assert outside.alloc_pages(order) == held[-1]
    assert (inside.free_counts == outside.free_counts).all()


def test_the_report_tells_when_who_what_where_and_how_much():
    machine = booted("side-table")
    report = machine.boot_report
    assert report.rows.dtype == TAKEN
    assert report.rows[0]["when"] == "sparse_init"
    assert report.rows[0]["who"] == "memmap"
    assert report.by("memmap") == 16 * machine.pages.frames
    assert report.by("side-table") == machine.buffers["link"].nbytes
    assert report.taken == report.rows["bytes"].sum()
    assert np.allclose(report.rows["share"], report.rows["bytes"] / report.memory)
    values = report.as_dict()
    assert values["taken"] == report.taken == sum(row["bytes"] for row in values["rows"])
    assert "link" in str(report)
    assert "<table>" in report._repr_html_()


def test_holes_have_a_row_of_their_own():
    memblock = Memblock()
    memblock.add(1 << 20, 63 << 20, 0)
    memblock.add(1 << 30, 64 << 20, 0)
    report = Machine.boot(memblock).boot_report
    described = (128 << 20) + (64 << 20)  # the section of 128 MiB that the first is in, and the second to its end
    assert report.by("memmap") == described // PAGE * 16
    assert report.by("memmap of holes") == ((1 << 30) - (128 << 20)) // PAGE * 16


def test_deferred_memory_follows_when_nothing_else_would_do():
    full, late = Machine.boot("1G"), Machine.boot("1G", start="deferred")
    assert late.deferred_frames > 0
    assert late.free_frames + late.deferred_frames == full.free_frames
    early = late.free_frames
    frames = [late.alloc_pages(10) for _ in range(early // 1024 + 1)]
    deferred = full.free_frames - early
    assert deferred - 2 * SECTION < late.deferred_frames < deferred
    for pfn in frames:
        late.free_pages(pfn)
    late.hand_over_deferred()
    late.check()
    assert late.deferred_frames == 0
    assert (late.free_counts == full.free_counts).all()


def test_descriptors_of_a_map_of_firmware():
    machine = Machine.boot(E820)
    assert machine.memblock.is_reserved(int(machine.boot_report.rows["address"][0]))
    assert [zone.name for zone in machine.zones] == ["DMA", "DMA32"]


def test_iomem_as_text():
    machine = Machine.boot("00001000-00ffffff : System RAM\n  00200000-003fffff : Kernel code\n")
    assert machine.pages.frames == 4096
    assert machine.memblock.is_reserved(0x200000)


def test_touches_of_a_booted_machine_are_at_physical_addresses():
    engine = ProbedEngine(trace=True)
    machine = booted("side-table", engine=engine)
    engine.reset()
    machine.alloc_pages()
    rows = [row for row in machine.boot_report.rows if row["bytes"]]
    places = [(int(row["address"]), int(row["address"] + row["bytes"])) for row in rows]
    touched = [int(at) for at in engine.address_trace["address"] if at < machine.memory.words.nbytes]
    assert touched
    assert all(any(start <= at < end for start, end in places) for at in touched)
    link = next(row for row in rows if row["what"] == "link")
    assert any(link["address"] <= at < link["address"] + link["bytes"] for at in touched)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"memory": "1M"}, InvalidArgument, ("memory", "at least 4194304", 1 << 20)),
        ({"memory": "many"}, InvalidArgument, ("memory", "a size such as 512M or 4G", "'many'")),
        (
            {"descriptor_bytes": 48},
            InvalidArgument,
            ("descriptor_bytes for placement side-table", "one of 64, 32, 16", 48),
        ),
        ({"reserve": 5}, InvalidArgument, ("reserve", "0 for placement side-table, which has no nodes", 5)),
        ({"reserve": -1}, InvalidArgument, ("reserve", "at least 0", -1)),
        ({"start": "reserved"}, UnknownName, ("start", "one of free, deferred", "'reserved'")),
        (
            {"placement": "slab-nodes", "nodes": "sometimes", "reserve": 20},
            UnknownName,
            ("nodes", "one of at-allocation, while-freeing, freed-page, reserve", "'sometimes'"),
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    arguments = {"memory": "16M"} | arguments
    with pytest.raises(error, match=says(must(*message))):
        Machine.boot(arguments.pop("memory"), **arguments)


@settings(max_examples=20)
@given(st.integers(4 << 20, 40 << 20))
def test_a_size_need_not_be_whole_pages(size):
    machine = Machine.boot(size)
    assert machine.boot_report.memory <= size
    machine.check()


@pytest.mark.parametrize(
    ("zones", "error"),
    [
        ([], InvalidArgument),
        ("x", InvalidArgument),
        (5, InvalidArgument),
        ([Zone("Normal", 0, 100)], InvalidArgument),
        ([Zone("Normal", 0, 32768)], OutOfRange),
        ([Zone("Wrong", 0, 4096)], UnknownName),
    ],
)
def test_zones_that_are_not_of_the_memory(zones, error):
    with pytest.raises(error):
        Machine.boot("16M", zones=zones)


@pytest.mark.parametrize(
    ("placement", "options"),
    [
        ("slab-nodes", {}),
        ("side-table", {"cpus": 0}),
        ("side-table", {"descriptor_bytes": 5}),
        ("slab-nodes", {"nodes": "never"}),
        ("side-table", {"nodes": "never"}),
    ],
)
def test_a_boot_that_fails_leaves_the_memory_map_as_it_was(placement, options):
    memblock = memory_map("16M")
    before = memblock.memory, memblock.reserved
    with pytest.raises(StructPageError):
        Machine.boot(memblock, placement, **options)
    assert (memblock.memory, memblock.reserved) == before


def test_regions_are_whole_pages():
    memblock = Memblock()
    memblock.add(0, (16 << 20) + 100, 0)
    message = must("regions of memory", "whole pages to boot from, see trim_memory", "[0x0, 0x1000064)")
    with pytest.raises(InvalidArgument, match=says(message)):
        Machine.boot(memblock)
    memblock.trim_memory(PAGE)
    Machine.boot(memblock).check()


def test_memory_without_room_for_its_own_descriptors():
    memblock = Memblock()
    memblock.add(0, 8 << 20, 0)
    memblock.reserve(0, (8 << 20) - (64 << 10))
    with pytest.raises(OutOfMemory):
        Machine.boot(memblock, descriptor_bytes=64)


def test_a_layout_that_does_not_reach():
    with pytest.raises(LimitExceeded):
        Machine.boot("2T", "one-word", start="deferred")


def test_zones_of_ones_own():
    machine = Machine.boot("32M", zones=[Zone("Normal", 0, 8192)])
    assert [zone.name for zone in machine.zones] == ["Normal"]
    assert sp.Machine is Machine
    assert issubclass(BootstrapError, RuntimeError)
