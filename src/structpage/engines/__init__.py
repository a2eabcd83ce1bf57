"""How the core's methods run: `plain`, or `probed`; what differs is the buffers they run on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from structpage.core.buffers import Buffer, Fill
from structpage.engines.plain import PlainEngine, State
from structpage.engines.probe import ProbedEngine
from structpage.errors import UnknownName, must
from structpage.mapping import Words

ENGINES = {"plain": PlainEngine, "probed": ProbedEngine}


class Engine(Protocol):
    """Supplies the buffers and the bulk store that the core's methods run on."""

    name: str

    def buffer(self, name: str, words: Words) -> Buffer:
        """Return the words as a flat buffer of signed 64-bit ints."""

    def fill(self, name: str, words: Words) -> Fill:
        """Return what writes one value to many of the words."""

    def column(self, values: npt.NDArray[np.int64]) -> Buffer:
        """Return what a script writes to, one value a row or slot, as a buffer."""

    def rows(self, name: str, values: npt.NDArray[np.int64]) -> Iterable[int]:
        """Return a column of a script's requests, to be read once in order."""

    def adopt(self, state: State) -> State:
        """Return core state in the form in which this engine runs its methods."""

    def begin(self) -> None:
        """Note that another operation starts."""


def engine_of(engine: str | Engine) -> Engine:
    """Return an engine by name, or the one that is given; raises `UnknownName`."""
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UnknownName(must("engine", f"one of {', '.join(ENGINES)}", repr(engine)))
    return cast(Engine, ENGINES[engine]())


__all__ = ["ENGINES", "Engine", "PlainEngine", "ProbedEngine", "engine_of"]
