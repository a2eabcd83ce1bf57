"""Traces and captures as one `.npz` file: small, exact, loaded in milliseconds.

The file is a zip of `.npy` members that `numpy.load` reads without pickle:

    header      uint8: JSON with the format's name and version, the tables of names, and the details' fields
    capture     uint8: JSON with everything of a capture but its events; absent for a bare trace
    c0, c1 ...  uint8 (bytes, rows): the columns of `events.COLUMNS`, as `packing.pack` makes them
    d0.1 ...    likewise: field 1 of detail table 0, in the order of the header

Nothing in a file is believed: sizes are compared with each other before anything is allocated, and codes with
the tables they point into.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import LimitExceeded, TraceError, must
from structpage.traces.capture import Capture, check_lists
from structpage.traces.events import COLUMNS, Events
from structpage.traces.members import ColumnReader, read_column, read_json, write_column, write_json
from structpage.traces.pairing import PageEvents

if TYPE_CHECKING:
    from zipfile import ZipFile

FORMAT: Final = "structpage trace"
VERSION: Final = 1
MAX_BYTES: Final = 1 << 31
"""Most bytes of all members together, decompressed, or of the columns in memory: 60 million events."""


_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "time": np.dtype(np.int64),
    "cpu": np.dtype(np.int32),
    "pid": np.dtype(np.int32),
    "context": np.dtype(np.uint16),
    "pfn": np.dtype(np.int64),
    "order": np.dtype(np.int8),
    "migratetype": np.dtype(np.int8),
    "gfp": np.dtype(np.uint32),
}
_ROW_BYTES: Final = 2 + sum(dtype.itemsize for dtype in _DTYPES.values())
# Attributes of Events that are neither a column nor the details, and so are in the header.
_PLAIN: Final = tuple(f.name for f in fields(Events) if f.name not in (*COLUMNS, "details"))
_CAPTURE: Final = {
    "name": str,
    "kernel": str,
    "meta": dict,
    "before": dict,
    "after": dict,
    "proc": dict,
    "probes": str,
}


def save(path: str | os.PathLike[str], trace: Capture | Events) -> None:
    """Write a capture or a trace as a `.npz` file, which `load` reads back exactly.

    The file appears whole or not at all: it is written under another name beside, and renamed.

    Raises:
        LimitExceeded: it would hold more than `MAX_BYTES`.
        OSError: the file cannot be written.

    Cost: mostly compression, some 2 us per event.

    """
    import zipfile

    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                _write(archive, trace)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Capture | Events:
    """Read a `.npz` file that `save` wrote.

    Raises:
        TraceError: the file is of another kind or version, or damaged in any way.
        OSError: the file cannot be read.

    Cost: 0.1 us per event. Memory for the columns.

    """
    from io import BytesIO

    source = Path(path)
    with _opened(source, BytesIO(source.read_bytes())) as archive:
        events = _read_events(archive, _read_header(archive))
        parts = _read_capture(archive)
        return events if parts is None else Capture(**parts, events=events)


def load_lists(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the free lists before the first event in a file that `save` wrote; `None` for a bare trace.

    Raises:
        TraceError: as `load`.
        OSError: the file cannot be read.

    """
    source = Path(path)
    with source.open("rb") as file, _opened(source, file) as archive:
        _read_header(archive)
        parts = _read_capture(archive)
        return None if parts is None else parts["before"]


def stream_pages(path: str | os.PathLike[str], rows: int) -> Iterator[PageEvents]:
    """Yield the columns that requests are made of, `rows` at a time, of a file that `save` wrote.

    Raises:
        TraceError: as `load`, but for damage inside a column when that is reached.
        OSError: the file cannot be read.

    Cost: 0.1 us per event; memory for the rows.

    """
    source = Path(path)
    with source.open("rb") as file, _opened(source, file) as archive:
        header = _read_header(archive)
        total, dtypes = header["rows"], _dtypes(header)
        readers = [ColumnReader(archive, f"c{COLUMNS.index(name)}", total, dtypes[name]) for name in PageEvents._fields]
        for start in range(0, total, rows):
            yield PageEvents._make(reader.read(min(rows, total - start)) for reader in readers)


@contextmanager
def _opened(source: Path, file: BinaryIO) -> Iterator[ZipFile]:
    import struct
    import zipfile

    # A damaged file can bring out nearly everything in zipfile, json and numpy; all of it means the same.
    broken: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, struct.error, ArithmeticError)
    broken += (
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    )
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except TraceError as error:
        raise TraceError(f"file {source.name}: {error}") from error
    except broken as error:
        found = f"a damaged or foreign one ({type(error).__name__}: {error})"
        raise TraceError(must(f"file {source.name}", "a .npz file of a trace", found)) from error


def _write(archive: ZipFile, trace: Capture | Events) -> None:
    events = trace.events if isinstance(trace, Capture) else trace
    size = _ROW_BYTES * len(events) + sum(table.nbytes for table in events.details.values())
    if size > MAX_BYTES:
        raise LimitExceeded(must("trace to save", f"of at most {MAX_BYTES} bytes", size))
    header = {"format": FORMAT, "version": VERSION, "rows": len(events)}
    header["details"] = [
        [kind, len(table), [[name, table.dtype[name].str] for name in table.dtype.names or ()]]
        for kind, table in events.details.items()
    ]
    header |= {name: getattr(events, name) for name in _PLAIN}
    write_json(archive, "header", header)
    if isinstance(trace, Capture):
        write_json(archive, "capture", {name: getattr(trace, name) for name in _CAPTURE})
    for number, name in enumerate(COLUMNS):
        write_column(archive, f"c{number}", getattr(events, name))
    for number, table in enumerate(events.details.values()):
        for place, name in enumerate(table.dtype.names or ()):
            write_column(archive, f"d{number}.{place}", np.ascontiguousarray(table[name]))


def _read_header(archive: ZipFile) -> dict[str, Any]:
    members = archive.infolist()
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise TraceError(must("members", f"of at most {MAX_BYTES} bytes together", "more"))
    if "header.npy" not in archive.namelist():
        found = ", ".join(archive.namelist()[:5]) or "an empty one"
        raise TraceError(must("archive", "one with a member header", found))
    header = read_json(archive, "header")
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        found = f"{str(header.get('format'))[:40]!r}, version {str(header.get('version'))[:20]}"
        raise TraceError(must("format", f"{FORMAT!r}, version {VERSION}", found))
    rows = header["rows"]
    most = MAX_BYTES // _ROW_BYTES
    if type(rows) is not int or not 0 <= rows <= most:
        raise TraceError(must("rows", f"a number up to {most}", repr(rows)[:60]))
    return header


def _read_capture(archive: ZipFile) -> dict[str, Any] | None:
    # All of a capture but its events.
    if "capture.npy" not in archive.namelist():
        return None
    parts = read_json(archive, "capture")
    for name, kind in _CAPTURE.items():
        if not isinstance(parts[name], kind):
            found = type(parts[name]).__name__
            raise TraceError(must(f"part {name} of the capture", f"a {kind.__name__}", found))
    for name in ("before", "after"):
        check_lists(parts[name], name)
    return {name: parts[name] for name in _CAPTURE}


def _read_events(archive: ZipFile, header: dict[str, Any]) -> Events:
    plain = {name: header[name] for name in _PLAIN}
    for name in ("kinds", "contexts", "strings", "notes"):
        if not all(isinstance(text, str) for text in plain[name]):
            raise TraceError(must(f"table {name}", "of texts", "other"))
        plain[name] = tuple(plain[name])
    rows, dtypes = header["rows"], _dtypes(header)
    columns: dict[str, Any] = {
        name: read_column(archive, f"c{number}", rows, dtypes[name]) for number, name in enumerate(COLUMNS)
    }
    _check_codes("kind", columns["kind"], len(plain["kinds"]))
    _check_codes("context", columns["context"], len(plain["contexts"]))
    details = dict(_read_details(archive, header["details"], rows, len(plain["strings"])))
    return Events(**columns, details=details, **plain)


def _dtypes(header: dict[str, Any]) -> dict[str, np.dtype[Any]]:
    return {"kind": np.dtype(np.uint8 if len(header["kinds"]) <= 1 << 8 else np.uint16), **_DTYPES}


def _read_details(
    archive: ZipFile, tables: list[Any], rows: int, strings: int
) -> Iterator[tuple[str, NDArray[np.void]]]:
    for number, (kind, count, columns) in enumerate(tables):
        dtype = np.dtype([(name, {"<i8": np.int64, "<i4": np.int32}[text]) for name, text in columns])
        found = [
            read_column(archive, f"d{number}.{place}", count, dtype[name])
            for place, name in enumerate(dtype.names or ())
        ]
        table = np.empty(count, dtype)
        for name, column in zip(dtype.names or (), found, strict=True):
            table[name] = column
            if column.dtype == np.int32:
                _check_codes(f"{kind}.{name}", column, strings)
        event = table["event"]
        if count and not (event[0] >= 0 and event[-1] < rows and (np.diff(event) > 0).all()):
            raise TraceError(must(f"details of {kind}", "of rows of the trace, ascending", "other rows"))
        yield kind, table


def _check_codes(name: str, column: NDArray[Any], count: int) -> None:
    if len(column) and not (int(column.min()) >= -1 and int(column.max()) < count):
        raise TraceError(must(f"column {name}", f"of codes below {count}", int(column.max())))
