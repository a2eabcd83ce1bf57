"""Free frames whose memory failed: taken off the lists for good, or until the frame proves to be sound.

Followed: Linux 6.1 mm/page_alloc.c, `take_page_off_buddy`, `put_page_back_buddy`.
"""

from __future__ import annotations

from structpage.core.buddy import MERGE_LIKELY
from structpage.core.linux.machine import Machine
from structpage.core.status import REFUSED
from structpage.core.words import ISOLATE


def take_page_off_buddy(machine: Machine, pfn: int, cpu: int) -> int:
    """Take one frame out of the free block that it is in; 0, `REFUSED` if it is in none, or `CORRUPT`.

    The halves that remain of the block go to the heads of the lists of the type of its first pageblock. The frame is
    reserved then.
    """
    blocks = machine.percpu.zone_lists.blocks
    buddy = blocks.buddy
    head = buddy.head_of(pfn) if 0 <= pfn < buddy.frames else -1
    if head < 0:
        return REFUSED
    mt = blocks.type_of(head)
    status = machine.ranges.take(pfn, 0, mt)
    if status == 0 and mt != ISOLATE:
        blocks.zones.add_free(buddy.zone_at(pfn), cpu, -1, mt)
    return status


def put_page_back_buddy(machine: Machine, pfn: int, cpu: int) -> int:
    """Free a frame that was taken off the lists, not by way of a CPU's; 0, `REFUSED` or `CORRUPT`."""
    blocks = machine.percpu.zone_lists.blocks
    if not (0 <= pfn < blocks.buddy.frames and machine.ranges.is_reserved_range(pfn, pfn + 1)):
        return REFUSED
    return blocks.free(pfn, 0, blocks.buddy.zone_at(pfn), blocks.type_of(pfn), MERGE_LIKELY, cpu)
