"""`handover_of`: the free lists of a recorded boot, from the memory map of its memblock alone.

A folder has `memblock.json`, both arrays of memblock when it ended, `freelists.json`, the lists right after that, and
perhaps `freelists_late.json`, those after the deferred frames had followed. Meanwhile the kernel allocated, so of the
late lists only the blocks that it left alone are determined: those of our blocks whose frames are all free still, and
those of the kernel's that lie in none of our other blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structpage.boot import Memblock
from structpage.boot.handover import free_all, free_deferred, zones_of
from structpage.core.words import TYPE_NAMES
from structpage.engines import Engine
from structpage.errors import InvalidArgument, TraceError, must
from structpage.fidelity.start import recorded_zones
from structpage.machine import Machine
from structpage.traces.capture import check_lists, kernel_version, read_json

Lists = list[tuple[list[int], list[int], int]]
"""Of each zone, order and type: the PFNs simulated and recorded, head to tail, and the order."""


@dataclass(frozen=True)
class Handover:
    """How the lists of a simulated hand-over compare with the recorded ones."""

    capture: str
    kernel: str
    lists: int
    """Lists of the kernel with a block or more."""
    exact: int
    """Those of them that are reproduced, block for block in their order."""
    final_lists_identical: bool
    """Whether they all are, and no other list has a block."""
    late: tuple[int, int] | None
    """Lists after the deferred frames followed, and those reproduced, in both only blocks that were left alone."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, as `structpage replay` prints them."""
        figures: dict[str, Any] = {
            "capture": self.capture,
            "kernel": self.kernel,
            "lists": self.lists,
            "exact": self.exact,
            "final_lists_identical": self.final_lists_identical,
        }
        if self.late is not None:
            figures["late"] = {"lists": self.late[0], "exact": self.late[1]}
        return figures

    def __str__(self) -> str:
        same = "identical" if self.final_lists_identical else "not identical"
        lines = [f"{self.capture}, Linux {self.kernel}: {self.exact} of {self.lists} lists exact, all lists {same}"]
        if self.late is not None:
            lines.append(f"  after the deferred frames, of blocks left alone: {self.late[1]} of {self.late[0]}")
        return "\n".join(lines)


def is_boot(folder: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a recorded boot."""
    return Path(folder).is_dir() and any(Path(folder).glob("memblock.json*"))


def memblock_of(folder: str | os.PathLike[str]) -> Memblock:
    """Return memblock as a recorded boot left it; raises `TraceError`."""
    path = Path(folder)
    told = read_json(path, "memblock.json")
    try:
        memory, reserved = (
            [[row[key] for key in ("base", "size", "nid", "flags")] for row in told[name]["regions"]]
            for name in ("memory", "reserved")
        )
        return Memblock.from_regions(memory, reserved, bottom_up=told["bottom_up"], current_limit=told["current_limit"])
    except (KeyError, TypeError, InvalidArgument) as error:
        rule = "the arrays memory and reserved, bottom_up and current_limit"
        raise TraceError(must(f"file {path.name}/memblock.json", rule, f"{type(error).__name__} {error}")) from error


def handover_of(
    folder: str | os.PathLike[str], *, placement: str | type = "side-table", engine: str | Engine | None = None
) -> Handover:
    """Hand the free memory of a recorded boot over to a machine, and compare its lists with the kernel's.

    Raises:
        TraceError: a file is missing or damaged.
        UnknownName: there is no such placement or engine.

    Cost: O(frames / 2^max_order) for the hand-over, O(frames) for the late lists.

    """
    path = Path(folder).resolve()
    memblock, early = memblock_of(path), _lists(path, "freelists.json")
    meta = read_json(path, "meta.json") if any(path.glob("meta.json*")) else {}
    zones = zones_of(memblock)
    machine = Machine(
        max(zone.end for zone in zones), placement, zones=zones, engine=engine, stamp="head", start="reserved"
    )
    deferred = meta.get("kernel_config", {}).get("DEFERRED_STRUCT_PAGE_INIT", "y") == "y"
    free_all(machine, memblock, deferred=deferred)
    found = list(_paired(machine, early))
    late = None
    if any(path.glob("freelists_late.json*")):
        if deferred:
            free_deferred(machine, memblock)
        late = _counted(_left_alone(list(_paired(machine, _lists(path, "freelists_late.json"))), machine.pages.frames))
    same = all(ours == theirs for ours, theirs, _ in found)
    return Handover(path.name, kernel_version(meta, {}), *_counted(found), same, late)


def _lists(path: Path, name: str) -> dict[str, Any]:
    lists = read_json(path, name)
    check_lists(lists, f"{path.name}/{name}")
    return lists


def _paired(machine: Machine, lists: dict[str, Any]) -> Iterator[tuple[list[int], list[int], int]]:
    recorded = {(zone.name, zone.node): told for zone, told in recorded_zones(lists).items()}
    ours = {(zone.name, zone.node) for zone in machine.zones}
    for name, node in sorted(recorded.keys() | ours):
        areas = {area["order"]: area["lists"] for area in recorded.get((name, node), {}).get("free_area", ())}
        for order in range(machine.max_order + 1):
            for mt, kind in enumerate(TYPE_NAMES):
                have = (name, node) in ours
                blocks = machine.free_list(order, zone=name, node=node, migratetype=mt) if have else []
                yield blocks, areas.get(order, {}).get(kind, []), order


def _counted(found: Lists) -> tuple[int, int]:
    told = [ours == theirs for ours, theirs, _ in found if theirs]
    return len(told), sum(told)


def _left_alone(found: Lists, frames: int) -> Lists:
    free, taken = np.zeros(frames, np.bool_), np.zeros(frames, np.bool_)
    for _, theirs, order in found:
        for pfn in theirs:
            free[pfn : pfn + (1 << order)] = True
    for ours, _, order in found:
        for pfn in ours:
            block = slice(pfn, pfn + (1 << order))
            taken[block] = not free[block].all()
    return [
        ([pfn for pfn in ours if not taken[pfn]], [pfn for pfn in theirs if not taken[pfn]], order)
        for ours, theirs, order in found
    ]
