"""Workloads by name or path: the captures that come with the package, and anything the readers read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from structpage.errors import UnknownName, must
from structpage.traces.archive import load, load_lists, stream_pages
from structpage.traces.capture import Capture, read_capture, stream_capture
from structpage.traces.events import Events
from structpage.traces.ftrace import read_trace, stream_trace
from structpage.traces.pairing import PageEvents

_DATA: Final = Path(__file__).resolve().parent.parent / "data"
_ZIP_MAGIC: Final = b"PK\x03\x04"


def shipped() -> tuple[str, ...]:
    """Return the names of the captures that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.npz")))


def open_workload(name_or_path: str | os.PathLike[str]) -> Capture | Events:
    """Read a workload.

    Args:
        name_or_path: a name from `shipped()`, the folder of a capture, a `.npz` file, or the text of a trace.
            A shipped name goes before a path of the same name; `./mixed` is always a path.

    Raises:
        UnknownName: it is neither a shipped name nor the path of anything.
        TraceError: the file or folder is not what it should be.
        OSError: it cannot be read.

    Cost: that of `load`, `read_capture` or `read_trace`.

    """
    path = _path(name_or_path)
    if path.is_dir():
        return read_capture(path)
    # A .npz that lost its first bytes is refused by load with a better message than as a text.
    return load(path) if _is_archive(path) else read_trace(path)


def stream_workload(
    name_or_path: str | os.PathLike[str], at_once: int
) -> tuple[dict[str, Any] | None, Iterator[Events] | Iterator[PageEvents]]:
    """Return the free lists at a workload's start, `None` for a bare trace, and its events, part by part.

    Args:
        name_or_path: as for `open_workload`.
        at_once: events of a part; of a text, rather more.

    Raises:
        UnknownName: it is neither a shipped name nor the path of anything.
        TraceError: the file or folder is not what it should be; or a part is not, when it is read.
        OSError: it cannot be read.

    """
    path = _path(name_or_path)
    if path.is_dir():
        return stream_capture(path, at_once)
    if _is_archive(path):
        return load_lists(path), stream_pages(path, at_once)
    return None, stream_trace(path, at_once=at_once)


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    if name_or_path in shipped():
        return _DATA / f"{name_or_path}.npz"
    path = Path(name_or_path)
    if not path.exists():
        rule = f"an existing path or one of {', '.join(shipped())}"
        raise UnknownName(must("workload", rule, repr(os.fspath(name_or_path))))
    return path


def _is_archive(path: Path) -> bool:
    with path.open("rb") as stream:
        return path.suffix == ".npz" or stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
