"""The checked engine: every access is within bounds, of 64 bits, and to one's own words; for tests.

It runs the methods as `plain` does, over buffers that judge each index and each value, with a guard before the
placement (see `structpage.engines.guard`). A plain buffer takes `link[-1]` for its last word; compiled code takes
whatever lies there. Here it is an `AccessError`, at the access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer, Declaration, Fill
from structpage.core.memmap import OneWord
from structpage.core.ranges import Ranges
from structpage.engines.guard import Guard
from structpage.engines.ownership import AllocatorsOwn, Descriptors, FrameContent, Nobodys, PlacementsOwn
from structpage.engines.plain import PlainEngine, State, Words64, adopted
from structpage.errors import AccessError, InvalidArgument, must
from structpage.mapping import Words

LOWEST, HIGHEST = -1 << 63, (1 << 63) - 1


class CheckedBuffer:
    """A buffer that takes plain ints within bounds as indexes, and signed 64-bit ints as values."""

    def __init__(self, name: str, values: memoryview) -> None:
        self.name, self.values, self.last = name, values, len(values) - 1
        self.owner = Nobodys()
        self.guard: Guard | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> int:
        self._within(index)
        self.owner.read(index)
        return int(self.values[index])

    def __setitem__(self, index: int, value: int) -> None:
        self._within(index)
        if type(value) is not int or not LOWEST <= value <= HIGHEST:
            raise self._refused(f"value for {self.name}[{index}]", "a signed 64-bit int", value, index)
        self.owner.write(index, int(self.values[index]), value)
        self.values[index] = value

    def _within(self, index: int) -> None:
        if type(index) is not int:
            raise self._refused(f"index of {self.name}", "an int", index, None)
        if not 0 <= index <= self.last:
            raise self._refused(f"index of {self.name}", f"between 0 and {self.last}", index, index)

    def _refused(self, subject: str, rule: str, found: object, index: int | None) -> AccessError:
        call = self.guard.call if self.guard is not None else None
        return AccessError(subject, rule, repr(found), operation=call, buffer=self.name, index=index)


class CheckedFill:
    """Fills word by word, so that every store is judged."""

    def __init__(self, buffer: CheckedBuffer) -> None:
        self.buffer = buffer

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        for index in range(start, stop, step):
            self.buffer[index] = value

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        self.fill(start, stop, 2, value)
        self.fill(start + 1, stop, 2, other)


class CheckedEngine(PlainEngine):
    """Raises `AccessError` at the access that is out of bounds or to somebody else's word; 20 times slower than plain.

    For tests, and for whoever writes a placement. Answers and words are those of `plain`. Room for links is new memory,
    all zeros, and a placement that reads what it never wrote has most likely lost its way, unless it declares that it
    `needs_zeros`. One engine is for one allocator, since it knows what is listed: a second is refused with
    `InvalidArgument`.
    """

    name = "checked"

    def __init__(self) -> None:
        self.buffers: dict[str, CheckedBuffer] = {}

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a buffer that judges its accesses; `InvalidArgument` if it has one of that name."""
        if name in self.buffers:
            raise InvalidArgument(must("engine checked", "one of its own for each allocator", "one that is in use"))
        self.buffers[name] = CheckedBuffer(name, words.view(np.int64).data)
        return self.buffers[name]

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words, each of them judged."""
        return CheckedFill(self.buffers[name])

    def adopt(self, state: State) -> State:
        """Return core state with a guard before its placement; from now on it is known whose each word is."""
        if not isinstance(state, Ranges):
            return cast(State, adopted(state))
        buddy = state.buddy
        declares = getattr(buddy.lists, "declares", Declaration)
        guard = Guard(adopted(buddy.lists), buddy, keeps_order=declares().keeps_order)
        self._give_away(buddy, guard, zeros=declares().needs_zeros)
        for lst in range(guard.lists):  # again, now that it is known what it may touch
            guard.reset(lst)
        return cast(State, adopted(state._replace(buddy=buddy._replace(lists=cast(Any, guard)))))

    def _give_away(self, buddy: Buddy, guard: Guard, *, zeros: bool) -> None:
        for name, buffer in self.buffers.items():
            buffer.guard = guard
            if name == "words":
                buffer.owner = Descriptors(name, guard, 1 if isinstance(buddy.memmap, OneWord) else 2)
            elif name == "memory":
                buffer.owner = FrameContent(name, guard)
            elif any(field is buffer for field in buddy):
                buffer.owner = AllocatorsOwn(name, guard)
            else:
                buffer.owner = PlacementsOwn(name, guard, buffer.owner.written, zeros=zeros)

    def run(
        self,
        loop: Callable[..., int],
        state: Any,
        rows: Sequence[Words64],
        written: Sequence[Words64],
        *numbers: int,
    ) -> int:
        """Run a loop of the core over adopted state; an `AccessError` says in its `request` which row it was."""
        row = -1

        def each() -> Iterator[tuple[int, ...]]:
            nonlocal row
            for values in zip(*(column.tolist() for column in rows), strict=True):
                row += 1
                yield values

        buffers = [CheckedBuffer(f"written column {place}", column.data) for place, column in enumerate(written)]
        try:
            return loop(state, each(), *buffers, *numbers)
        except AccessError as error:
            error.request = row
            raise
