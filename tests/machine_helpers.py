"""Machines for tests: small ones with short lists, and all that can be told of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import strategies as st

from structpage import Machine, Tuning, Zone
from structpage.core.words import TYPES
from structpage.testing import zones as zones_of

UNMARKED = Tuning(min_free_kbytes=0, watermark_scale_factor=0, lowmem_reserve_ratio=(0,) * 6, thp=False)
"""No watermarks and no reserves: a zone gives until it has nothing."""


def real_folders():
    """Folders of the /proc files of real kernels: that of the samples, then those of each capture there is."""
    tests = Path(__file__).resolve().parent
    captures = Path(os.environ.get("STRUCTPAGE_CAPTURES", tests.parent.parent / "shared" / "captures"))
    yield pytest.param(tests / "procfs" / "samples" / "6.1", id="sample")
    for path in sorted(captures.glob("*/before/zoneinfo")):
        yield pytest.param(path.parent, id=path.parent.parent.name)


REAL = list(real_folders())


def small(frames=64, placement="side-table", *, batch=4, high=16, threshold=0, **options):
    """One zone Normal, pageblocks of 8 frames, blocks up to 32 frames, no watermarks; or as options say."""
    options = {
        "zones": [Zone("Normal", 0, getattr(frames, "frames", frames))],
        "max_order": 5,
        "pageblock_order": 3,
        "tuning": UNMARKED,
    } | options
    machine = Machine(frames, **({"placement": placement} | options))
    for zone in machine.zones:
        machine.set_zone(zone.name, zone.node, batch=batch, pcp_high=high, threshold=threshold)
    return machine


def free_lists(machine, zone=None, node=0):
    """The blocks on a zone's lists: {(order, type): PFNs head to tail}."""
    found = {}
    for order in range(machine.max_order + 1):
        for mt in range(TYPES):
            pfns = machine.free_list(order, zone=zone, node=node, migratetype=mt)
            if pfns:
                found[order, mt] = pfns
    return found


def whole_state(machine):
    """All lists, tables and types: what must be alike wherever the links lie."""
    return {
        "free": {zone: free_lists(machine, zone.name, zone.node) for zone in machine.zones},
        "waiting": [machine.percpu_lists(cpu, z.name, z.node) for z in machine.zones for cpu in range(machine.cpus)],
        "zones": machine.zone_table.tobytes(),
        "sets": machine.percpu_table.tolist(),
        "types": machine.pageblock_types.tolist(),
    }


def words(machine):
    """All words there are, but the records of what was done."""
    return {name: values.tobytes() for name, values in machine.buffers.items() if name != "trace"}


class Plan(NamedTuple):
    """How a machine is built."""

    frames: int
    options: dict
    sizes: dict

    def build(self, placement="side-table", **more):
        machine = Machine(self.frames, placement, **(self.options | more))
        for zone in machine.zones:
            machine.set_zone(zone.name, zone.node, **self.sizes)
        return machine


@st.composite
def plans(draw, *, max_frames=160, cma=False, most_block_order=9):
    """Small machines of any memory map, with or without watermarks, reserves and long per-CPU lists."""
    frames = draw(st.integers(1, max_frames) | st.just(max_frames))
    zones = draw(st.just(()) | zones_of(frames=frames, max_zones=4, max_nodes=2)) or (Zone("Normal", 0, frames),)
    max_order = draw(st.integers(0, 7) | st.just(5))
    nodes = sorted({zone.node for zone in zones})
    cpus = draw(st.integers(1, 3))
    options = {
        "zones": zones,
        "cpus": cpus,
        "cpu_node": draw(st.lists(st.sampled_from(nodes), min_size=cpus, max_size=cpus)),
        "max_order": max_order,
        "pageblock_order": draw(st.integers(0, min(max_order, most_block_order))),
        "cma": cma,
        "tuning": Tuning(
            min_free_kbytes=draw(st.just(0) | st.integers(0, 2 * frames)),
            watermark_scale_factor=draw(st.just(0) | st.integers(0, 1000)),
            lowmem_reserve_ratio=tuple(draw(st.lists(st.integers(0, 16), min_size=6, max_size=6))),
            thp=False,
        ),
    }
    sizes = {
        "batch": draw(st.integers(1, 8)),
        "pcp_high": draw(st.integers(0, 40)),
        "threshold": draw(st.integers(0, 8)),
    }
    return Plan(frames, options, sizes)
