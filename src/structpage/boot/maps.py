"""Memory maps as text: a firmware's, as the kernel prints it, and /proc/iomem.

::

    BIOS-e820: [mem 0x0000000000100000-0x000000000ffdffff] usable
    00100000-1ffd9fff : System RAM

Both name the last byte of a range; here ranges end before `end`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from structpage.boot.regions import PHYS_ADDR_MAX
from structpage.errors import InvalidArgument, TraceError, must

_E820 = re.compile(r"^(?:.*BIOS-e820: )?\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]\s+(\S.*?)\s*$", re.MULTILINE)
_IOMEM = re.compile(r"( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)")
_INDENT = 2  # blanks of a level of /proc/iomem


class MapRange(NamedTuple):
    """The bytes [start, end), what they are, and in /proc/iomem how deep within other ranges."""

    start: int
    end: int
    kind: str
    depth: int = 0


def parse_e820(text: str) -> tuple[MapRange, ...]:
    """Return the ranges of a firmware's map, ascending; other lines, as those of a whole dmesg, are passed over.

    Raises `TraceError` if there are none, or one is empty, has 2^64 bytes or overlaps another. O(characters).
    """
    found = [MapRange(int(first, 16), int(last, 16) + 1, kind) for first, last, kind in _E820.findall(_text(text))]
    if not found:
        raise TraceError(must("memory map", "lines like 'BIOS-e820: [mem 0x1000-0x9ffff] usable'", "without any"))
    return _apart(_sized(sorted(found)))


def parse_iomem(text: str) -> tuple[MapRange, ...]:
    """Return the ranges of /proc/iomem, in its order; raises `TraceError` as `parse_e820`. O(characters)."""
    found = []
    for number, line in enumerate(_text(text).splitlines(), 1):
        match = _IOMEM.fullmatch(line)
        if match is None:
            raise TraceError(must(f"line {number}", "like '00001000-0009fbff : System RAM'", repr(line[:60])))
        indent, first, last, kind = match.groups()
        found.append(MapRange(int(first, 16), int(last, 16) + 1, kind, len(indent) // _INDENT))
    if not any(one.end > 1 for one in found):
        raise TraceError(must("addresses", "those that root reads in /proc/iomem", "none or zeros"))
    _apart(one for one in _sized(found) if one.depth == 0)
    return tuple(found)


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidArgument(must("text", "a str", type(text).__name__))
    return text


def _sized(ranges: list[MapRange]) -> list[MapRange]:
    for one in ranges:
        place = f"[{one.start:#x}, {one.end:#x})"
        if one.end <= one.start:
            raise TraceError(must("range", "one that ends after its start", place))
        if one.end - one.start > PHYS_ADDR_MAX:
            raise TraceError(must("range", "less than 2^64 bytes", place))
    return ranges


def _apart(ranges: Iterable[MapRange]) -> tuple[MapRange, ...]:
    found = tuple(ranges)
    for lower, upper in pairwise(found):
        if upper.start < lower.end:
            place = f"[{upper.start:#x}, {upper.end:#x})"
            raise TraceError(must(f"range {upper.kind!r}", f"above {lower.end:#x}, the end of {lower.kind!r}", place))
    return found
