"""The plain engine: memoryviews over numpy memory, methods run as written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from structpage.core.buffers import Buffer, Fill
from structpage.mapping import Words

State = TypeVar("State")


class SliceFill(NamedTuple):
    """Fills words by one strided numpy assignment."""

    words: npt.NDArray[np.int64]

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        self.words[start:stop:step] = value


@functools.cache
def _slotted(cls: type) -> type:
    members: dict[str, Any] = {"__slots__": cls._fields, "__doc__": cls.__doc__}  # type: ignore[attr-defined]
    for base in reversed(cls.__mro__):
        members |= {
            name: member
            for name, member in vars(base).items()
            if inspect.isfunction(member) and base is not tuple and not name.startswith("_")
        }
    return type(cls.__name__, (), members)


def adopted(state: Any) -> Any:
    """Return a NamedTuple's fields and methods as an object with slots, nested ones too; others as they are.

    The functions are the very same, those that the class had when it was first adopted in this process. A slot is
    read in a tenth of the time of a NamedTuple's field, which is most of what a plain operation does.
    """
    if not (isinstance(state, tuple) and hasattr(state, "_fields")):
        return state
    twin = _slotted(type(state))()
    for name, value in zip(state._fields, state, strict=True):
        setattr(twin, name, adopted(value))
    return twin


class PlainEngine:
    """Runs anywhere, steps in a debugger; about 2 us an operation."""

    name = "plain"

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a flat buffer of signed 64-bit ints."""
        return cast(Buffer, words.view(np.int64).data)

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words."""
        return SliceFill(words.view(np.int64))

    def column(self, values: npt.NDArray[np.int64]) -> Buffer:
        """Return what a script writes to, one value a row or slot, as a buffer."""
        return cast(Buffer, values.data)

    def rows(self, name: str, values: npt.NDArray[np.int64]) -> Iterable[int]:
        """Return a column of a script's requests, to be read once in order."""
        return cast(list[int], values.tolist())

    def adopt(self, state: State) -> State:
        """Return core state in the form in which this engine runs its methods fastest."""
        return cast(State, adopted(state))

    def begin(self) -> None:
        """Note that another operation starts."""
