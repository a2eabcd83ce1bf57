"""The plain engine: memoryviews over numpy memory, methods run as written."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from structpage.core.buffers import Buffer, Fill
from structpage.mapping import Words

State = TypeVar("State")
TUPLE = frozenset(vars(namedtuple("TUPLE", "")))
Words64 = npt.NDArray[np.int64]
AT_ONCE = 1 << 16
"""Rows that become Python ints at a time."""


class SliceFill(NamedTuple):
    """Fills words by strided numpy assignments."""

    words: npt.NDArray[np.int64]

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        self.words[start:stop:step] = value

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        self.words[start:stop:2] = value
        self.words[start + 1 : stop : 2] = other


def members(cls: type) -> dict[str, Any]:
    """Return what a class and its bases define for instances, by name, but for the language's and a tuple's own."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base not in (object, tuple):
            found |= vars(base)
    fields = getattr(cls, "_fields", ())
    return {name: found[name] for name in found if name[:2] != "__" and name not in (*fields, *TUPLE)}


@functools.cache
def _slotted(cls: type) -> type:
    fields = cls._fields  # type: ignore[attr-defined]
    about = {"__slots__": fields, "__doc__": cls.__doc__, "_fields": fields, "_class": cls}
    return type(cls.__name__, (), {**about, **members(cls)})


def adopted(state: Any) -> Any:
    """Return a NamedTuple's fields and methods as an object with slots, nested ones too; others as they are.

    It knows what it was made of: `_fields` and `_class`. The functions are the very same, those that the class had
    when it was first adopted in this process. A slot is read in a tenth of the time of a NamedTuple's field, which is
    most of what a plain operation does.
    """
    if not (isinstance(state, tuple) and hasattr(state, "_fields")):
        return state
    twin = _slotted(type(state))()
    for name, value in zip(state._fields, state, strict=True):
        setattr(twin, name, adopted(value))
    return twin


class PlainEngine:
    """Runs anywhere, steps in a debugger; about 3 us an operation."""

    name = "plain"

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a flat buffer of signed 64-bit ints."""
        return cast(Buffer, words.view(np.int64).data)

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words."""
        return SliceFill(words.view(np.int64))

    def adopt(self, state: State) -> State:
        """Return core state in the form in which this engine runs its methods fastest."""
        return cast(State, adopted(state))

    def run(
        self,
        loop: Callable[..., int],
        state: Any,
        rows: Sequence[Words64],
        written: Sequence[Words64],
        *numbers: int,
    ) -> int:
        """Run a loop of the core over adopted state: `loop(state, rows, *written, *numbers)`.

        `rows` and `written` are int64 arrays. Rows become Python ints, 32 bytes each, so no more than `AT_ONCE` are
        run: the caller, who hears how many, runs the others.
        """
        columns = (column[:AT_ONCE].tolist() for column in rows)
        read = self._reading(zip(*columns, strict=True))
        return loop(state, read, *(column.data for column in written), *numbers)

    def _reading(self, rows: Iterable[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
        return rows

    def begin(self) -> None:
        """Note that another operation starts."""
