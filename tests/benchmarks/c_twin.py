"""Builds the C twin and runs it on the buffers of an allocator with its free lists in a side table.

`structpage bench` loads this file by its path; it is no part of the package. The library goes to a folder that the
caller gives, and never into the tree.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from structpage import BuddyAllocator
from structpage.request import Requests

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = "gcc"
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")

_Words = ctypes.POINTER(ctypes.c_int64)
BUFFERS = ("words", "link", "nr_free", "zone_start", "zone_end", "zonelist")
NUMBERS = ("frames", "orders", "zones", "lists", "stamp")


class _Machine(ctypes.Structure):
    _fields_ = [*((name, _Words) for name in BUFFERS), *((name, ctypes.c_int64) for name in NUMBERS)]


class _Requests(ctypes.Structure):
    _fields_ = [*((f"column{i}", _Words) for i in range(6)), ("rows", ctypes.c_int64)]


def available() -> bool:
    """Whether there is a compiler to build it with."""
    return shutil.which(COMPILER) is not None


def build(folder: Path) -> ctypes.CDLL:
    """Compile the twin into `folder` and load it."""
    library = folder / "c_twin.so"
    subprocess.run([COMPILER, *FLAGS, "-o", library, SOURCE], check=True)
    return ctypes.CDLL(str(library))


def bound(
    library: ctypes.CDLL, buddy: BuddyAllocator, requests: Requests, where: np.ndarray, answers: np.ndarray
) -> Callable[[], int]:
    """Return what replays the requests on the allocator's own buffers and returns the rows run.

    Preconditions as in `structpage.core.script.replay`; the placement is `side-table`.
    """
    numbers = (buddy.core.frames, buddy.core.orders, buddy.core.zones, 0, buddy.core.memmap.stamp)
    machine = _Machine(*(_pointer(buddy.buffers[name]) for name in BUFFERS), *numbers)
    machine.lists = len(buddy.buffers["link"]) // 2 - machine.frames
    script = _Requests(*(_pointer(column) for column in requests.columns()), len(requests))
    library.twin_replay.restype = ctypes.c_int64
    arguments = ctypes.byref(machine), ctypes.byref(script), _pointer(where), _pointer(answers)
    return lambda: library.twin_replay(*arguments)


def _pointer(values: np.ndarray) -> object:
    return values.ctypes.data_as(_Words)
