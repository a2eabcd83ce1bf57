"""Hints: what kprobe lines of a capture tell about happenings outside the allocator.

Lines are as the captures' `kprobe_events` define them: `freeone` (a free past the per-CPU lists), `bulk` and `bulk_r`
(allocation of several frames at once), `drainz`, `drainzp` (explicit drains), `isolate`, `isolate_r`, `putback`
(blocks taken off the lists by their address, and returned), `bal`, `bal_r` (kswapd) and `vmfold`. A kind or field
that a trace lacks is as if nothing of it had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.words import ZIDS
from structpage.errors import TraceError, must
from structpage.request import Column
from structpage.traces.capture import Capture
from structpage.traces.events import MM_PAGE_ALLOC, MM_PAGE_FREE
from structpage.traces.pairing import PageEvents
from structpage.zones import ZONE_NAMES

VMEMMAP: Final = 0xFFFFEA0000000000
"""Where x86-64 has its array of page structures, when it does not move it about (nokaslr)."""
PAGE_STRUCT: Final = 64

_NONE: Final = np.zeros(0, np.int64)


class Taken(NamedTuple):
    """Blocks taken off the lists or returned: rows of events, and what they would be as page events."""

    event: Column
    events: PageEvents


class Bulk(NamedTuple):
    """Bulk allocations, a row each where they were done."""

    event: Column
    node: Column
    """The one asked for; -1 for the CPU's own."""
    gfp: Column
    pages: Column


class Probes:
    """The kprobe lines of a capture."""

    def __init__(self, capture: Capture) -> None:
        self.events = capture.events
        self._zones = {
            _signed(zone["addr"]): node["node"] * ZIDS + ZONE_NAMES.index(zone["name"])
            for node in capture.before["nodes"]
            for zone in node["zones"]
            if "addr" in zone and zone["name"] in ZONE_NAMES
        }

    def rows(self, kind: str) -> Column:
        """Return the rows of the events of a kind."""
        code = self.events.code(kind)
        return np.flatnonzero(self.events.kind == code) if code >= 0 else _NONE

    def fields(self, kind: str, *names: str) -> tuple[Column, ...]:
        """Return the rows of a kind's events, and these fields of them.

        Raises:
            TraceError: an event of the kind lacks one of them.

        """
        table = self.events.details.get(kind)
        if table is None:
            return (_NONE,) * (1 + len(names))
        missing = [name for name in names if name not in (table.dtype.names or ())]
        if missing:
            raise TraceError(must(f"event {kind}", f"one with {missing[0]}=", "one without"))
        return tuple(np.ascontiguousarray(table[name]).astype(np.int64) for name in ("event", *names))

    def direct_frees(self) -> tuple[Column, Column, Column]:
        """Return where frees went past the per-CPU lists: rows, PFNs, and ones."""
        event, pfn = self.fields("freeone", "pfn")
        return event, pfn, np.ones(len(event), np.int64)

    def taken(self, taken: int, returned: int) -> Iterator[tuple[Taken, int]]:
        """Yield the blocks taken by their address, and those put back, each with the number it is given."""
        event, page, order = self.fields("isolate", "page", "order")
        returned_at, result = self.fields("isolate_r", "ret")
        call, answer = self._calls(event, returned_at)
        done = np.sort(call[result[answer] != 0])
        yield _taken(event[done], page[done], order[done], MM_PAGE_ALLOC, np.ones(len(done), np.int64)), taken
        event, page, order, mt = self.fields("putback", "page", "order", "mt")
        yield _taken(event, page, order, MM_PAGE_FREE, mt), returned

    def drains(self, kind: str) -> tuple[Column, Column, Column | None]:
        """Return the explicit drains of a kind: rows, zones, and CPUs where the kind tells them."""
        if kind == "drainz":
            event, cpu, zone = self.fields(kind, "cpu", "zone")
            return event, self._zone(zone), cpu
        event, zone = self.fields(kind, "zone")
        return event, self._zone(zone), None

    def balances(self) -> tuple[Column, Column, None, Column]:
        """Return where kswapd began and ended: rows, highest zones, nothing, and ones and zeros."""
        begun, highest = self.fields("bal", "hz")
        ended = self.rows("bal_r")
        call, answer = self._calls(begun, ended)
        event = np.concatenate([begun, ended[answer]])
        begins = np.concatenate([np.ones(len(begun), np.int64), np.zeros(len(answer), np.int64)])
        return event, np.concatenate([highest, highest[call]]), None, begins

    def bulk(self) -> Bulk:
        """Return the bulk allocations, each where it was done, with how many frames it got.

        One that got a single frame had it by an ordinary allocation, which is logged as such.
        """
        begun, gfp, node = self.fields("bulk", "gfp", "nid")
        event, count = self.fields("bulk_r", "n")
        call, answer = self._calls(begun, event)
        table = np.stack([event[answer], node[call], gfp[call], count[answer]])
        return Bulk(*table[:, table[3] > 1])

    def _calls(self, begun: Column, ended: Column) -> tuple[Column, Column]:
        # Which of the events are the call and the return of one, in the order of the returns. A task returns from the
        # call it made last; what runs in the idle task is told apart by its CPU.
        tasks: dict[int, list[int]] = {}
        pairs = []
        order = np.argsort(np.concatenate([begun, ended]), kind="stable").tolist()
        task = np.where(self.events.pid == 0, -1 - self.events.cpu, self.events.pid)
        task = task[np.concatenate([begun, ended])].tolist()
        for one in order:
            waiting = tasks.setdefault(task[one], [])
            if one < len(begun):
                waiting.append(one)
            elif waiting:
                pairs.append((waiting.pop(), one - len(begun)))
        call, answer = np.array(pairs, np.int64).reshape(-1, 2).T
        return call, answer

    def _zone(self, address: Column) -> Column:
        unknown = [number for number in np.unique(address).tolist() if number not in self._zones]
        if unknown:
            raise TraceError(must("zone of a drain", "one whose address the free lists tell", hex(unknown[0])))
        return np.array([self._zones[number] for number in address.tolist()], np.int64)


def _taken(event: Column, page: Column, order: Column, kind: int, mt: Column) -> Taken:
    pfn = ((page.view(np.uint64) - np.uint64(VMEMMAP)) // np.uint64(PAGE_STRUCT)).astype(np.int64)
    kinds: NDArray[Any] = np.full(len(event), kind, np.uint8)
    none = np.zeros(len(event), np.uint32)
    return Taken(event, PageEvents(kinds, pfn, order.astype(np.int8), mt.astype(np.int8), none))


def _signed(address: int) -> int:
    return address - (1 << 64) if address >= 1 << 63 else address
