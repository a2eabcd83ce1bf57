"""A machine as a recorded kernel was: its zones, free lists, per-CPU lists, pageblock types, marks and counters."""

from __future__ import annotations

from typing import Any

import numpy as np

from structpage.core.linux import percpu, zonetable
from structpage.core.linux.percpu import LISTS, SET_ROW
from structpage.core.linux.zonetable import ZONE_ROW
from structpage.core.words import LANE_SHIFT, TYPE_NAMES
from structpage.engines import Engine
from structpage.errors import StructPageError, TraceError, must
from structpage.machine import Machine
from structpage.machine.state import NO_PAGEBLOCK
from structpage.procfs import parse_zoneinfo
from structpage.traces.capture import Capture
from structpage.zones import ZONE_NAMES, Zone

Recorded = dict[str, Any]


def machine_of(
    capture: Capture, placement: str | type = "side-table", *, engine: str | Engine | None = None
) -> Machine:
    """Return a machine in the state that a capture's kernel was in at the first stop.

    Raises:
        TraceError: the capture lacks something of it.
        UnknownName, InvalidArgument: there is no such placement, engine or kernel.

    Cost: O(frames of the zones' span) virtual, O(free blocks) resident.

    """
    try:
        return _built(capture, placement, engine)
    except StructPageError:
        raise
    except (KeyError, TypeError, IndexError, ValueError) as error:
        rule = "free lists with zones, counters and per-CPU lists"
        raise TraceError(must(f"capture {capture.name}", rule, f"{type(error).__name__} {error}")) from error


def recorded_zones(lists: Recorded) -> dict[Zone, Recorded]:
    """Return the populated zones of a capture's free lists, and what is recorded of each."""
    zones: dict[Zone, Recorded] = {}
    for node in lists["nodes"]:
        for zone in node["zones"]:
            if zone["present"]:
                start = zone["start_pfn"]
                zones[Zone(zone["name"], start, start + zone["spanned"], node["node"])] = zone
    return zones


def _built(capture: Capture, placement: str | type, engine: str | Engine | None) -> Machine:
    zones = recorded_zones(capture.before)
    cpus = 1 + max(cpu["cpu"] for zone in zones.values() for cpu in zone["pcp"])
    last = int(capture.events.cpu.max(initial=0))
    if last >= cpus:
        rule = f"one with per-CPU lists of CPU {last}, which is in its trace"
        raise TraceError(must(f"capture {capture.name}", rule, f"of {cpus} CPUs"))
    text = capture.proc.get("before/zoneinfo", "")
    told = parse_zoneinfo(text) if text else ()
    thresholds = {(one.node, one.zone): one.pagesets[0].threshold or 0 for one in told if one.pagesets}
    kernel = ".".join(capture.kernel.split(".")[:2])
    frames = max(zone.end for zone in zones)
    machine = Machine(
        frames,
        placement,
        kernel=kernel,
        zones=zones,
        cpus=cpus,
        engine=engine,
        stamp="head",
        start="reserved",
        last_resort=True,
    )
    for zone, recorded in zones.items():
        _fill_zone(machine, zone, recorded, thresholds.get((zone.node, zone.name), 0))
    machine.told = told
    return machine


def _fill_zone(machine: Machine, zone: Zone, recorded: Recorded, threshold: int) -> None:
    row = machine.words("zone_rows")[zone.number * ZONE_ROW :][:ZONE_ROW]
    row[zonetable.MANAGED] = recorded["managed"]
    row[zonetable.MIN : zonetable.HIGH + 1] = recorded["watermark"][:3]
    row[zonetable.BOOST] = recorded["watermark_boost"]
    row[zonetable.FREE] = recorded["nr_free_pages_counter"]
    row[zonetable.HIGHATOMIC_PAGES] = recorded["nr_reserved_highatomic"]
    row[zonetable.THRESHOLD] = threshold
    row[zonetable.RESERVE : zonetable.RESERVE + len(ZONE_NAMES)] = _reserves(recorded["lowmem_reserve"])
    blocks = machine.machine.percpu.zone_lists.blocks
    first = recorded["pageblock_first"]
    for place, mt in enumerate(recorded["pageblocks"]):
        blocks.set_type(first + place << blocks.order, zone.number, NO_PAGEBLOCK if mt is None else mt)
    for area in recorded["free_area"]:
        for name, pfns in area["lists"].items():
            for pfn in pfns:
                machine.core.place(pfn, area["order"], zone.number << LANE_SHIFT | TYPE_NAMES.index(name))
    for cpu in recorded["pcp"]:
        _fill_percpu(machine, zone.number, cpu)


def _fill_percpu(machine: Machine, zone: int, recorded: Recorded) -> None:
    lists = machine.machine.percpu
    at = zone * machine.cpus + recorded["cpu"]
    row = machine.words("percpu")[at * SET_ROW :][:SET_ROW]
    row[percpu.COUNT] = recorded["count"]
    row[[percpu.HIGH_MARK, percpu.HIGH_LEAST, percpu.HIGH_MOST]] = recorded["high"]
    row[percpu.BATCH], row[percpu.FACTOR] = recorded["batch"], recorded["free_factor"]
    machine.words("drift")[at] = recorded["nr_free_pages_diff"]
    for place, (pfns, types) in enumerate(zip(recorded["lists"], recorded["mt"], strict=True)):
        for pfn, mt in zip(pfns, types, strict=True):
            machine.core.memmap.mark_pcp(pfn, lists.order_of(place), zone << LANE_SHIFT | mt)
            machine.core.lists.push_back(lists.base + at * LISTS + place, pfn)


def _reserves(recorded: list[int]) -> list[int]:
    # By our zone numbers, which have a place for HighMem: a request for it goes to Normal where there is none.
    reserves = list(recorded) + recorded[-1:] * (len(ZONE_NAMES) - 1 - len(recorded))
    return [*reserves[:3], reserves[2], *reserves[3 : len(ZONE_NAMES) - 1]]


def same_lists(machine: Machine, lists: Recorded) -> bool:
    """Whether all free lists of a machine are those of a recorded kernel, block for block in their order."""
    for zone, recorded in recorded_zones(lists).items():
        for area in recorded["free_area"]:
            for mt, name in enumerate(TYPE_NAMES):
                found = machine.free_list(area["order"], zone=zone.name, node=zone.node, migratetype=mt)
                if found != area["lists"].get(name, []):
                    return False
    return True


def same_percpu(machine: Machine, lists: Recorded) -> bool:
    """Whether all per-CPU lists, and what their blocks are to be freed to, are those of a recorded kernel."""
    for zone, recorded in recorded_zones(lists).items():
        for cpu in recorded["pcp"]:
            found = machine.percpu_lists(cpu["cpu"], zone.name, zone.node)
            types = [[machine.machine.percpu.type_of(pfn, at) for pfn in pfns] for at, pfns in enumerate(found)]
            if (found, types) != (cpu["lists"], cpu["mt"]):
                return False
    return True


def same_counts(machine: Machine, lists: Recorded) -> bool:
    """Whether the numbers of free blocks by zone and order, as in buddyinfo, are those of a recorded kernel."""
    recorded = recorded_zones(lists)
    told = [[area["nr_free"] for area in recorded[zone]["free_area"]] for zone in sorted(recorded, key=_number)]
    return bool(np.array_equal(machine.free_counts_by_zone, told))


def _number(zone: Zone) -> int:
    return zone.number
