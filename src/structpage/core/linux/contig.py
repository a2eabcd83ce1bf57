"""Contiguous allocation: frames by their address, whatever free blocks they are in.

The range is isolated, the per-CPU lists are drained, what is in use is moved elsewhere, and the free blocks are taken
off the Isolate lists; the frames that were not asked for are freed again, and the isolation ends. Nothing here moves
frames: a caller who can, does so between `isolate_contig_range`, after which every block that is freed in the range
stays in it, and `take_contig_range`. `alloc_contig_range` is both for a range that has nothing in use.

Followed: Linux 6.1 mm/page_alloc.c, `alloc_contig_range`, `free_contig_range`; mm/compaction.c,
`isolate_freepages_range`.
"""

from __future__ import annotations

from structpage.core.linux.isolation import (
    is_isolated_range,
    isolate_free_block,
    start_isolate_page_range,
    undo_isolate_page_range,
)
from structpage.core.linux.machine import Machine
from structpage.core.status import BUSY, CORRUPT, REFUSED
from structpage.core.words import LANE_SHIFT, UNMOVABLE

# Allocating


def alloc_contig_range(machine: Machine, start: int, stop: int, mt: int, cpu: int, owner: int) -> int:
    """Allocate the frames [start, stop), each by itself; 0, `REFUSED`, `BUSY` or `CORRUPT`.

    `mt` is the type of the range's pageblocks, Movable or CMA; it is what they are afterwards. `REFUSED` if they are
    not all in one zone, `BUSY` if some are isolated already, or if not all frames asked for are free.
    """
    status = isolate_contig_range(machine, start, stop, mt, cpu)
    return status if status else take_contig_range(machine, start, stop, mt, cpu, owner)


def isolate_contig_range(machine: Machine, start: int, stop: int, mt: int, cpu: int) -> int:
    """Isolate the pageblocks of a range and drain the per-CPU lists of its zone; 0, `REFUSED`, `BUSY` or `CORRUPT`.

    `take_contig_range` or `undo_isolate_page_range` must follow, if it is 0.
    """
    status = start_isolate_page_range(machine, start, stop, mt, cpu)
    if status:
        return status
    percpu = machine.percpu
    zone = percpu.zone_lists.blocks.buddy.zone_at(start)
    for other in range(percpu.cpus):
        if status == 0:
            status = percpu.drain_all(zone, other, cpu)
    return status


def take_contig_range(machine: Machine, start: int, stop: int, mt: int, cpu: int, owner: int) -> int:
    """Allocate the frames of an isolated range if all are free, and end its isolation; 0, `BUSY` or `CORRUPT`."""
    status = take_isolated(machine, start, stop, cpu, owner)
    undone = undo_isolate_page_range(machine, start, stop, mt, cpu)
    return undone if undone else status


def take_isolated(machine: Machine, start: int, stop: int, cpu: int, owner: int) -> int:
    """Take the free blocks of an isolated range off their lists, and give back what lies outside.

    0, `BUSY` if not all frames are free, or `CORRUPT`.
    """
    buddy = machine.percpu.zone_lists.blocks.buddy
    head = buddy.head_of(start)
    outer = head if head >= 0 and buddy.memmap.is_free_head(head) else start
    if not is_isolated_range(machine, outer, stop):
        return BUSY
    lane = buddy.zone_at(start) << LANE_SHIFT | UNMOVABLE
    pfn = outer
    while pfn < stop:
        order = isolate_free_block(machine, pfn, cpu)
        if order < 0:
            return CORRUPT
        for frame in range(pfn, pfn + (1 << order)):
            buddy.memmap.mark_allocated(frame, 0, lane, owner)
        pfn += 1 << order
    status = free_frames(machine, outer, start, cpu)
    return status if status else free_frames(machine, stop, pfn, cpu)


def first_used(machine: Machine, start: int, stop: int) -> int:
    """Return the first frame of [start, stop) that is in no free block: what a caller has to move; -1 if none is."""
    buddy = machine.percpu.zone_lists.blocks.buddy
    pfn = start
    while pfn < stop:
        head = buddy.head_of(pfn)
        if head < 0 or not buddy.memmap.is_free_head(head):
            return pfn
        pfn = head + (1 << buddy.memmap.order_of(head))
    return -1


# Freeing


def free_contig_range(machine: Machine, start: int, stop: int, cpu: int) -> int:
    """Free frames that were allocated each by itself, ascending; 0, `REFUSED` or `CORRUPT`."""
    buddy = machine.percpu.zone_lists.blocks.buddy
    if not 0 <= start <= stop <= buddy.frames:
        return REFUSED
    for pfn in range(start, stop):
        if not (buddy.memmap.is_allocated_head(pfn) and buddy.memmap.order_of(pfn) == 0):
            return REFUSED
    return free_frames(machine, start, stop, cpu)


def free_frames(machine: Machine, start: int, stop: int, cpu: int) -> int:
    """Free allocated single frames one after the other; 0, or the status of the first that is not freed."""
    status = 0
    for pfn in range(start, stop):
        if status == 0:
            status = machine.free(pfn, 0, cpu)
    return status
