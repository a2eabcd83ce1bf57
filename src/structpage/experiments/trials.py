"""What `bench` times: engines on placements, the C twin, and allocators of others.

A *contestant* prepares a run on fresh state and returns it as a function without arguments; the preparation is not
timed. What is timed of an engine is what `replay()` does once the requests are validated. All contestants of a size
share one `FrameMemory`, so that the first touch of a frame is nobody's cost.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage import placing, registry
from structpage.allocator import BuddyAllocator
from structpage.core import script
from structpage.core.placements import BUILTIN
from structpage.engines import ENGINES, engine_of
from structpage.errors import MissingExtra, must
from structpage.frames import FrameMemory
from structpage.request import ALLOC, Requests

TWIN = "c-twin"
TWIN_FILE = Path(__file__).parents[3] / "tests" / "benchmarks" / "c_twin.py"
"""Where the twin lies in a checkout; an installed package has none."""

Column = npt.NDArray[np.int64]
Run = Callable[[], object]
ReplayOf = Callable[[BuddyAllocator, Requests, Column, Column], Run]
Prepare = Callable[[Requests, FrameMemory], Run]


class Contestant(NamedTuple):
    """Something to be timed, and the words of its row."""

    engine: str
    placement: str
    stamp: str
    touches_frames: bool
    walks: bool
    prepare: Prepare


def names() -> list[str]:
    """Return the names of all that can be timed, here or elsewhere: the twin, engines, peers."""
    return [TWIN, *ENGINES, *PEERS]


def contestants(name: str, placements: Sequence[str | type], stamps: Sequence[str], twin: Path) -> Iterator[Contestant]:
    """Yield all contestants of one of `names()`; `twin` is the twin's file. Raises `MissingExtra`, `UnknownName`."""
    if name in PEERS:
        yield Contestant(name, "", "", False, False, PEERS[name]())
        return
    engine, replay_of = ("plain", _built(twin)) if name == TWIN else (name, _replay_of)
    engine_of(engine)
    for placement in ["side-table"] if name == TWIN else placements:
        cls = placing.placement_class(placement)
        for stamp in stamps:
            prepare = functools.partial(_ready, replay_of, engine, cls, stamp)
            title, says = registry.name_of(BUILTIN, cls), placing.declared(cls)
            yield Contestant(name, title, stamp, says.touches_free_pages, says.removes_by_walking, prepare)


def _ready(
    replay_of: ReplayOf, engine: str, placement: type, stamp: str, requests: Requests, memory: FrameMemory
) -> Run:
    buddy = BuddyAllocator(memory.frames, placement, stamp=stamp, engine=engine, memory=memory)
    for words in buddy.buffers.values():
        np.bitwise_or(words, 0, out=words)  # a store to every page: the system's work is not the allocator's
    where = np.full(max(requests.slots, 1), -1, np.int64)
    return replay_of(buddy, requests, where, np.zeros(len(requests), np.int64))


def _replay_of(buddy: BuddyAllocator, requests: Requests, where: Column, answers: Column) -> Run:
    def run() -> None:
        done = 0
        while done < len(answers):
            rows = [column[done:] for column in requests.columns()]
            written = where, answers[done:], np.empty(0, np.int64)
            done += buddy.engine.run(script.replay, buddy.ranges, rows, written, -1, 0)

    return run


def _built(file: Path) -> ReplayOf:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise MissingExtra(must("C twin", "a Python file of a checkout", file))
    if shutil.which("gcc") is None:
        raise MissingExtra(must("gcc", "installed for the C twin", "missing"))
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        return functools.partial(module.bound, module.build(Path(folder)))


def _cocotbext_axi() -> Prepare:
    try:
        allocator = importlib.import_module("cocotbext.axi.buddy_allocator").BuddyAllocator
    except ImportError:
        raise MissingExtra(must("cocotbext-axi", "installed to be timed", "missing")) from None

    def prepare(requests: Requests, memory: FrameMemory) -> Run:
        rows = list(zip(*(column.tolist() for column in requests.columns()[:3]), strict=True))
        peer, where = allocator(memory.frames), [0] * requests.slots

        def run() -> None:
            for kind, order, slot in rows:
                if kind == ALLOC:
                    try:
                        where[slot] = peer.alloc(1 << order)
                    except Exception:  # noqa: BLE001  it has no class of its own for exhausted memory
                        where[slot] = -1
                elif where[slot] >= 0:
                    peer.free(where[slot])

        return run

    return prepare


PEERS: dict[str, Callable[[], Prepare]] = {"cocotbext-axi": _cocotbext_axi}
"""Buddy allocators in Python of others, by the name of their package."""
