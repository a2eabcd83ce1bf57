"""The compiled engine: numba runs the very methods that the plain engine runs, over the same memory.

Single calls run plain, for a call into compiled code costs more than what it would save; a loop of the core, with
all its requests, runs compiled. What has to be compiled is told by the classes of the state, so somebody's own
placement needs nothing but its methods.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from structpage.core.buffers import Buffer
from structpage.engines.plain import PlainEngine, SliceFill, members
from structpage.errors import InvalidArgument, MissingExtra, must

log = logging.getLogger("structpage")

WORTH_IT = 50_000
"""Requests from which on loading compiled code takes less time than it saves."""


def is_installed() -> bool:
    """Whether numba is there to be imported."""
    return importlib.util.find_spec("numba") is not None


class LoopFill(NamedTuple):
    """Fills by loops, which compile to what a memset is."""

    words: Buffer

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        for index in range(start, stop, step):
            self.words[index] = value

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        while start < stop:
            self.words[start] = value
            self.words[start + 1] = other
            start += 2


class CompiledEngine(PlainEngine):
    """Runs loops at the speed of C, tens of nanoseconds a request, and single calls as `plain` does.

    Needs the extra `fast`; raises `MissingExtra` without it. The first run of a placement compiles for some seconds
    and says so to the logger `structpage`; later runs, and those of other processes, load what was compiled (see
    `structpage.engines.cache`). An `automatic` engine runs a loop plain where that is done sooner, or where the
    placement is no code that numba compiles.
    """

    name = "compiled"

    def __init__(self, *, automatic: bool = False) -> None:
        if not is_installed():
            rule = "installed (pip install 'structpage[fast]')"
            raise MissingExtra(must("numba, which engine compiled needs,", rule, "missing"))
        self.automatic = automatic

    def run(
        self,
        loop: Callable[..., int],
        state: Any,
        rows: Sequence[npt.NDArray[np.int64]],
        written: Sequence[npt.NDArray[np.int64]],
        *numbers: int,
    ) -> int:
        """Run a loop of the core; raises `InvalidArgument` for a state that cannot be compiled."""
        plain = functools.partial(super().run, loop, state, rows, written, *numbers)
        if self.automatic and len(rows[0]) < WORTH_IT:
            return plain()
        from structpage.engines import cache, native

        try:
            arguments = (native_state(state), native.NativeRows(rows), *map(native.NativeBuffer, written), *numbers)
            return cache.compiled(loop, classes_of(arguments[0]), arguments)(*arguments)
        except InvalidArgument as error:
            if not self.automatic:
                raise
            log.warning("%s; it runs plain", error)
            return plain()


def native_state(value: Any, name: str = "state") -> Any:
    """Return core state over native buffers of the same memory; raises `InvalidArgument` for what is no such state.

    Buffers, ints, NamedTuples of these, and objects whose attributes are all of these.
    """
    from structpage.engines.native import NativeBuffer

    if isinstance(value, int):
        return int(value)
    if isinstance(value, memoryview):
        return NativeBuffer(np.asarray(value))
    cls, fields = _shape(value)
    if cls is SliceFill:
        return LoopFill(cast(Buffer, NativeBuffer(value.words)))
    if not fields:
        rule = "a buffer, an int, or an object of such, to be compiled"
        raise InvalidArgument(must(name, rule, f"a {type(value).__name__}"))
    return tuple.__new__(cls, [native_state(getattr(value, field), f"{cls.__name__}.{field}") for field in fields])


def _shape(value: Any) -> tuple[type, tuple[str, ...]]:
    # The tuple class that a piece of state is of, or was adopted from, or could have been of; and its fields.
    if hasattr(value, "_fields"):
        return getattr(value, "_class", type(value)), value._fields
    fields = tuple(getattr(value, "__dict__", ()))
    return _tuple_class(type(value), fields), fields  # type: ignore[arg-type]


def classes_of(state: Any) -> list[type]:
    """Return the classes of core state, each once, from the outside in."""

    def visit(value: Any) -> Iterator[type]:
        if isinstance(value, tuple):
            yield type(value)
            for part in value:
                yield from visit(part)

    return list(dict.fromkeys(visit(state)))


@functools.cache
def _tuple_class(cls: type, fields: tuple[str, ...]) -> type:
    # A class with the same methods whose instances are tuples, as compiled state is; numba tells a NamedTuple by
    # its `_asdict`.
    return type(cls.__name__, (tuple,), {"__slots__": (), "_fields": fields, "_asdict": None, **members(cls)})
