"""Anonymous memory for large buffers: populated by touch, never by huge pages.

`np.zeros` advises huge pages, which doubles what sparse use keeps resident, and a plain mapping is
refused under strict overcommit. So every large buffer here is one private anonymous mapping with
MAP_NORESERVE and MADV_NOHUGEPAGE, where the platform knows them.
"""

from __future__ import annotations

import mmap
import sys

import numpy as np
import numpy.typing as npt

from structpage.errors import OutOfMemory, must

Words = npt.NDArray[np.uint64]

SMALL = 1 << 20
"""Bytes below which a plain array serves: less than a huge page, so nothing would be advised."""

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def anonymous(length: int) -> mmap.mmap:
    """Return a private anonymous mapping of `length` bytes that costs what is touched; raises `OutOfMemory`."""
    if sys.platform == "win32":
        return mmap.mmap(-1, length)
    try:
        mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    except (OSError, OverflowError) as error:
        raise OutOfMemory(must("mapping", "one that the system grants", f"{length} bytes ({error})")) from error
    advise(mapping, "MADV_NOHUGEPAGE")
    return mapping


def advise(mapping: mmap.mmap, advice: str, start: int = 0, length: int | None = None) -> bool:
    """Give advice by its name; return whether the platform knows and took it."""
    number = getattr(mmap, advice, None)
    if number is None:
        return False
    try:
        mapping.madvise(number, start, len(mapping) - start if length is None else length)
    except OSError:
        return False
    return True


def zeros(words: int) -> Words:
    """Return `words` zeroed 64-bit words, not resident until touched."""
    if 8 * words < SMALL:
        return np.zeros(words, np.uint64)
    return np.frombuffer(anonymous(8 * words), np.uint64, words)
