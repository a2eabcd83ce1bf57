"""Members of an archive that is a zip of `.npy` arrays of bytes: written, read as a whole, or read in step.

A column is a member of shape (bytes, rows), as `packing.pack` makes it: first the lowest byte of all rows, then the
second, and so on. To read some rows of it, the member is opened once for each byte, each time at another place.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.packing import Integers, pack, unpack, unpack_part

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

# deflate makes at most 1032 bytes from one; a member that claims more lies about its size.
_MOST_FROM_ONE: Final = 1040
_SKIPPED_AT_ONCE: Final = 1 << 16


def write_json(archive: ZipFile, name: str, value: dict[str, Any]) -> None:
    """Add an object as the bytes of its JSON."""
    import json

    _write(archive, name, np.frombuffer(json.dumps(value).encode(), np.uint8))


def write_column(archive: ZipFile, name: str, column: Integers) -> None:
    """Add a column, packed."""
    _write(archive, name, pack(column))


def _write(archive: ZipFile, name: str, array: NDArray[np.uint8]) -> None:
    from io import BytesIO
    from zipfile import ZIP_DEFLATED, ZipInfo

    stream = BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    # The same date always, so that the same trace gives the same file.
    info = ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
    info.compress_type = ZIP_DEFLATED
    archive.writestr(info, stream.getvalue())


def read_json(archive: ZipFile, name: str) -> dict[str, Any]:
    """Return the object that `write_json` added; raises `TraceError` for anything else."""
    import json

    found = json.loads(_read(archive, name, 1).tobytes())
    if not isinstance(found, dict):
        raise TraceError(must(f"member {name}", "a JSON object", type(found).__name__))
    return found


def read_column(archive: ZipFile, name: str, rows: int, dtype: np.dtype[Any]) -> Integers:
    """Return a column; raises `TraceError` if the member is not one of so many rows of this dtype."""
    packed = _read(archive, name, 2)
    if packed.shape[1] != rows:
        raise TraceError(must(f"member {name}", f"of {rows} rows", packed.shape[1]))
    return unpack(packed, dtype)


def _read(archive: ZipFile, name: str, dimensions: int) -> NDArray[np.uint8]:
    # The array is a view of the member's bytes, so no shape can make it larger than those.
    from io import BytesIO

    data = archive.read(_info(archive, name))
    stream = BytesIO(data)
    shape = _shape(stream, name, dimensions)
    return np.frombuffer(data, np.uint8, offset=stream.tell()).reshape(shape)


def _info(archive: ZipFile, name: str) -> ZipInfo:
    info = archive.getinfo(name + ".npy")
    if info.file_size > _MOST_FROM_ONE * (info.compress_size + 1):
        rule = f"of at most {_MOST_FROM_ONE} bytes from one"
        raise TraceError(must(f"member {name}", rule, info.file_size))
    return info


def _shape(stream: IO[bytes], name: str, dimensions: int) -> tuple[int, ...]:
    # Read the header; the stream then stands at the first byte of the array.
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise TraceError(must(f"member {name}", "of npy version 1.0", version))
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if len(shape) != dimensions or fortran or dtype != np.uint8:
        raise TraceError(must(f"member {name}", f"uint8 in {dimensions} dimensions", f"{dtype} {shape}"))
    return shape


class ColumnReader:
    """A column that is read some rows at a time.

    Cost: byte n of the rows is reached through all bytes before it, so a column of 4 bytes is decompressed 2.5 times.
    """

    def __init__(self, archive: ZipFile, name: str, rows: int, dtype: np.dtype[Any]) -> None:
        self.name, self.dtype = name, dtype
        info = _info(archive, name)
        with archive.open(info) as stream:
            width, found = _shape(stream, name, 2)
            start = stream.tell()
        if found != rows or start + width * rows != info.file_size or width > dtype.itemsize:
            rule = f"of {rows} rows of at most {dtype.itemsize} bytes"
            raise TraceError(must(f"member {name}", rule, f"{width} bytes of {found} rows in {info.file_size}"))
        self.planes = [archive.open(info) for _ in range(width)]
        for place, plane in enumerate(self.planes):
            _skip(plane, start + place * rows)
        self.before = np.zeros(0, dtype)

    def read(self, rows: int) -> Integers:
        """Return the next rows, which must be there."""
        data = b"".join(plane.read(rows) for plane in self.planes)
        packed = np.frombuffer(data, np.uint8).reshape(-1, rows) if self.planes else np.zeros((0, rows), np.uint8)
        part = unpack_part(packed, self.dtype, self.before)
        self.before = part[-1:]
        return part


def _skip(stream: IO[bytes], count: int) -> None:
    # A seek would do as well, but for the memory: it reads up to 16 MiB at once.
    while count:
        skipped = len(stream.read(min(count, _SKIPPED_AT_ONCE)))
        if not skipped:
            raise EOFError("the member ends before its last byte")
        count -= skipped
