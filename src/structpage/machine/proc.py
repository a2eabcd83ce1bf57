"""A machine as the text files of its kernel tell it: records for `structpage.procfs` to print.

What a machine does not have, such as the sizes of LRU lists, is as it was told when the machine was made from such
files, and 0 else.

Followed: Linux 6.1 mm/vmstat.c, `frag_show_print`, `pagetypeinfo_showblockcount_print`, `zoneinfo_show_print`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from structpage.core.linux import zonetable
from structpage.core.words import CMA, TYPE_NAMES, TYPES
from structpage.procfs import BuddyInfo, Pageset, PageTypeInfo, ZoneInfo
from structpage.zones import ZONE_NAMES, Zone

if TYPE_CHECKING:
    from structpage.machine.view import MachineView


class Names(NamedTuple):
    """Counters of a kernel, in the order of its zoneinfo."""

    node: tuple[str, ...]
    zone: tuple[str, ...]


_NODE_61 = (
    "nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_slab_reclaimable "
    "nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes workingset_refault_anon "
    "workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon "
    "workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback "
    "nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages nr_file_pmdmapped "
    "nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written "
    "nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired nr_foll_pin_released nr_kernel_stack "
    "nr_page_table_pages nr_sec_page_table_pages nr_swapcached pgpromote_success pgpromote_candidate"
)
_ZONE_61 = (
    "nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file nr_zone_active_file "
    "nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_zspages nr_free_cma numa_hit numa_miss "
    "numa_foreign numa_interleave numa_local numa_other"
)
NAMES = {"6.1": Names(tuple(_NODE_61.split()), tuple(_ZONE_61.split()))}
"""Counters by the version of the kernel, with CONFIG_NUMA, CONFIG_SWAP and CONFIG_ZSMALLOC."""
CONFIGURED = {6: ZONE_NAMES, 5: tuple(name for name in ZONE_NAMES if name != "HighMem")}
"""Zones of a node by their number: those of x86-64 have no HighMem."""


def buddyinfo(machine: MachineView) -> Iterator[BuddyInfo]:
    """Yield the zones' counts of free blocks. O(zones x orders)."""
    for zone, counts in zip(machine.zones, machine.free_counts_by_zone.tolist(), strict=True):
        if zone.present():
            yield BuddyInfo(zone.node, zone.name, tuple(counts))


def pagetypeinfo(machine: MachineView) -> Iterator[PageTypeInfo]:
    """Yield the zones' counts of free blocks and pageblocks by migratetype. O(free blocks + pageblocks)."""
    types = [mt for mt in range(TYPES) if machine.cma or mt != CMA]
    names = tuple(TYPE_NAMES[mt] for mt in types)
    for zone in filter(Zone.present, machine.zones):
        free = tuple(_blocks_of(machine, zone, mt) for mt in types)
        at = np.arange(zone.start, zone.end, 1 << machine.pageblock_order) >> machine.pageblock_order
        blocks = machine.pageblock_types[at]
        counts = tuple(int((blocks == mt).sum()) for mt in types)
        yield PageTypeInfo(zone.node, zone.name, machine.pageblock_order, names, free, counts)


def _blocks_of(machine: MachineView, zone: Zone, mt: int) -> tuple[int, ...]:
    orders = range(machine.max_order + 1)
    return tuple(len(machine.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)) for order in orders)


def zoneinfo(machine: MachineView) -> Iterator[ZoneInfo]:
    """Yield the zones of each node, also those that have no memory. O(zones x CPUs)."""
    mine = {(zone.node, zone.name): zone for zone in filter(Zone.present, machine.zones)}
    for record in machine.told or _blank(machine):
        zone = mine.get((record.node, record.zone))
        yield record if zone is None else _now(machine, zone, record)


def _blank(machine: MachineView) -> Iterator[ZoneInfo]:
    """Records of zeros: the zones of x86-64, and HighMem where the machine has such a zone."""
    names = NAMES[machine.kernel]
    own = {(zone.node, zone.name): zone for zone in filter(Zone.present, machine.zones)}
    configured = CONFIGURED[5 + any(zone.name == "HighMem" for zone in machine.zones)]
    pagesets = tuple(Pageset(cpu, 0, 0, 0, threshold=0) for cpu in range(machine.cpus))
    for node in machine.nodes:
        first = min((zone.zid for zone in own.values() if zone.node == node), default=0)
        for name in configured:
            zone = own.get((node, name))
            record = ZoneInfo(node, name, (), 0, 0, 0, 0, 0, 0, 0, (0,) * len(configured), boost=0, cma=0)
            if zone is not None:
                stats = tuple((stat, 0) for stat in names.node) if zone.zid == first else ()
                present = sum(end - start for start, end in zone.present())
                record = replace(
                    record,
                    node_stats=stats,
                    spanned=zone.end - zone.start,
                    present=present,
                    counters=tuple((counter, 0) for counter in names.zone),
                    pagesets=pagesets,
                    node_unreclaimable=0,
                    start_pfn=zone.start,
                )
            yield record


def _now(machine: MachineView, zone: Zone, record: ZoneInfo) -> ZoneInfo:
    """The record of a zone as it is at the moment."""
    row = machine.words("zone_rows")[zone.number * zonetable.ZONE_ROW :].tolist()
    free = max(row[zonetable.FREE], 0)
    known = {"nr_free_pages": free, "nr_free_cma": row[zonetable.CMA_FREE]}
    sets = [one for one in machine.percpu_table.tolist() if one[:2] == (zone.node, zone.name)]
    return replace(
        record,
        free=free,
        boost=row[zonetable.BOOST],
        min=row[zonetable.MIN],
        low=row[zonetable.LOW],
        high=row[zonetable.HIGH],
        managed=row[zonetable.MANAGED],
        protection=tuple(row[zonetable.RESERVE + zid] for zid in configured_zids(len(record.protection))),
        counters=tuple((name, known.get(name, value)) for name, value in record.counters),
        pagesets=tuple(
            replace(pageset, count=count, high=high, batch=batch, threshold=row[zonetable.THRESHOLD])
            for pageset, (_, _, _, count, high, batch, _, _) in zip(record.pagesets, sets, strict=True)
        ),
    )


def configured_zids(zones: int) -> list[int]:
    """Return the numbers of the zones that a node of so many has, which tell what its protection is from."""
    return [ZONE_NAMES.index(name) for name in CONFIGURED[zones]]
