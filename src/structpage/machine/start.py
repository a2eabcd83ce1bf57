"""A machine that begins as /proc tells of another one: the same counts, sizes and types, at places that are made up.

What zoneinfo, and pagetypeinfo or buddyinfo, do not tell is chosen: which frames of a zone exist (the first ones, as
many pageblocks as are told, or the present frames), and where its free blocks lie (see `layout`). Frames that
wait on per-CPU lists are single ones, of the type of their pageblock; all others are in use, by nobody in particular,
and may be freed. Where the files do not agree about the free frames, as they were not read at one moment, CPU 0 has
the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from structpage.core.linux import percpu, zonetable
from structpage.core.words import HIGHATOMIC, ISOLATE, LANE_SHIFT, TYPE_NAMES
from structpage.errors import InvalidArgument, must
from structpage.machine.layout import lay_out
from structpage.machine.proc import configured_zids
from structpage.machine.state import NO_PAGEBLOCK, MachineState
from structpage.procfs import PageTypeInfo, ZoneInfo, parse_buddyinfo, parse_pagetypeinfo, parse_zoneinfo
from structpage.zones import ZONE_NAMES, Zone

PAGEBLOCK_ORDER = 9
TYPES_BY_ADDRESS = ("Unmovable", "Reclaimable", "HighAtomic", "CMA", "Isolate", "Movable")


class Told(NamedTuple):
    """A zone as it was told, and as it is made."""

    info: ZoneInfo
    lists: PageTypeInfo
    zone: Zone
    types: list[int]
    """Of its pageblocks, as far as they exist."""


def read(zoneinfo: str, pagetypeinfo: str | None, buddyinfo: str | None, rng: Random | None) -> list[Told]:
    """Return the populated zones of the files; raises `TraceError`, and `InvalidArgument` if they do not fit."""
    if (pagetypeinfo is None) == (buddyinfo is None):
        found = "neither" if buddyinfo is None else "both"
        raise InvalidArgument(must("free lists", "told by either pagetypeinfo or buddyinfo", found))
    populated = [info for info in parse_zoneinfo(zoneinfo) if info.start_pfn is not None]
    lists = parse_pagetypeinfo(pagetypeinfo) if pagetypeinfo is not None else _untyped(populated, buddyinfo or "")
    known = {(one.node, one.zone): one for one in lists}
    wanted = [(info.node, info.zone) for info in populated]
    if list(known) != wanted:
        raise InvalidArgument(must("zones of the free lists", f"those of zoneinfo, {wanted}", list(known)))
    return [_told(info, known[info.node, info.zone], rng) for info in populated]


def _untyped(populated: Sequence[ZoneInfo], buddyinfo: str) -> tuple[PageTypeInfo, ...]:
    present = {(info.node, info.zone): info.present for info in populated}
    size = 1 << PAGEBLOCK_ORDER
    return tuple(
        PageTypeInfo(
            one.node,
            one.zone,
            min(PAGEBLOCK_ORDER, len(one.counts) - 1),
            ("Movable",),
            (one.counts,),
            (-(-present.get((one.node, one.zone), 0) // size),),
        )
        for one in parse_buddyinfo(buddyinfo)
    )


def _told(info: ZoneInfo, lists: PageTypeInfo, rng: Random | None) -> Told:
    start, order = info.start_pfn or 0, lists.block_order
    blocks = dict(zip(lists.types, lists.blocks, strict=True))
    types = [TYPE_NAMES.index(name) for name in TYPES_BY_ADDRESS for _ in range(blocks.get(name, 0))]
    if rng:
        pairs = [types[at : at + 2] for at in range(0, len(types), 2)]
        types = [mt for pair in rng.sample(pairs, len(pairs)) for mt in pair]
    end = start + info.spanned
    exists = min(end, (start >> order) + len(types) << order)
    holes = ((exists, end),) if exists < end else ()
    return Told(info, lists, Zone(info.zone, start, end, info.node, holes), types)


def fill(machine: MachineState, told: Sequence[Told], rng: Random | None) -> None:
    """Set a machine of reserved frames up as it was told."""
    for one in told:
        types = one.types
        pageblocks = machine.machine.percpu.zone_lists.blocks
        first, order, number = one.zone.start >> machine.pageblock_order, machine.pageblock_order, one.zone.number
        last = (one.zone.end - 1 >> order) + 1
        machine.words("pageblocks")[first + len(types) : last] = NO_PAGEBLOCK
        for at, mt in enumerate(types):
            pageblocks.set_type(first + at << order, number, mt)
        counts = _counts(one.lists)
        end = one.zone.holes[0][0] if one.zone.holes else one.zone.end
        blocks, left = lay_out(one.zone.start, end, types, counts, (order, machine.max_order), rng)
        for pfn, size, mt in blocks:
            machine.core.place(pfn, size, number << LANE_SHIFT | mt)
        _set_sizes(machine, one, sum(1 << size for _, size, mt in blocks if mt != ISOLATE))
        usable = (pfn for pfn in left if pageblocks.type_of(pfn) != ISOLATE)
        for pageset in one.info.pagesets:
            waiting = list(islice(usable, pageset.count))
            if len(waiting) < pageset.count:
                found = f"{len(waiting)} left of zone {one.zone.name}"
                raise InvalidArgument(must(f"frames on lists of CPU {pageset.cpu}", f"{pageset.count} in use", found))
            for pfn in waiting:
                machine.wait(pfn, 0, pageblocks.type_of(pfn), pageset.cpu)


def _counts(lists: PageTypeInfo) -> Mapping[int, Sequence[int]]:
    return {TYPE_NAMES.index(name): row for name, row in zip(lists.types, lists.free, strict=True)}


def _set_sizes(machine: MachineState, told: Told, free: int) -> None:
    info, zone = told.info, told.zone
    for cpu, pageset in enumerate(info.pagesets):
        sets = machine.words("percpu").reshape(-1, percpu.SET_ROW)[zone.number * machine.cpus + cpu]
        sets[[percpu.HIGH_MARK, percpu.HIGH_LEAST, percpu.HIGH_MOST]] = pageset.high
        sets[percpu.BATCH] = pageset.batch
    row = machine.words("zone_rows")[zone.number * zonetable.ZONE_ROW :][: zonetable.ZONE_ROW]
    row[[zonetable.MIN, zonetable.LOW, zonetable.HIGH]] = info.min, info.low, info.high
    row[[zonetable.MANAGED, zonetable.FREE, zonetable.BOOST]] = info.managed, info.free, info.boost or 0
    row[zonetable.THRESHOLD] = info.pagesets[0].threshold or 0 if info.pagesets else 0
    row[zonetable.HIGHATOMIC_PAGES] = told.types.count(HIGHATOMIC) << machine.pageblock_order
    reserve = dict(zip(configured_zids(len(info.protection)), info.protection, strict=True))
    for zid in range(len(ZONE_NAMES)):
        # Requests for a zone that is not configured are such for the next lower one.
        row[zonetable.RESERVE + zid] = reserve.get(zid, row[zonetable.RESERVE + zid - 1] if zid else 0)
    machine.words("drift")[zone.number * machine.cpus] = free - info.free
