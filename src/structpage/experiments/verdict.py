"""The verdict of a placement under a consumer: a workload is run, and what happens is what is said.

The owners behave as owners do: they write to what they were given. Between requests the consumer's timer
sees the workload's clock. A list that breaks ends the run, as it would end a kernel; whatever else went
wrong the consumer saw, and `check()` at the end sees the rest.
"""

from __future__ import annotations

from structpage.allocator import BuddyAllocator
from structpage.consumers import Consumer, FreePageReporting, Verdict, made
from structpage.core.script import ALLOC, FREE, RELEASE
from structpage.errors import CorruptionError, InvalidFree, OutOfMemory, OutOfRange
from structpage.experiments.workload import Workload
from structpage.frames import PAGE_WORDS

OWNER_DATA = 0x5EC12E7_0FA11  # what owners write to each frame; any value that is neither zero nor poison


def observe(workload: Workload, placement: str | type, consumer: str | type | Consumer) -> Verdict:
    """Return what becomes of a placement when the workload runs under a consumer.

    Cost: that of the workload at 5 to 20 us a request, and of the consumer's work on the memory.
    """
    claim = _made(workload, consumer)
    buddy = workload.allocator(placement, consumers=[claim])
    run = _Run(workload, buddy, claim)
    try:
        run.all()
        claim.finish()
        buddy.check()
    except CorruptionError as error:
        return Verdict("lost", 0, f"a list was destroyed, seen at request {run.row}: {error}")
    except (InvalidFree, OutOfRange) as error:
        # The allocator handed out what it had handed out before: its owners now free it twice.
        return Verdict("lost", 0, f"frames were handed out twice, seen at request {run.row}: {error}")
    return claim.verdict()


def _made(workload: Workload, choice: str | type | Consumer) -> Consumer:
    consumer = made(choice)
    if isinstance(consumer, FreePageReporting) and not consumer.low_watermark:
        consumer.low_watermark = workload.low_watermark
    return consumer


class _Run:
    """A workload run one request at a time through the allocator's own calls; `row` is the one being run."""

    def __init__(self, workload: Workload, buddy: BuddyAllocator, consumer: Consumer) -> None:
        assert buddy.memory is not None  # the allocator makes it when there is a consumer
        self.workload, self.buddy, self.consumer = workload, buddy, consumer
        self.words = buddy.memory.words.data
        self.where = [-1] * max(workload.requests.slots, 1)
        self.row = -1

    def all(self) -> None:
        tick = self.consumer.tick if type(self.consumer).tick is not Consumer.tick else None
        times = self.workload.times
        begin = int(times[0]) if len(times) else 0
        columns = [column.tolist() for column in self.workload.requests.columns()]
        for row, (time, *request) in enumerate(zip((times - begin).tolist(), *columns, strict=True)):
            self.row = row
            if tick is not None:
                tick(time)
            self.one(*request)

    def one(self, kind: int, order: int, slot: int, offset: int, mt: int, zone: int) -> None:
        if kind == ALLOC:
            try:
                pfn = self.where[slot] = self.buddy.alloc_from(zone, order, mt)
            except OutOfMemory:
                self.where[slot] = -1
                return
            for frame in range(pfn, pfn + (1 << order)):
                self.words[frame * PAGE_WORDS] = OWNER_DATA
        elif kind == RELEASE:
            self.buddy.release(offset, 1 << order)
        elif self.where[slot] >= 0:
            if kind == FREE:
                self.buddy.free_as(self.where[slot] + offset, order, mt)
            else:
                self.buddy.split(self.where[slot] + offset, order)
