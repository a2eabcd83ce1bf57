"""`replay` and `Replay`: whole arrays of requests in, whole arrays of answers out.

A request is a row; what the columns mean is in `structpage.core.script`, whose loop runs them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.arguments import at_least
from structpage.core import script
from structpage.core.script import ALLOC, FREE, RELEASE
from structpage.core.status import CORRUPT, REFUSED
from structpage.core.words import TYPES
from structpage.errors import AccessError, InvalidArgument, InvalidFree, StructPageError, must
from structpage.refusal import corruption, why_not_allocated, why_not_reserved
from structpage.request import Column, Requests
from structpage.timeline import timeline

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator

KIND_NAMES = ("ALLOC", "FREE", "SPLIT", "RELEASE")


class Replay(NamedTuple):
    """What came of a replay.

    `answers`, int64, a row per request: a PFN, 0, or -1 for no memory. `timeline`, a structured array of
    `structpage.timeline.rows`: the free memory as it was after every so many requests.
    """

    requests: Requests
    answers: Column
    timeline: npt.NDArray[np.void]

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """The PFNs handed out, in order, failed allocations left out; uint64."""
        handed = self.answers[self.requests.kind == ALLOC]
        pfns: npt.NDArray[np.uint64] = handed[handed >= 0].astype(np.uint64)
        return pfns

    @property
    def failed(self) -> npt.NDArray[np.int64]:
        """The rows of the allocations that found no memory."""
        return np.flatnonzero((self.requests.kind == ALLOC) & (self.answers < 0))

    @property
    def failures(self) -> int:
        """Number of allocations that found no memory."""
        return len(self.failed)

    @property
    def pfn_digest(self) -> str:
        """SHA-256, hexadecimal, over the PFNs handed out as little-endian uint64."""
        return hashlib.sha256(self.pfns.astype("<u8").tobytes()).hexdigest()


def replay(buddy: BuddyAllocator, requests: Requests, *, every: int = 0) -> Replay:
    """Run requests through the core's loop on the allocator's engine.

    With `every`, the time line has the state before the first request and after every `every` ones from there.

    A failed allocation is an answer, and so is what was to be done with it. Raises `InvalidArgument` for a row that
    no allocator could run, with nothing done; `InvalidFree` or `CorruptionError` for the row that was refused, with a
    note that says which; the rows before it stay done. Consumers are not asked: they see the calls of `alloc` and
    `free`, one by one.
    """
    return resume(buddy, requests, slot_table(min(requests.slots, len(requests))), every=every)


def slot_table(slots: int) -> Column:
    """Return the table that says where each slot's allocation is, with none made yet; int64."""
    return np.full(max(slots, 1), -1, np.int64)


def resume(buddy: BuddyAllocator, requests: Requests, where: Column, *, done: int = 0, every: int = 0) -> Replay:
    """Run requests that follow on `done` others, whose allocations are in the slot table `where`; as `replay` does.

    Rows are counted from the first of all requests, in the time line and in an error's `request`.
    """
    _validate(buddy, requests, len(where))
    times = sample_times(at_least("every", every, 0), done, len(requests))
    samples = np.zeros((len(times), buddy.core.zones, TYPES, buddy.core.orders), np.int64)
    answers = np.zeros(len(requests), np.int64)
    ran = taken = 0
    while ran < len(requests) or taken < len(times):
        due = times[taken] - done - ran if taken < len(times) else -1
        rows = [column[ran:] for column in requests.columns()]
        written = (where, answers[ran:], samples[taken:].reshape(-1))
        try:
            ran += buddy.engine.run(script.replay, buddy.ranges, rows, written, int(due), every)
        except AccessError as error:
            _say_which(error, requests, done, ran + (error.request or 0))
            raise
        taken = int(np.searchsorted(times, done + ran, side="right"))
        if ran and answers[ran - 1] in (REFUSED, CORRUPT):
            raise _error(buddy, requests, where, ran - 1, int(answers[ran - 1]), done)
    return Replay(requests, answers, timeline(times, samples, buddy.zones))


def sample_times(every: int, done: int, count: int) -> npt.NDArray[np.int64]:
    """Return after how many requests in all a sample is due, among `count` that follow on `done` others."""
    if not every or not count:
        return np.empty(0, np.int64)
    first = 0 if done == 0 else (done // every + 1) * every
    return np.arange(first, done + count + 1, every, dtype=np.int64)


def _validate(buddy: BuddyAllocator, requests: Requests, slots: int) -> None:
    limits = {
        "kind": (requests.kind, 0, len(KIND_NAMES) - 1),
        "order": (requests.order, 0, buddy.max_order),
        "migratetype": (requests.migratetype, 0, TYPES - 1),
        "zone": (requests.zone, 0, len(buddy.buffers["zonelist"]) // (buddy.core.zones + 1) - 1),
    }
    for name, (column, least, most) in limits.items():
        _within(name, column, None, least, most)
    released = requests.kind == RELEASE
    held = None if not released.any() else ~released
    _within("offset", requests.offset, held, 0, (1 << 52) - 1)
    _within("slot", requests.slot, held, 0, slots - 1)
    if held is not None:
        _within("offset", requests.offset, released, 0, buddy.pages.frames - 1)


def _within(name: str, column: Column, rows: npt.NDArray[np.bool_] | None, least: int, most: int) -> None:
    if len(column) == 0 or (rows is None and column.min() >= least and column.max() <= most):
        return
    wrong = (column < least) | (column > most)
    bad = np.flatnonzero(wrong if rows is None else wrong & rows)
    if len(bad):
        rule = f"between {least} and {most}"
        raise InvalidArgument(must(f"{name} of request {bad[0]}", rule, column[bad[0]]))


def _error(
    buddy: BuddyAllocator, requests: Requests, where: Column, row: int, status: int, done: int
) -> StructPageError:
    kind, order, slot, offset, *_ = (int(column[row]) for column in requests.columns())
    if status == CORRUPT:
        error: StructPageError = corruption(buddy)
    elif kind == RELEASE:
        error = InvalidFree(why_not_reserved(buddy, offset, offset + (1 << order)))
    else:
        pfn = int(where[slot]) + offset
        error = InvalidFree(why_not_allocated(buddy.pages, pfn, order if kind == FREE else None))
    _say_which(error, requests, done, row)
    return error


def _say_which(error: StructPageError, requests: Requests, done: int, row: int) -> None:
    kind, order, slot, offset, *_ = (int(column[row]) for column in requests.columns())
    error.request = done + row
    error.add_note(f"request {done + row}: {KIND_NAMES[kind]} order {order} slot {slot} offset {offset}")
