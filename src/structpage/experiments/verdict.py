"""The verdict of a placement under a consumer: a workload is run, and what happens is what is said.

The owners behave as owners do: they write to what they were given. Between requests the consumer's timer
sees the workload's clock. A list that breaks ends the run, as it would end a kernel; whatever else went
wrong the consumer saw, and `check()` at the end sees the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from structpage.allocator import BuddyAllocator
from structpage.consumers import Consumer, FreePageReporting, Verdict, consumer_class
from structpage.core.script import ALLOC, FREE, RELEASE
from structpage.errors import CorruptionError, InvalidFree, OutOfMemory, OutOfRange
from structpage.experiments.workload import Workload
from structpage.frames import PAGE_WORDS

OWNER_DATA = 0x5EC12E7_0FA11  # what owners write to each frame; any value that is neither zero nor poison


def observe(workload: Workload, placement: str | type, consumer: str | type | Consumer) -> Verdict:
    """Return what becomes of a placement when the workload runs under a consumer.

    Cost: that of the workload at 5 to 20 us a request, and of the consumer's work on the memory.
    """
    if not isinstance(consumer, Consumer):
        consumer = _made(workload, consumer)
    buddy = workload.allocator(placement, consumers=[consumer])
    row = 0
    try:
        for row in _run(workload, buddy, consumer):
            pass
        consumer.finish()
        buddy.check()
    except CorruptionError as error:
        return Verdict("lost", 0, f"a list was destroyed, seen at request {row}: {error}")
    except (InvalidFree, OutOfRange) as error:
        # The allocator handed out what it had handed out before: its owners now free it twice.
        return Verdict("lost", 0, f"frames were handed out twice, seen at request {row}: {error}")
    return consumer.verdict()


def _made(workload: Workload, choice: str | type) -> Consumer:
    cls = consumer_class(choice)
    if issubclass(cls, FreePageReporting):
        return cls(low_watermark=workload.low_watermark)
    made: Consumer = cls()
    return made


def _run(workload: Workload, buddy: BuddyAllocator, consumer: Consumer) -> Iterator[int]:
    """Run the requests one by one through the allocator's own calls; yield the row of each."""
    assert buddy.memory is not None  # noqa: S101  the allocator makes it when there is a consumer
    words = buddy.memory.words
    where = [-1] * max(workload.requests.slots, 1)
    tick = consumer.tick
    begin = int(workload.times[0]) if len(workload.times) else 0
    columns = [column.tolist() for column in (*workload.requests.columns(), workload.times)]
    for row, (kind, order, slot, offset, mt, zone, time) in enumerate(zip(*columns, strict=True)):
        yield row
        tick(time - begin)
        if kind == ALLOC:
            try:
                pfn = where[slot] = buddy.alloc_from(zone, order, mt)
            except OutOfMemory:
                where[slot] = -1
                continue
            words[pfn * PAGE_WORDS : (pfn + (1 << order)) * PAGE_WORDS : PAGE_WORDS] = OWNER_DATA
        elif kind == RELEASE:
            buddy.release(offset, 1 << order)
        elif where[slot] >= 0:
            if kind == FREE:
                buddy.free(where[slot] + offset, order)
            else:
                buddy.split(where[slot] + offset, order)
