"""Integer columns as bytes that compress well, and back, exactly.

Idea: neighbours in a column are alike, so a column of large numbers is stored as differences; signed numbers
are folded so that small ones of either sign are small; and of all numbers the lowest bytes are put together,
then the second ones and so on, as many as the largest number needs. deflate then finds the runs of zeros.

    packed[i, j] is byte i (lowest first) of the folded number of row j: shape (bytes, rows), uint8
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must

Integers = NDArray[np.integer[Any]]

_AT_ONCE: Final = 1 << 16  # rows that the processor's cache holds in all their forms


def pack(column: Integers) -> NDArray[np.uint8]:
    """Return a column of integers as bytes; `unpack` with the column's dtype gives it back.

    int64 columns are taken as differences, modulo 2^64. Cost: a few passes over the column.
    """
    if column.dtype == np.int64:
        column = np.diff(column, prepend=np.int64(0))
    folded = _folded(column.astype(np.int64)) if column.dtype.kind == "i" else column.astype(np.uint64)
    largest = int(folded.max()) if len(folded) else 0
    width = (largest.bit_length() + 7) // 8
    planes = folded.astype("<u8").view(np.uint8).reshape(-1, 8).T
    return np.ascontiguousarray(planes[:width])


def unpack(packed: NDArray[np.uint8], dtype: np.dtype[Any]) -> Integers:
    """Return the column of integers of `dtype` that `pack` made these bytes from.

    Raises:
        TraceError: the numbers are wider than the dtype.

    Cost: one pass over the column per byte of its largest number.

    """
    width, rows = packed.shape
    if width > dtype.itemsize:
        raise TraceError(must("packed column", f"of at most {dtype.itemsize} bytes a row", width))
    column = np.empty(rows, dtype)
    for start in range(0, rows, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        column[part] = unpack_part(packed[:, part], dtype, column[start - 1 : start])
    return column


def unpack_part(packed: NDArray[np.uint8], dtype: np.dtype[Any], before: Integers) -> Integers:
    """Return some rows of a column that `unpack` would take; `before` is the row before them, or empty."""
    # Numbers of as few bytes as hold them: a signed one unfolds into as many bytes as its folded form has.
    width, rows = packed.shape
    size = 1 << max(0, width - 1).bit_length()
    folded = np.zeros(rows, f"<u{size}")
    for place, plane in enumerate(packed):
        folded |= plane.astype(folded.dtype) << np.uint8(8 * place)
    if dtype.kind == "u":
        return folded.astype(dtype)
    column = ((folded >> 1) ^ (0 - (folded & 1))).view(f"<i{size}").astype(dtype)
    if dtype == np.int64 and rows:
        column[:1] += before.sum()
        np.cumsum(column, out=column)
    return column


def _folded(column: NDArray[np.int64]) -> NDArray[np.uint64]:
    # 0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ...
    return ((column << 1) ^ (column >> 63)).view(np.uint64)
