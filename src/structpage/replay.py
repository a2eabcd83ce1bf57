"""`replay` and `Replay`: whole arrays of requests in, whole arrays of answers out.

A request is a row; what the columns mean is in `structpage.core.script`, whose loop runs them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage.core import script
from structpage.core.buffers import Buffer
from structpage.core.script import ALLOC, FREE, RELEASE
from structpage.core.status import CORRUPT, REFUSED
from structpage.core.words import TYPES
from structpage.errors import InvalidArgument, InvalidFree, StructPageError, must
from structpage.refusal import corruption, why_not_allocated, why_not_reserved
from structpage.request import Column, Requests

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator

COLUMNS = ("kind", "order", "slot", "offset", "migratetype", "zone")
CHUNK = 1 << 16
"""Rows that a plain engine makes Python ints of at a time."""
KIND_NAMES = ("ALLOC", "FREE", "SPLIT", "RELEASE")


class Replay(NamedTuple):
    """What came of a replay: `answers`, int64, a row per request: a PFN, 0, or -1 for no memory."""

    requests: Requests
    answers: Column

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """The PFNs handed out, in order, failed allocations left out; uint64."""
        handed = self.answers[self.requests.kind == ALLOC]
        pfns: npt.NDArray[np.uint64] = handed[handed >= 0].astype(np.uint64)
        return pfns

    @property
    def failures(self) -> int:
        """Number of allocations that found no memory."""
        return int((self.answers[self.requests.kind == ALLOC] < 0).sum())

    @property
    def pfn_digest(self) -> str:
        """SHA-256, hexadecimal, over the PFNs handed out as little-endian uint64."""
        return hashlib.sha256(self.pfns.astype("<u8").tobytes()).hexdigest()


def replay(buddy: BuddyAllocator, requests: Requests) -> Replay:
    """Run requests through the core's loop on the allocator's engine.

    A failed allocation is an answer, and so is what was to be done with it. Raises `InvalidArgument` for a row that
    no allocator could run, with nothing done; `InvalidFree` or `CorruptionError` for the row that was refused, with a
    note that says which; the rows before it stay done. Consumers are not asked: they see the calls of `alloc` and
    `free`, one by one.
    """
    _validate(buddy, requests)
    engine = buddy.engine
    where = engine.column(np.full(max(requests.slots, 1), -1, np.int64))
    answers = np.zeros(len(requests), np.int64)
    for start in range(0, len(requests), CHUNK):
        rows = requests[start : start + CHUNK]
        kind, order, slot, offset, mt, zone = (
            engine.rows(name, column) for name, column in zip(COLUMNS, rows.columns(), strict=True)
        )
        done = script.replay(buddy.ranges, kind, order, slot, offset, mt, zone, where, engine.column(answers[start:]))
        if answers[start + done - 1] in (REFUSED, CORRUPT):
            raise _error(buddy, requests, where, start + done - 1, int(answers[start + done - 1]))
    return Replay(requests, answers)


def _validate(buddy: BuddyAllocator, requests: Requests) -> None:
    limits = {
        "kind": (requests.kind, 0, len(KIND_NAMES) - 1),
        "order": (requests.order, 0, buddy.max_order),
        "migratetype": (requests.migratetype, 0, TYPES - 1),
        "zone": (requests.zone, 0, len(buddy.buffers["zonelist"]) // (buddy.core.zones + 1) - 1),
    }
    for name, (column, least, most) in limits.items():
        _within(name, column, np.ones(len(column), np.bool_), least, most)
    released = requests.kind == RELEASE
    _within("offset", requests.offset, released, 0, buddy.pages.frames - 1)
    _within("offset", requests.offset, ~released, 0, (1 << 52) - 1)
    _within("slot", requests.slot, ~released, 0, len(requests) - 1)


def _within(name: str, column: Column, rows: npt.NDArray[np.bool_], least: int, most: int) -> None:
    bad = np.flatnonzero(rows & ((column < least) | (column > most)))
    if len(bad):
        rule = f"between {least} and {most}"
        raise InvalidArgument(must(f"{name} of request {bad[0]}", rule, column[bad[0]]))


def _error(buddy: BuddyAllocator, requests: Requests, where: Buffer, row: int, status: int) -> StructPageError:
    kind, order, slot, offset, *_ = (int(column[row]) for column in requests.columns())
    if status == CORRUPT:
        error: StructPageError = corruption(buddy)
    elif kind == RELEASE:
        error = InvalidFree(why_not_reserved(buddy.pages, buddy.zones, offset, offset + (1 << order)))
    else:
        pfn = where[slot] + offset
        error = InvalidFree(why_not_allocated(buddy.pages, pfn, order if kind == FREE else None))
    error.request = row
    error.add_note(f"request {row}: {KIND_NAMES[kind]} order {order} slot {slot} offset {offset}")
    return error
