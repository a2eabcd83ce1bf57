"""Captures that cannot be replayed, and names that do not exist: typed, and in the one grammar."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from helpers import says
from recorded_kernel import kernel

from structpage import InvalidArgument, TraceError, UnknownName
from structpage.core.buffers import Declaration
from structpage.core.placements import BUILTIN
from structpage.core.placements.side_table import SideTable
from structpage.fidelity import replay_capture


@pytest.fixture(scope="module")
def capture():
    recorder = kernel(3)
    for _ in range(60):
        recorder.act()
    recorder.drain(recorder.machine.zones[0])
    recorder.bulk(3, "GFP_KERNEL")
    return recorder.capture()


def with_zone(capture, **fields):
    """The capture with other fields of its first zone; `None` takes one away."""
    before = copy.deepcopy(capture.before)
    zone = before["nodes"][0]["zones"][0]
    for name, value in fields.items():
        if value is None:
            del zone[name]
        else:
            zone[name] = value
    return replace(capture, before=before)


def without_field(capture, kind, name):
    table = capture.events.details[kind]
    names = [one for one in table.dtype.names if one != name]
    details = capture.events.details | {kind: np.array(table[names].tolist(), [(n, table.dtype[n]) for n in names])}
    return replace(capture, events=replace(capture.events, details=details))


@pytest.mark.parametrize(
    "missing", ["pcp", "managed", "watermark", "nr_free_pages_counter", "lowmem_reserve", "pageblocks", "present"]
)
def test_a_capture_without_what_a_machine_starts_from(capture, missing):
    message = f"capture synthetic must be free lists with zones, counters and per-CPU lists, not KeyError '{missing}'"
    with pytest.raises(TraceError, match=says(message)):
        replay_capture(with_zone(capture, **{missing: None}), engine="plain")


def test_a_capture_whose_trace_has_more_cpus_than_its_lists(capture):
    cpu = capture.events.cpu.copy()
    cpu[-1] = 2
    message = "capture synthetic must be one with per-CPU lists of CPU 2, which is in its trace, not of 1 CPUs"
    with pytest.raises(TraceError, match=says(message)):
        replay_capture(replace(capture, events=replace(capture.events, cpu=cpu)), engine="plain")


def test_a_capture_without_zones_or_cpus(capture):
    for bad in (replace(capture, before={"nodes": []}), replace(capture, before={"nodes": [{"node": 0, "zones": []}]})):
        with pytest.raises(TraceError, match=r"^capture synthetic must be free lists with zones"):
            replay_capture(bad, engine="plain", requests="kmem")


def test_a_drain_of_a_zone_that_nobody_knows(capture):
    zone = capture.before["nodes"][0]["zones"][0]
    message = f"zone of a drain must be one whose address the free lists tell, not {hex(zone['addr'] - (1 << 64))}"
    with pytest.raises(TraceError, match=says(message)):
        replay_capture(with_zone(capture, addr=1), engine="plain")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("drainz", "cpu"), ("drainz", "zone"), ("bulk", "gfp"), ("bulk_r", "n"), ("freeone", "pfn"), ("bal", "hz")],
)
def test_a_line_without_its_field(capture, kind, name):
    if kind not in capture.events.details:
        recorder = kernel(3)
        if kind == "freeone":
            recorder.free_directly(recorder.alloc(0, "GFP_KERNEL"))
        with recorder.balance(2):
            pass
        capture = recorder.capture()
    with pytest.raises(TraceError, match=says(f"event {kind} must be one with {name}=, not one without")):
        replay_capture(without_field(capture, kind, name), engine="plain")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests": "all"}, "requests must be one of hints, kmem, not 'all'"),
        ({"engine": "quick"}, "engine must be one of plain, compiled, probed, checked, not 'quick'"),
        (
            {"placement": "tree"},
            f"placement must be one of {', '.join(BUILTIN)}, a class, or module:Class, not 'tree'",
        ),
    ],
)
def test_names_that_do_not_exist(capture, options, message):
    with pytest.raises(UnknownName, match=says(message)):
        replay_capture(capture, **options)


def test_a_placement_that_does_not_keep_the_order_of_its_lists(capture):
    class Heap(SideTable):
        __slots__ = ()

        @staticmethod
        def declares():
            return Declaration(keeps_order=False)

    message = f"placement must be one that keeps the order of its lists, not {Heap!r}"
    with pytest.raises(InvalidArgument, match=says(message)):
        replay_capture(capture, placement=Heap)


@pytest.mark.parametrize("version", ["5.10.0", "4.19", ""])
def test_a_kernel_that_is_not_followed(capture, version):
    name = ".".join(version.split(".")[:2])
    with pytest.raises(UnknownName, match=rf"^kernel must be one of (.*, )?6\.1(, .*)?, not '{name}'$"):
        replay_capture(replace(capture, kernel=version), engine="plain")


def test_nothing_of_the_capture_is_changed(capture):
    before, pfns = copy.deepcopy(capture.before), capture.events.pfn.copy()
    replay_capture(capture, engine="plain")
    assert capture.before == before
    assert (capture.events.pfn == pfns).all()
