"""`MachineView`: what a machine says: tables, lists, fragmentation, and the kernel's own text files.

Tables are copies, a row per zone in the order of `zones`, or per zone and CPU; what may be set of them is set by
`set_zone` and `compute_sizes`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from structpage import metrics
from structpage.arguments import between
from structpage.core.linux import percpu, zonetable
from structpage.core.linux.percpu import LISTS, SET_ROW
from structpage.machine import proc as machine_proc
from structpage.machine.state import SET_FIELDS, ZONE_FIELDS, MachineState
from structpage.procfs import format_buddyinfo, format_pagetypeinfo, format_zoneinfo
from structpage.tables import html_table
from structpage.zones import ZONE_NAMES

ZONE_TABLE = np.dtype(
    [("node", np.int64), ("zone", "U8"), ("start", np.int64), ("end", np.int64), ("present", np.int64)]
    + [(name, np.int64) for name in (*ZONE_FIELDS, "free")]
    + [("lowmem_reserve", np.int64, (len(ZONE_NAMES),))]
)
PERCPU_TABLE = np.dtype(
    [("node", np.int64), ("zone", "U8"), ("cpu", np.int64)] + [(name, np.int64) for name in (*SET_FIELDS, "drift")]
)


class MachineView(MachineState):
    """A machine's tables, lists and text files."""

    @property
    def zone_table(self) -> npt.NDArray[np.void]:
        """Sizes, watermarks and counters of each zone, in frames; `ZONE_TABLE`.

        `free_counter` is what watermarks are compared with, `free` has the differences of the CPUs too; `isolated`
        counts pageblocks.
        """
        table = np.zeros(len(self.zones), ZONE_TABLE)
        rows = np.array([self._row(zone) for zone in self.zones])
        table["node"], table["zone"] = [zone.node for zone in self.zones], [zone.name for zone in self.zones]
        table["start"], table["end"] = [zone.start for zone in self.zones], [zone.end for zone in self.zones]
        table["present"] = [sum(end - start for start, end in zone.present()) for zone in self.zones]
        for name, place in ZONE_FIELDS.items():
            table[name] = rows[:, place]
        table["free"] = table["free_counter"] + [self._drift(zone).sum() for zone in self.zones]
        table["lowmem_reserve"] = rows[:, zonetable.RESERVE :][:, : len(ZONE_NAMES)]
        return table

    @property
    def percpu_table(self) -> npt.NDArray[np.void]:
        """The per-CPU lists of each zone and CPU, in frames; `PERCPU_TABLE`.

        `drift` is what the CPU's difference says of the zone's free pages.
        """
        table = np.zeros((len(self.zones), self.cpus), PERCPU_TABLE)
        for row, zone in zip(table, self.zones, strict=True):
            row["node"], row["zone"], row["cpu"] = zone.node, zone.name, range(self.cpus)
            row["drift"] = self._drift(zone)
            for name, place in SET_FIELDS.items():
                row[name] = self._sets(zone)[:, place]
        return table.ravel()

    @property
    def pageblock_types(self) -> npt.NDArray[np.int64]:
        """The migratetype of each pageblock, -1 where there is no memory; a view that cannot be written."""
        types = self.words("pageblocks")[:-1]
        types.flags.writeable = False
        return types

    def percpu_lists(self, cpu: int, zone: str | None = None, node: int = 0) -> list[list[int]]:
        """Return the PFNs on a CPU's lists of a zone, each head to tail: three types of each order 0-3, two huge."""
        cpu = between("cpu", cpu, 0, self.cpus - 1)
        chosen = self._zone(zone, node)
        base = self.machine.percpu.base + (chosen.number * self.cpus + cpu) * LISTS
        return [self._walk(base + place, chosen.name, f"{place} of CPU {cpu}") for place in range(LISTS)]

    # The kernel's files

    def buddyinfo(self) -> str:
        """Return the text of /proc/buddyinfo."""
        return format_buddyinfo(machine_proc.buddyinfo(self))

    def pagetypeinfo(self) -> str:
        """Return the text of /proc/pagetypeinfo; O(free blocks + pageblocks)."""
        return format_pagetypeinfo(machine_proc.pagetypeinfo(self))

    def zoneinfo(self) -> str:
        """Return the text of /proc/zoneinfo; what a machine does not have is as it was told, or 0."""
        return format_zoneinfo(machine_proc.zoneinfo(self))

    # Fragmentation

    def extfrag_index(self, order: int | None = None) -> npt.NDArray[np.int64]:
        """Return `metrics.extfrag_index` of each zone, for an order or with a column per order; int64."""
        return self._of_order(metrics.extfrag_index(self.free_counts_by_zone), order)

    def unusable_index(self, order: int | None = None) -> npt.NDArray[np.int64]:
        """Return `metrics.unusable_index` of each zone, for an order or with a column per order; int64."""
        return self._of_order(metrics.unusable_index(self.free_counts_by_zone), order)

    def huge_pages(self, order: int = metrics.HUGE_ORDER) -> npt.NDArray[np.int64]:
        """Return how many huge pages could be had at once of each zone's free blocks; int64."""
        return metrics.huge_pages(self.free_counts_by_zone, order)

    def frames_by_run_length(self) -> npt.NDArray[np.int64]:
        """Return at place k the free frames in runs of 2^k to 2^(k+1) - 1 frames; int64. O(frames)."""
        return metrics.frames_by_run_length(self.pages.free_runs()[1])

    def _of_order(self, table: npt.NDArray[np.int64], order: int | None) -> npt.NDArray[np.int64]:
        return table if order is None else table[:, between("order", order, 0, self.max_order)]

    # Pictures

    def __repr__(self) -> str:
        zones = ", ".join(
            f"{row['zone']} of node {row['node']} {row['free']} of {row['managed']} free" for row in self.zone_table
        )
        return f"<Machine: Linux {self.kernel}, {self.placement}, {self.cpus} CPUs; {zones}>"

    def _repr_html_(self) -> str:
        names = ("node", "zone", "managed", "free", "min", "low", "high", "boost", "highatomic")
        waiting = self.words("percpu").reshape(-1, self.cpus, SET_ROW)[:, :, percpu.COUNT].sum(axis=1)
        rows = [
            (*row, waiting[zone.number], *counts)
            for row, zone, counts in zip(
                self.zone_table[list(names)].tolist(), self.zones, self.free_counts_by_zone.tolist(), strict=True
            )
        ]
        caption = f"Machine: Linux {self.kernel}, {self.placement}, {self.pages.frames} frames, {self.cpus} CPUs"
        return html_table(caption, (*names, "on CPUs", *range(self.core.orders)), rows)
