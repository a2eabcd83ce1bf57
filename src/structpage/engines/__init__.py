"""How the core's methods run: what differs is the buffers they run on, and who runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from structpage.core.buffers import Buffer, Fill
from structpage.engines.checked import CheckedEngine
from structpage.engines.compiled import CompiledEngine, is_installed
from structpage.engines.plain import PlainEngine, State, Words64
from structpage.engines.probe import ProbedEngine
from structpage.errors import UnknownName, must
from structpage.mapping import Words

ENGINES = {"plain": PlainEngine, "compiled": CompiledEngine, "probed": ProbedEngine, "checked": CheckedEngine}


class Engine(Protocol):
    """Supplies the buffers and the bulk store that the core's methods run on."""

    name: str

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a flat buffer of signed 64-bit ints."""

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words."""

    def adopt(self, state: State) -> State:
        """Return core state in the form in which this engine runs its methods."""

    def run(
        self,
        loop: Callable[..., int],
        state: Any,
        rows: Sequence[Words64],
        written: Sequence[Words64],
        *numbers: int,
    ) -> int:
        """Run a loop of the core over adopted state: `loop(state, rows, *written, *numbers)`; arrays are int64.

        The loop sees the rows as tuples, to be read once in order, and what is written as buffers. An engine may run
        the first rows only: what the loop returns is how many were run.
        """

    def begin(self) -> None:
        """Note that another operation starts."""


def engine_of(engine: str | Engine | None) -> Engine:
    """Return an engine by name, the one that is given, or for `None` what is fastest here.

    That is `compiled` for long replays where numba is installed, and `plain` for all else. Raises `UnknownName`, and
    `MissingExtra` for `compiled` without numba.
    """
    if engine is None:
        return CompiledEngine(automatic=True) if is_installed() else PlainEngine()
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UnknownName(must("engine", f"one of {', '.join(ENGINES)}", repr(engine)))
    return cast(Engine, ENGINES[engine]())


__all__ = ["ENGINES", "CheckedEngine", "CompiledEngine", "Engine", "PlainEngine", "ProbedEngine", "engine_of"]
