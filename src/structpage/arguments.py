"""Argument checks with the one grammar of messages."""

from __future__ import annotations

import re
from collections.abc import Collection

from structpage.errors import InvalidArgument, OutOfRange, UnknownName, must

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def an_int(name: str, value: object) -> int:
    """Return an int, or what serves as one (a numpy integer); raises `InvalidArgument`."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidArgument(must(name, "an int", repr(value)))
    return int(value.__index__())


def between(name: str, value: object, least: int, most: int) -> int:
    """Return an int of [least, most]; raises `InvalidArgument`."""
    number = an_int(name, value)
    if not least <= number <= most:
        raise InvalidArgument(must(name, f"between {least} and {most}", number))
    return number


def at_least(name: str, value: object, least: int) -> int:
    """Return an int not below `least`; raises `InvalidArgument`."""
    number = an_int(name, value)
    if number < least:
        raise InvalidArgument(must(name, f"at least {least}", number))
    return number


def a_bytes(name: str, value: object) -> bytes:
    """Return the bytes of an object that has some (bytes, bytearray, an array); raises `InvalidArgument`."""
    try:
        return memoryview(value).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgument(must(name, "bytes", repr(value))) from None


def a_pfn(value: object, frames: int) -> int:
    """Return the PFN of one of `frames` frames; raises `OutOfRange`, or `InvalidArgument` for no int."""
    pfn = an_int("PFN", value)
    if not 0 <= pfn < frames:
        raise OutOfRange(must("PFN", f"between 0 and {frames - 1}", pfn))
    return pfn


def a_range(start: object, count: object, frames: int) -> tuple[int, int]:
    """Return (start, end) of `count` frames from `start` on; raises `OutOfRange` or `InvalidArgument`."""
    length = at_least("count", count, 1)
    first = a_pfn(start, frames)
    if first + length > frames:
        raise OutOfRange(must("range", f"within the {frames} frames of memory", f"[{first}, {first + length})"))
    return first, first + length


def named(name: str, value: str, known: Collection[str]) -> str:
    """Return a name that is known; raises `UnknownName`, which lists them."""
    if value not in known:
        raise UnknownName(must(name, f"one of {', '.join(known)}", repr(value)))
    return value


def byte_size(name: str, value: str | int) -> int:
    """Return a size in bytes, given so or as a number with K, M, G or T; raises `InvalidArgument`."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    if match is None:
        raise InvalidArgument(must(name, "a size such as 512M or 4G", repr(value)))
    return int(match[1]) * UNITS[match[2].upper()]
