"""Why a prediction was wrong: what was asked, predicted and recorded, where both frames were, and what touched them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from structpage.core.linux import script
from structpage.core.linux.tracepoints import DRAINED, FELL_BACK, ORDER_AT, REMOVED, TYPE_AT
from structpage.core.words import TYPE_NAMES
from structpage.fidelity.asked import Rows
from structpage.gfp import format_gfp
from structpage.machine import Machine
from structpage.traces.events import Events
from structpage.zones import Zone

SHOWN = 8
"""Blocks of a list that are shown, and events of a frame."""

_KINDS = {REMOVED: "removed", DRAINED: "drained", FELL_BACK: "fell back to"}
_ASKED = ("allocation", "bulk allocation", "free", "free", "free", "split", "drain", "drain", "fold", "kswapd", "take")


def explain(machine: Machine, events: Events, rows: Rows, row: int, answers: tuple[int, int], records: Records) -> str:
    """Return the story of a wrong row, as text.

    Args:
        machine: in the state it was in before the row.
        events: the trace.
        rows: the requests.
        row: the number of the wrong one.
        answers: what was predicted, and what was recorded.
        records: the records that were predicted, and those that were recorded.

    Cost: O(blocks on the lists, and events of the trace).

    """
    return "\n".join(_lines(machine, events, rows, row, answers, records))


Records = tuple[list[tuple[int, int]], list[tuple[int, int]]]


def _lines(
    machine: Machine, events: Events, rows: Rows, row: int, answers: tuple[int, int], records: Records
) -> Iterator[str]:
    event = int(rows.event[row])
    kind = int(rows.kind[row])
    what = _ASKED[kind] if kind < len(_ASKED) else "put-back"
    asked = f"order {rows.order[row]}, cpu {rows.cpu[row]}"
    if kind == script.ALLOC:
        asked += f", {format_gfp(int(rows.at[row]))}"
    yield f"{what}, event {event} at {events.time[event]}: {asked}"
    frames = set()
    if answers[1] != script.UNTOLD and answers[0] != answers[1]:
        yield f"  answer: predicted {_pfn(answers[0])}, recorded {_pfn(answers[1])}"
        frames |= set(answers)
    predicted, recorded = records
    wrong = [i for i, (one, other) in enumerate(zip(predicted, recorded, strict=False)) if one != other]
    if wrong:
        one, other = predicted[wrong[0]], recorded[wrong[0]]
        yield f"  record {wrong[0]}: predicted {_record(one)}, recorded {_record(other)}"
        frames |= {one[0], other[0]}
    elif len(predicted) != len(recorded):
        yield f"  records: {len(predicted)} predicted, {len(recorded)} recorded"
        longer = max(predicted, recorded, key=len)
        yield f"  the first of those left over: {_record(longer[min(len(predicted), len(recorded))])}"
        frames.add(longer[min(len(predicted), len(recorded))][0])
    for pfn in sorted(pfn for pfn in frames if pfn >= 0):
        yield f"  frame {pfn:#x} before: {_place(machine, pfn)}"
        yield from (f"    {line}" for line in _history(events, pfn, event))


def _pfn(answer: int) -> str:
    return f"{answer:#x}" if answer >= 0 else "no memory" if answer == -1 else f"status {answer}"


def _record(record: tuple[int, int]) -> str:
    pfn, what = record
    mt = TYPE_NAMES[what >> TYPE_AT & 15]
    return f"{_KINDS.get(what & 15, '?')} {pfn:#x} of order {what >> ORDER_AT & 63}, {mt}"


def _place(machine: Machine, pfn: int) -> str:
    # Where a frame is: in a free block and on which list, on a per-CPU list, allocated, or nobody's.
    core, head = machine.core, machine.core.head_of(pfn)
    if head < 0:
        return "in use since before the trace"
    order = core.memmap.order_of(head)
    zone = next(zone for zone in machine.zones if zone.start <= head < zone.end)
    block = f"block {head:#x} of order {order}"
    if core.memmap.is_pcp_head(head):
        return f"{block}, {_listed(head, _percpu_lists(machine, zone))}"
    if core.memmap.is_free_head(head):
        return f"free, {block}, {_listed(head, _free_lists(machine, zone, order))}"
    return f"allocated, {block}"


def _free_lists(machine: Machine, zone: Zone, order: int) -> Iterator[tuple[str, list[int]]]:
    for mt, name in enumerate(TYPE_NAMES):
        pfns = machine.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)
        yield f"list {zone.name} {name} order {order}", pfns


def _percpu_lists(machine: Machine, zone: Zone) -> Iterator[tuple[str, list[int]]]:
    for cpu in range(machine.cpus):
        for place, pfns in enumerate(machine.percpu_lists(cpu, zone.name, zone.node)):
            yield f"per-CPU list {place} of cpu {cpu}, zone {zone.name}", pfns


def _listed(head: int, lists: Iterator[tuple[str, list[int]]]) -> str:
    for name, pfns in lists:
        if head in pfns:
            shown = " ".join(f"{other:#x}" for other in pfns[:SHOWN]) + (" ..." if len(pfns) > SHOWN else "")
            return f"number {pfns.index(head)} of {len(pfns)} on {name}: {shown}"
    return "on no list"


def _history(events: Events, pfn: int, event: int) -> list[str]:
    # The last events before one whose block has the frame.
    size = np.left_shift(1, np.maximum(events.order[:event], 0).astype(np.int64))
    touched = np.flatnonzero(
        (events.pfn[:event] <= pfn) & (pfn < events.pfn[:event] + size) & (events.pfn[:event] >= 0)
    )
    return [
        f"event {one} at {events.time[one]}, cpu {events.cpu[one]}: {events.kinds[events.kind[one]]}"
        f" {events.pfn[one]:#x} order {events.order[one]}"
        for one in touched[-SHOWN:].tolist()
    ]
