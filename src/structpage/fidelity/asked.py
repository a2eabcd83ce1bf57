"""What a recorded kernel was asked for, and what it did: rows of `core.linux.script`, and the records beside them.

Terminology: a *request* came from outside the allocator: allocations, frees, and, as *hints*, what the kmem events do
not show. A *record* is what the allocator did about it. A free names the allocation that it undoes; the kernel's PFNs
only say which that is. Frames that were in use before the trace, or were allocated out of its sight, have no other
name than their PFN.

No request is made from a record, with two exceptions that nothing outside the allocator determines, and that are
counted: whether a theft retyped its pageblock, and the node that was asked for where there are several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.linux import script
from structpage.engines import Engine
from structpage.fidelity.probes import Probes
from structpage.fidelity.records import Records, records_of
from structpage.request import ALLOC, FREE, RELEASE, SPLIT, Column
from structpage.traces.capture import Capture
from structpage.traces.events import MM_PAGE_FREE, Events
from structpage.traces.pairing import PageEvents, Pairing

SOURCES: Final = ("hints", "kmem")
"""Which events requests are made from: kmem's alone, or the kprobes' too."""

PAGEBLOCK_ORDER: Final = 9

_TRACED, _TAKEN, _RETURNED = range(3)


class Rows(NamedTuple):
    """Columns of requests, int64; the first seven are those of the script."""

    kind: Column
    order: Column
    slot: Column
    at: Column
    cpu: Column
    arg: Column
    hint: Column
    event: Column
    """Row of the event in the trace."""
    expected: Column
    """The kernel's answer: a PFN, or `UNTOLD`."""

    def columns(self) -> tuple[Column, ...]:
        """Return what the script reads."""
        return self[:7]

    def take(self, index: NDArray[np.intp]) -> Rows:
        """Return the rows with these numbers."""
        return Rows(*(column[index] for column in self))


@dataclass(frozen=True, eq=False)
class Asked:
    """A trace as requests, and what the kernel did about each."""

    rows: Rows
    records: Records
    slots: int
    """Number of slots that the rows name."""
    hints: dict[str, int]
    """How many rows of each kind came from kprobes; and how often the node asked for was read off the answer."""

    def take(self, index: NDArray[np.intp]) -> Asked:
        """Return the same requests in another order."""
        return Asked(self.rows.take(index), self.records.take(index), self.slots, self.hints)


def asked_of(capture: Capture, source: str = "hints", engine: str | Engine | None = None) -> Asked:
    """Return what a capture's kernel was asked for.

    Args:
        capture: the capture.
        source: one of `SOURCES`.
        engine: what runs the loop that pairs allocations and frees.

    Raises:
        TraceError: an event's PFN or order cannot be.

    Cost: some 0.3 us per event with numba, 3 us without; 200 bytes per request.

    """
    events = capture.events
    probes = Probes(capture) if source == "hints" else None
    rows, slots = _page_rows(capture, probes, engine)
    parts = [_committed(events, rows, probes)]
    hints: dict[str, int] = {}
    if probes is not None:
        more, slots = _probe_rows(probes, slots)
        for drain in ("drainz", "drainzp"):
            more[drain] = more[drain]._replace(slot=events.cpu[more[drain].event].astype(np.int64))
        nodes = _node_of_cpu(rows, int(events.cpu.max(initial=0)) + 1)
        more["bal"] = more["bal"]._replace(slot=nodes[more["bal"].cpu])
        anywhere = more["bulk"].arg < 0
        more["bulk"] = more["bulk"]._replace(arg=np.where(anywhere, nodes[more["bulk"].cpu], more["bulk"].arg))
        parts += more.values()
        hints = {kind: len(part.kind) for kind, part in more.items() if len(part.kind)}
        taken = int(np.count_nonzero(rows.kind == script.ISOLATE))
        direct = int(np.count_nonzero((parts[0].kind == script.COMMIT) & (parts[0].arg > 0)))
        returned = int(np.count_nonzero(rows.kind == script.PUT_BACK))
        counted = (("isolate", taken), ("putback", returned), ("freeone", direct))
        hints |= {name: count for name, count in counted if count}
    nodes = capture.before["nodes"]
    if len(nodes) > 1:
        hints["node"] = int(np.count_nonzero(rows.kind == script.ALLOC))
    joined = _joined(parts)
    joined = joined.take(np.argsort(joined.event, kind="stable"))
    records, theft = records_of(events, joined.event, joined.kind)
    return Asked(joined._replace(hint=theft), records, slots, hints)


def _joined(parts: list[Rows]) -> Rows:
    return Rows(*map(np.concatenate, zip(*parts, strict=True)))


def _page_rows(capture: Capture, probes: Probes | None, engine: str | Engine | None) -> tuple[Rows, int]:
    # Allocations and frees as they are in the trace, and blocks that compaction and reporting took and returned.
    events = capture.events
    seen = np.flatnonzero(events.kind <= MM_PAGE_FREE)
    sets = [(seen, _page_events(events, seen), np.full(len(seen), _TRACED))]
    if probes is not None:
        sets += [(p.event, p.events, np.full(len(p.event), k)) for p, k in probes.taken(_TAKEN, _RETURNED)]
    event = np.concatenate([part[0] for part in sets])
    order = np.argsort(event, kind="stable")
    event, source = event[order], np.concatenate([part[2] for part in sets])[order]
    asked = PageEvents(*(np.concatenate(column)[order] for column in zip(*(part[1] for part in sets), strict=True)))
    pairing = Pairing(capture.before, engine=engine)
    paired = [part.columns for part in pairing.requests([asked])]
    none = [np.zeros(0, np.int64)] * 7
    what, size, slot, offset, _, _, index = (np.concatenate(column) for column in zip(none, *paired, strict=True))
    slots = int(slot.max(initial=-1)) + 1
    kinds = np.zeros(max(ALLOC, FREE, SPLIT, RELEASE) + 1, np.int64)
    kinds[[ALLOC, FREE, SPLIT, RELEASE]] = script.ALLOC, script.FREE, script.SPLIT, script.FREE
    at, arg = offset.copy(), np.zeros(len(what), np.int64)
    expected = np.full(len(what), script.UNTOLD)
    kind = kinds[what]
    made = what == ALLOC
    traced, taken = made & (source[index] == _TRACED), made & (source[index] == _TAKEN)
    at[traced], expected[traced] = asked.gfp[index][traced], asked.pfn[index][traced]
    arg[traced] = _node_of(capture, asked.pfn[index][traced])
    kind[taken], at[taken] = script.ISOLATE, asked.pfn[index][taken]
    arg[taken] = _may_be_searched(asked.pfn[index][taken])
    back = ((what == FREE) | (what == RELEASE)) & (source[index] == _RETURNED)
    kind[back], arg[back] = script.PUT_BACK, asked.migratetype[index][back]
    where = event[index]
    cpu = events.cpu[where].astype(np.int64)
    rows = Rows(kind, size, slot, at, cpu, arg, np.zeros_like(kind), where, expected)
    return _joined([rows, _unpaired(events, asked, event, source, index, what)]), slots


def _may_be_searched(pfn: Column) -> Column:
    # Which of the blocks that were taken by their address, in turn, may have been found by a search of the lists: 1
    # for each that does not go on with a scan of its pageblock, nor begins one around the block found before.
    searched: list[int] = []
    before = -1
    for one in pfn.tolist():
        within = before >= 0 and one >> PAGEBLOCK_ORDER == before >> PAGEBLOCK_ORDER
        searched.append(0 if within and (one > before or searched[-1]) else 1)
        before = one
    return np.array(searched, np.int64)


def _unpaired(
    events: Events,
    asked: PageEvents,
    event: Column,
    source: Column,
    index: Column,
    what: Column,
) -> Rows:
    # Frees of frames that nobody is known to have: allocated out of sight, so named by their PFN.
    known = np.zeros(len(event), bool)
    known[index[(what == FREE) | (what == RELEASE)]] = True
    rows = np.flatnonzero((asked.kind == MM_PAGE_FREE) & (source == _TRACED) & (asked.pfn >= 0) & ~known)
    none = np.zeros(len(rows), np.int64)
    cpu = events.cpu[event[rows]].astype(np.int64)
    order = asked.order[rows].astype(np.int64)
    untold = np.full(len(rows), script.UNTOLD)
    return Rows(none + script.FREE, order, none - 1, asked.pfn[rows], cpu, none, none, event[rows], untold)


def _page_events(events: Events, rows: NDArray[np.intp]) -> PageEvents:
    return PageEvents(*(getattr(events, name)[rows] for name in PageEvents._fields))


def _node_of(capture: Capture, pfn: Column) -> Column:
    # The node of each frame: what was asked for, as far as anybody can tell.
    nodes = np.zeros(len(pfn), np.int64)
    for node in capture.before["nodes"]:
        for zone in node["zones"]:
            start = zone["start_pfn"]
            nodes[(pfn >= start) & (pfn < start + zone["spanned"])] = node["node"]
    return nodes


def _node_of_cpu(rows: Rows, cpus: int) -> Column:
    # The node that most allocations of each CPU ask for: its own.
    asked = rows.kind == script.ALLOC
    counts = np.zeros((cpus, int(rows.arg[asked].max(initial=0)) + 1), np.int64)
    np.add.at(counts, (rows.cpu[asked], rows.arg[asked]), 1)
    nodes: Column = counts.argmax(axis=1)
    return nodes


def _committed(events: Events, rows: Rows, probes: Probes | None) -> Rows:
    # A free is committed where its page is logged as batched, or goes past the per-CPU lists; else at once.
    batched = np.flatnonzero(events.kind == events.code("mm_page_free_batched"))
    commits = [(batched, events.pfn[batched], np.zeros(len(batched), np.int64))]
    if probes is not None:
        commits.append(probes.direct_frees())
    event, pfn, direct = map(np.concatenate, zip(*commits, strict=True))
    begun = np.flatnonzero((rows.kind == script.FREE) & (events.kind[rows.event] == MM_PAGE_FREE))
    first, second = _matches(rows.event[begun], events.pfn[rows.event[begun]], event, pfn)
    begun = begun[first]
    kind = rows.kind.copy()
    kind[begun] = script.PREPARE
    later = rows.take(begun)._replace(event=event[second], arg=direct[second])
    later = later._replace(kind=np.full(len(begun), script.COMMIT), cpu=events.cpu[event[second]].astype(np.int64))
    return _joined([rows._replace(kind=kind), later])


def _matches(begun: Column, pfn: Column, event: Column, committed: Column) -> tuple[Column, Column]:
    # Pairs (i, j) of a free and the next commit of the same PFN, if no other free of it lies between.
    when, who = np.concatenate([begun, event]), np.concatenate([pfn, committed])
    order = np.lexsort((when, who))
    ends = order >= len(begun)
    pair = np.flatnonzero(ends[1:] & ~ends[:-1] & (who[order][1:] == who[order][:-1]))
    return order[pair], order[pair + 1] - len(begun)


def _probe_rows(probes: Probes, slots: int) -> tuple[dict[str, Rows], int]:
    # What only kprobes show: counters folded, drains, kswapd, and bulk allocations with slots of their own.
    bulk = probes.bulk()
    first = slots + np.cumsum(bulk.pages) - bulk.pages
    return {
        "vmfold": _rows(script.FOLD, probes.events, probes.rows("vmfold")),
        "drainz": _rows(script.DRAIN, probes.events, *probes.drains("drainz")),
        "drainzp": _rows(script.DRAIN_BATCH, probes.events, *probes.drains("drainzp")),
        "bal": _rows(script.BALANCE, probes.events, *probes.balances()),
        "bulk": _rows(script.BULK, probes.events, bulk.event, bulk.node, None, bulk.pages, first, bulk.gfp),
    }, slots + int(bulk.pages.sum())


def _rows(
    kind: int,
    events: Events,
    event: Column,
    arg: Column | None = None,
    cpu: Column | None = None,
    order: Column | None = None,
    slot: Column | None = None,
    at: Column | None = None,
) -> Rows:
    none = np.zeros(len(event), np.int64)
    here = events.cpu[event].astype(np.int64)

    def filled(column: Column | None) -> Column:
        return none if column is None else column.astype(np.int64)

    cpus = here if cpu is None else filled(cpu)
    untold = none + script.UNTOLD
    return Rows(none + kind, filled(order), filled(slot), filled(at), cpus, filled(arg), none, event, untold)
