"""`Workload`: real requests and the memory they are asked of, ready for any placement.

From a capture: its zones, its free lists in their order, everything else reserved. Pages on per-CPU lists
are given to the buddy first, as a drain would, because there is no per-CPU layer here; blocks of all
migratetypes of a zone and order form one list, in the order of the types, because one type is in use. From a bare
trace: one zone, all of it free.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from structpage import placing
from structpage.allocator import BuddyAllocator
from structpage.arguments import at_least, byte_size
from structpage.core.words import DEFAULT_TYPE, TYPE_NAMES, ZIDS
from structpage.errors import InvalidArgument, must
from structpage.pages import PageArray
from structpage.request import Requests
from structpage.traces import Capture, Events, TracedRequests, open_workload, requests_from
from structpage.traces.capture import pcp_order
from structpage.zones import ZONE_NAMES, Zone

DEFAULT = "mixed"
"""The shipped capture that is replayed when nothing else is named."""

Block = tuple[int, int, int]


@dataclass(frozen=True, eq=False, repr=False)
class Workload:
    """Requests, when they came, and the memory in the state in which the first of them found it."""

    name: str
    frames: int
    zones: tuple[Zone, ...]
    lists: tuple[Block, ...]
    """Blocks on the free lists at the start, `(pfn, order, migratetype)`; empty when all memory is free."""
    loose: tuple[Block, ...]
    """Blocks on per-CPU lists at the start."""
    requests: Requests
    times: npt.NDArray[np.int64]
    """When each request came, in the trace's clock; microseconds but for a counting clock."""
    low_watermark: dict[int, int]
    """By zone number, in frames; empty when it was not recorded."""
    counts: dict[str, int]
    """What the reader counted: allocations, frees, foreign ones, bad lines and so on."""

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Capture | Events,
        *,
        limit: int | None = None,
        memory: str | int | None = None,
        name: str | None = None,
    ) -> Workload:
        """Return the workload of a shipped capture's name, a path, a capture or a trace; its first `limit` requests.

        `memory` is the size of a bare trace's machine in bytes, or with a unit as `"512M"`; by default what holds
        all of its PFNs. `name` is what it is called, by default what it was loaded from. Raises `InvalidArgument` for a
        size given to a capture, which has one, or that is not one; what `open_workload` raises.
        """
        named = isinstance(source, str | os.PathLike)
        opened = open_workload(source) if isinstance(source, str | os.PathLike) else source
        title = name or (os.fspath(source) if named else "trace")  # type: ignore[arg-type]
        traced = requests_from(opened, limit=limit)
        events = opened.events if isinstance(opened, Capture) else opened
        counts, times = _counts(traced, events), events.time[traced.event]
        if not isinstance(opened, Capture):
            frames = max(traced.memory_frames if memory is None else frames_of(memory), 1)
            return cls(
                title, frames, (Zone("Normal", 0, frames),), (), (), traced.of_type(DEFAULT_TYPE), times, {}, counts
            )
        if memory is not None:
            raise InvalidArgument(must("memory", "left to the capture, which has its own", memory))
        zones = _zones(opened.before)
        lists, loose, low = _lists(opened.before), _loose(opened.before), _low(opened.before)
        return cls(opened.name, zones[-1].end, zones, lists, loose, traced.of_type(DEFAULT_TYPE), times, low, counts)

    def allocator(self, placement: str | type, **options: Any) -> BuddyAllocator:
        """Return an allocator in the state of the start, with its free lists where `placement` puts them."""
        layout = placing.declared(placing.placement_class(placement)).layout
        pages = PageArray(self.frames, layout=layout)
        start = "reserved" if self.lists else "free"
        buddy = BuddyAllocator(pages, placement, zones=self.zones, start=start, **options)
        buddy.place(self.lists)
        for pfn, order, _ in self.loose:
            buddy.ranges.release(pfn, pfn + (1 << order), DEFAULT_TYPE)
        return buddy

    def __repr__(self) -> str:
        memory = f"{self.frames} frames in {len(self.zones)} zones"
        return f"<Workload {self.name}: {len(self.requests)} requests, {memory}>"


def frames_of(memory: str | int) -> int:
    """Return the frames of a size: bytes, or a number with K, M, G or T; raises `InvalidArgument`."""
    return at_least("memory in bytes", byte_size("memory", memory), 4096) >> 12


def _counts(traced: TracedRequests, events: Events) -> dict[str, int]:
    names = ("allocations", "frees", "splits", "releases", "foreign", "failed", "reallocated", "misaligned")
    counts = {name: int(getattr(traced, name)) for name in names}
    return counts | {"bad_lines": events.bad_lines, "lost_events": events.lost}


def _zones(lists: dict[str, Any]) -> tuple[Zone, ...]:
    zones = [
        Zone(zone["name"], zone["start_pfn"], zone["start_pfn"] + zone["spanned"], node["node"])
        for node in lists["nodes"]
        for zone in node["zones"]
        if zone["spanned"] and zone["name"] in ZONE_NAMES
    ]
    return tuple(sorted(zones, key=lambda zone: zone.start))


def _lists(lists: dict[str, Any]) -> tuple[Block, ...]:
    return tuple(
        (pfn, area["order"], DEFAULT_TYPE)
        for node in lists["nodes"]
        for zone in node["zones"]
        for area in zone["free_area"]
        for kind in sorted(area["lists"], key=_type_number)
        for pfn in area["lists"][kind]
    )


def _type_number(kind: str) -> int:
    return TYPE_NAMES.index(kind) if kind in TYPE_NAMES else len(TYPE_NAMES)


def _loose(lists: dict[str, Any]) -> tuple[Block, ...]:
    return tuple(
        (pfn, pcp_order(index, len(cpu["lists"])), DEFAULT_TYPE)
        for node in lists["nodes"]
        for zone in node["zones"]
        for cpu in zone["pcp"]
        for index, pfns in enumerate(cpu["lists"])
        for pfn in pfns
    )


def _low(lists: dict[str, Any]) -> dict[int, int]:
    return {
        node["node"] * ZIDS + ZONE_NAMES.index(zone["name"]): zone["watermark"][1] + zone.get("watermark_boost", 0)
        for node in lists["nodes"]
        for zone in node["zones"]
        if zone["name"] in ZONE_NAMES and len(zone.get("watermark", [])) > 1
    }
