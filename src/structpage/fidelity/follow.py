"""Following a recorded kernel request by request: predict, compare, and where it was wrong, resynchronise.

Every row is predicted from requests alone; what the kernel did is looked at when the row is done. After a wrong one
the machine is put back to before it, and the row is done as recorded; this is a *repair*. To put a machine back, its
buffers are copied now and then, and the rows since are run again.

Where several CPUs are recorded, rows are put in order of when they must have begun. An allocation is logged when it is
done, and each block that it takes off a zone's lists is an event of its own; so with a clock that counts events, one
that takes n began at least n ticks before its event. How many it takes is itself predicted, in a first pass.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structpage.core.linux import script
from structpage.core.linux.tracepoints import FELL_BACK, REMOVED
from structpage.core.status import NO_MEMORY
from structpage.fidelity.asked import Asked
from structpage.fidelity.explain import explain
from structpage.fidelity.resync import Resync
from structpage.machine import Machine
from structpage.request import Column
from structpage.traces.events import Events

AT_ONCE = 1 << 15
"""Most rows between two copies of the machine, once one was wrong."""
CAUTIOUS = 1 << 8
"""Rows before the first copy after a wrong one."""


class Followed(NamedTuple):
    """What came of following a trace."""

    answers: Column
    """Predictions, a row each."""
    made: Column
    """Number of records that each prediction made."""
    misses: list[int]
    """Rows that were predicted wrongly."""
    stories: list[str]
    """What the first of them was about, and the first whose answer was wrong if that is another."""
    removals: int
    """Blocks off the zones' lists that were predicted rightly."""
    fallbacks: int
    seconds: float
    """Wall time of running and comparing the rows, repairs included; compiled code was loaded before."""
    moved: Column
    """The first frame that each prediction moved on or off a zone's lists, -1 if none."""


class _Copies:
    # Copies of all that following changes.
    def __init__(self, machine: Machine, more: list[NDArray[Any]]) -> None:
        words = {id(array): array for array in machine.buffers.values()}
        self._arrays = [*words.values(), *more]
        self._links = machine.memory.words.reshape(machine.pages.frames, -1) if machine.memory is not None else None
        self._pages = machine.pages
        self.save()

    def save(self) -> None:
        self._saved = [array.copy() for array in self._arrays]
        if self._links is not None:
            heads = np.flatnonzero(np.isin(self._pages.allocator & np.uint64(15), (1, 3, 6)))
            self._heads, self._content = heads, self._links[heads, :2].copy()

    def restore(self) -> None:
        for array, saved in zip(self._arrays, self._saved, strict=True):
            array[:] = saved
        if self._links is not None:
            self._links[self._heads, :2] = self._content


def follow(machine: Machine, asked: Asked, events: Events, *, resynchronise: bool = True) -> Followed:
    """Run requests on a machine in the state that its kernel was in, and compare.

    Without `resynchronise` predictions are never put right: they are then the same whatever the kernel answered.
    """
    return _Follower(machine, asked, events, resynchronise).run()


class _Follower:
    def __init__(self, machine: Machine, asked: Asked, events: Events, resynchronise: bool) -> None:
        self.machine, self.rows, self.records, self.events = machine, asked.rows, asked.records, events
        self.stop = int(resynchronise)
        count = len(asked.rows.kind)
        self.where = np.full(asked.slots + 1, NO_MEMORY, np.int64)
        self.answers, self.made, self.moved = np.zeros((3, count), np.int64)
        self.tally = np.zeros(3, np.int64)
        self.misses: list[int] = []
        self.stories: list[str] = []
        self.answered = True
        taken = np.flatnonzero((asked.rows.kind == script.ISOLATE) & (asked.rows.arg > 0))
        self.searched = int(taken[0]) if len(taken) else -1

    def run(self) -> Followed:
        count = len(self.answers)
        self.copies = _Copies(self.machine, [self.where, self.tally])
        resync = Resync(self.machine, self.where.data)
        saved, size, done = 0, count, 0
        self._run(0, 0)
        begun = time.perf_counter()
        while done < count:
            end = min(saved + size, count)
            done = self._run(done, end)
            if self.stop and done and not self._right(done - 1):
                row = done - 1
                made, answer = self._made(), int(self.answers[row])
                self.copies.restore()
                self._run(saved, row)
                self.tally += self._note(made, row, answer)
                self._repair(resync, row)
                self.copies.save()
                saved, size = done, CAUTIOUS
            elif done == end < count:
                self.copies.save()
                saved, size = done, min(2 * size, AT_ONCE)
        seconds = time.perf_counter() - begun
        _, removals, fallbacks = self.tally.tolist()
        return Followed(self.answers, self.made, self.misses, self.stories, removals, fallbacks, seconds, self.moved)

    def _run(self, start: int, end: int) -> int:
        # Run rows until one is wrong; the number of those done. Of no rows: load what runs them.
        while True:
            columns = [column[start:end] for column in self.rows.columns()]
            written = (
                self.where,
                self.answers[start:end],
                self.rows.expected[start:end],
                self.records.bound[start:],
                self.records.pairs,
                self.made[start:end],
                self.moved[start:end],
                self.tally,
            )
            start += self.machine.engine.run(script.follow, self.machine.machine, columns, written, self.stop)
            if start == end or (self.stop and not self._right(start - 1)):
                return start

    def _right(self, row: int) -> bool:
        expected, answer = int(self.rows.expected[row]), int(self.answers[row])
        if answer < NO_MEMORY or expected not in (script.UNTOLD, answer):
            return False
        return self._made() == self.records.of(row)

    def _made(self) -> list[tuple[int, int]]:
        entry = self.machine.words("trace")
        words = entry[1 : entry[0]].tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    def _note(self, made: list[tuple[int, int]], row: int, answer: int) -> Column:
        # Note a wrong row, the machine being as before it; what of it was right nevertheless, as `tally` counts.
        recorded, expected = self.records.of(row), int(self.rows.expected[row])
        wrong = expected not in (script.UNTOLD, answer)
        if not self.stories or (wrong and self.answered):
            story = explain(self.machine, self.events, self.rows, row, (answer, expected), (made, recorded))
            self.stories.append(story)
            self.answered = not wrong
        self.misses.append(row)
        right = [one[1] & 15 for one, other in zip(made, recorded, strict=False) if one == other]
        return np.array([answer == expected, right.count(REMOVED), right.count(FELL_BACK)], np.int64)

    def _repair(self, resync: Resync, row: int) -> None:
        kind, order, slot, at, cpu, arg, hint = (int(column[row]) for column in self.rows.columns())
        resync.compacted = self.searched >= 0 and row > self.searched
        resync.act((kind, order, slot, at, cpu, arg, hint), self.records.of(row), int(self.rows.expected[row]))
