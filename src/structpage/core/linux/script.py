"""The loop over what a recorded kernel was asked for, and the comparison with what it did.

A request is a row of seven columns. `slot` names an allocation, so that a later row can free what came of it.

==============  =====================================================================================================
`ALLOC`         2^order frames with gfp `at` for a caller on `cpu` who wants them from node `arg`
`BULK`          `order` single frames likewise, to `slot` and the slots after it
`FREE`          the block of `order` that lies `at` frames into `slot`; at PFN `at` where `slot` is -1
`PREPARE`       the same, up to where its owner has no more of it
`COMMIT`        the rest; with bit 0 of `arg` past the per-CPU lists, with bit 1 to the tail
`SPLIT`         the block there, of whatever order, becomes blocks of `order`
`DRAIN`         all per-CPU lists of `cpu` and zone `arg`, by the CPU `slot`
`DRAIN_BATCH`   one batch of these
`FOLD`          the free counters of `cpu`
`BALANCE`       kswapd of node `slot` begins (`order` 1) or ends (0) to balance zones up to `arg`
`ISOLATE`       the free block of `order` at PFN `at` goes to `slot`; with `arg` 1 compaction may have searched for it
`PUT_BACK`      the block of `order` that lies `at` frames into `slot` goes back, to the list of type `arg`
==============  =====================================================================================================

`hint` is that of `fallback`, for the thefts of a row; 0 for none.
"""

from __future__ import annotations

from collections.abc import Iterable

from structpage.core.buddy import MERGE_LIKELY, TO_TAIL
from structpage.core.buffers import Buffer
from structpage.core.linux.compaction import rotate_to, was_searched
from structpage.core.linux.isolation import isolate_free_block, put_back
from structpage.core.linux.machine import Machine
from structpage.core.linux.percpu import BATCH, SET_ROW
from structpage.core.linux.tracepoints import FELL_BACK, REMOVED
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import LANE_SHIFT, MOVABLE

ALLOC, BULK, FREE, PREPARE, COMMIT, SPLIT, DRAIN, DRAIN_BATCH, FOLD, BALANCE, ISOLATE, PUT_BACK = range(12)
Row = tuple[int, int, int, int, int, int, int]

EXACT, REMOVALS, FALLBACKS = range(3)
"""Words of `tally`: allocations, removals and fallbacks that were as recorded."""
UNTOLD = -9
"""In `expected`: the row has no recorded answer."""


def act(machine: Machine, row: Row, where: Buffer) -> int:
    """Do what one row asks; the PFN of an allocation, 0, or a status."""
    what, order, slot, at, cpu, arg, _ = row
    if what == ALLOC:
        pfn = machine.alloc(order, at, cpu, arg, 0)
        where[slot] = pfn
        return pfn
    if what == BULK:
        return bulk(machine, order, slot, at, cpu, arg, where)
    if what == FOLD:
        machine.percpu.zone_lists.blocks.zones.fold(cpu, machine.percpu.zone_lists.blocks.buddy.zones)
        return 0
    if what == BALANCE:
        machine.balance(slot, arg, order)
        return 0
    if what == DRAIN:
        return machine.percpu.drain_all(arg, cpu, slot)
    if what == DRAIN_BATCH:
        batch = machine.percpu.row[(arg * machine.percpu.cpus + cpu) * SET_ROW + BATCH]
        return machine.percpu.drain(arg, cpu, batch, 0, slot)
    if what == ISOLATE:
        return isolate(machine, order, slot, at, cpu, arg, where)
    pfn = at
    if slot >= 0:
        if where[slot] < 0:
            return NO_MEMORY
        pfn = where[slot] + at
    if what == FREE:
        return machine.free(pfn, order, cpu)
    if what == PREPARE:
        return machine.prepare(pfn, order)
    if what == COMMIT:
        return machine.commit(pfn, order, cpu, arg & 1, TO_TAIL if arg & 2 else MERGE_LIKELY)
    if what == SPLIT:
        return machine.ranges.split(pfn, order)
    machine.percpu.zone_lists.blocks.buddy.memmap.unmark_allocated(pfn, order)
    return put_back(machine, pfn, order, arg, cpu)


def bulk(machine: Machine, count: int, slot: int, gfp: int, cpu: int, node: int, where: Buffer) -> int:
    """Allocate `count` single frames at once, to the slots from `slot` on; 0 or a status."""
    zone = machine.bulk_zone(count, gfp, node)
    for i in range(slot, slot + count):
        where[i] = machine.alloc_bulk(zone, gfp, cpu, 0) if zone >= 0 else NO_MEMORY
        if where[i] < NO_MEMORY:
            return where[i]
    return 0


def isolate(machine: Machine, order: int, slot: int, pfn: int, cpu: int, turn: int, where: Buffer) -> int:
    """Take the free block of `order` at a PFN off its list, to `slot`; 0 or a status."""
    buddy = machine.percpu.zone_lists.blocks.buddy
    where[slot] = NO_MEMORY
    if not (0 <= pfn < buddy.frames and buddy.memmap.is_free_block(pfn, order)):
        return REFUSED
    if turn and was_searched(machine, pfn, order):
        status = rotate_to(machine, pfn, order, MOVABLE)
        if status:
            return status
    status = isolate_free_block(machine, pfn, cpu)
    if status < 0:
        return status
    buddy.memmap.mark_allocated(pfn, order, buddy.zone_at(pfn) << LANE_SHIFT | MOVABLE, 0)
    where[slot] = pfn
    return 0


def follow(
    machine: Machine,
    rows: Iterable[Row],
    where: Buffer,
    answer: Buffer,
    expected: Buffer,
    bound: Buffer,
    recorded: Buffer,
    made: Buffer,
    moved: Buffer,
    tally: Buffer,
    stop: int,
) -> int:
    """Run the rows in order, each compared, when it is done, with what was recorded of it.

    `answer[i]` becomes what `act` returned, `made[i]` the number of records it made and `moved[i]` the
    frame of the first, -1 if none; `recorded[2 * bound[i]]` up to `recorded[2 * bound[i + 1]]` are the records
    of row i as in `tracepoints`. With `stop` it ends after the first row that was not as recorded; that row counts in
    no tally then. Returns the number of rows run.
    """
    trace = machine.percpu.zone_lists.trace
    entry = trace.entry
    hint = machine.percpu.zone_lists.hint
    i = 0
    for row in rows:
        trace.clear()
        hint[0] = row[6]
        answer[i] = act(machine, row, where)
        made[i] = entry[0] >> 1
        moved[i] = entry[1] if entry[0] > 1 else -1
        first = 2 * bound[i]
        records = 2 * bound[i + 1] - first
        right = expected[i] in (UNTOLD, answer[i]) and answer[i] >= NO_MEMORY and entry[0] == records + 1
        if right:
            for at in range(records):
                if entry[at + 1] != recorded[first + at]:
                    right = False
        if stop and not right:
            return i + 1
        count(entry, recorded, first, records, tally)
        if expected[i] == answer[i]:
            tally[EXACT] += 1
        i += 1
    return i


def count(entry: Buffer, recorded: Buffer, first: int, records: int, tally: Buffer) -> None:
    """Add the removals and fallbacks of a row that are as recorded to the tally."""
    for at in range(0, min(records, entry[0] - 1), 2):
        what = recorded[first + at + 1]
        if entry[at + 1] == recorded[first + at] and entry[at + 2] == what:
            if what & 15 == REMOVED:
                tally[REMOVALS] += 1
            elif what & 15 == FELL_BACK:
                tally[FALLBACKS] += 1
