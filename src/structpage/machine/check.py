"""What `check()` verifies of a machine beyond its free lists: per-CPU lists, pageblocks, and the zones' counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from structpage.check import Listed, Place, check, check_zone, walk, zone_title
from structpage.core.linux import zonetable
from structpage.core.linux.percpu import COUNT, LISTS, SET_ROW
from structpage.core.words import CMA, HIGHATOMIC, ISOLATE, TAGS, TYPE_NAMES
from structpage.errors import CorruptionError

if TYPE_CHECKING:
    from structpage.machine.view import MachineView
    from structpage.zones import Zone


def check_machine(machine: MachineView) -> None:
    """Verify every invariant of a machine; raises `CorruptionError`. O(frames + blocks + lists)."""
    listed = check(machine)
    waiting: set[int] = set()
    for zone in machine.zones:
        for cpu in range(machine.cpus):
            _check_set(machine, zone, cpu, waiting)
    _check_waiting(machine, waiting)
    for zone in machine.zones:
        _check_free(machine, zone, listed)
    _check_pageblocks(machine)
    if machine.supply is not None:
        machine.supply.check()


def percpu_list_name(machine: MachineView, cpu: int, place: int) -> str:
    """Return the readable name of one of a CPU's lists."""
    order = machine.machine.percpu.order_of(place)
    huge = "Movable" if place == LISTS - 1 else "not Movable"
    return f"CPU {cpu} order {order} {huge if place >= LISTS - 2 else TYPE_NAMES[place % 3]}"


def _check_set(machine: MachineView, zone: Zone, cpu: int, waiting: set[int]) -> None:
    percpu, at = machine.machine.percpu, zone.number * machine.cpus + cpu
    frames = 0
    for place in range(LISTS):
        where = Place(zone_title(zone.number), percpu_list_name(machine, cpu, place))
        order = percpu.order_of(place)
        for pfn in walk(machine, percpu.base + at * LISTS + place, where, "pcp", order, waiting):
            waiting.add(pfn)
            check_zone(machine, pfn, zone.number, where)
            mt = percpu.type_of(pfn, place)
            if percpu.place(order, machine.policy.recorded_type(mt)) != place:
                raise where.broken("migratetype", "one of this list", TYPE_NAMES[mt], pfn)
            frames += 1 << order
    found = int(machine.words("percpu")[at * SET_ROW + COUNT])
    if found != frames:
        raise CorruptionError("count", frames, found, zone=zone_title(zone.number), list=f"CPU {cpu}")


def _check_waiting(machine: MachineView, waiting: set[int]) -> None:
    for pfn in np.flatnonzero(machine.pages.tag == TAGS["pcp"]).tolist():
        if pfn not in waiting:
            zone = zone_title(machine.core.zone_at(pfn))
            raise CorruptionError("list membership", "one per-CPU list", "none", zone=zone, pfn=pfn)


def _check_free(machine: MachineView, zone: Zone, listed: Listed) -> None:
    mine = [(1 << order, mt) for number, order, mt in listed.values() if number == zone.number]
    free = sum(frames for frames, mt in mine if mt != ISOLATE)
    cma = sum(frames for frames, mt in mine if mt == CMA)
    found = machine.machine.percpu.zone_lists.blocks.zones.free_pages(zone.number)
    if found != free:
        raise CorruptionError("NR_FREE_PAGES", free, found, zone=zone_title(zone.number))
    _check_word(machine, zone, "NR_FREE_CMA_PAGES", zonetable.CMA_FREE, cma, cma)


def _check_pageblocks(machine: MachineView) -> None:
    """Each zone counts its pageblocks of types that are kept apart; one that zones share is counted by any of them."""
    types, order = machine.pageblock_types, machine.pageblock_order
    for at in np.flatnonzero((types < -1) | (types >= len(TYPE_NAMES)))[:1].tolist():
        raise CorruptionError("pageblock type", f"between -1 and {ISOLATE}", int(types[at]), pfn=at << order)
    zones_of = np.zeros(len(types), np.int64)
    spans = {zone: slice(zone.start >> order, (zone.end - 1 >> order) + 1) for zone in machine.zones}
    for span in spans.values():
        zones_of[span] += 1
    for zone, span in spans.items():
        for name, field, least in (
            ("isolated", zonetable.ISOLATED, ISOLATE),
            ("special", zonetable.SPECIAL, HIGHATOMIC),
        ):
            kept = types[span] >= least
            own = int((kept & (zones_of[span] == 1)).sum())
            _check_word(machine, zone, f"{name} pageblocks", field, own, int(kept.sum()))


def _check_word(machine: MachineView, zone: Zone, name: str, field: int, least: int, most: int) -> None:
    found = int(machine.words("zone_rows")[zone.number * zonetable.ZONE_ROW + field])
    if not least <= found <= most:
        expected = least if least == most else f"between {least} and {most}"
        raise CorruptionError(name, expected, found, zone=zone_title(zone.number))
