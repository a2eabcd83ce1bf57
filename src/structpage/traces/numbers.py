"""The two numbers that differ from line to line, time stamp and PFN, read in all lines of a chunk at once.

Idea: a trace has few distinct lines but for these numbers. So the digits are found and read by numpy, a step of
a few passes for each digit place, and *blanked*: every digit becomes a `MARK`. What is left of a line is looked up::

    init-122   [000] d..3.     8.822809: mm_page_free: page=00000000c1a2b3c5 pfn=0x101bd4 order=0
    init-122   [000] d..3.     ~.~~~~~~: mm_page_free: page=~~~~~~~~~~~~~~~~ pfn=0x~~~~~~ order=0

Where the digits are is a guess: those before the first colon that a blank follows, and those after ` pfn=`. It is
the reader of the blanked line who verifies that the marks are exactly where the numbers of an event are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MARK: Final = b"\1"
"""What a digit becomes. Of a chunk that has one already each line is only that, so no line of it is known."""

# Digits read of a number at most: 10^18 and 16^13 - 1, the last PFN, are the largest that cannot go wrong.
_TIME_DIGITS: Final = 18
_PFN_DIGITS: Final = 13
_PAGE_DIGITS: Final = 16
_FINER: Final = np.array([1, 10, 100, 1000])  # parts of a microsecond, by decimals after the sixth
_BEFORE: Final = 32  # bytes of padding, so that no step leaves the text

_VALUE: Final = np.full(256, 255)
_VALUE[list(b"0123456789abcdef")] = range(16)

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


class Blanked(NamedTuple):
    """The lines of a chunk, and per line (int64) its end in the chunk, and what numbers its marks stood for."""

    lines: list[bytes]
    ends: Places
    time: Places
    pfn: Places


def blanked(chunk: bytes) -> Blanked:
    """Blank the lines of a chunk, which ends in a newline. PFNs are -1 where there is none.

    Cost: about 0.7 us per line, half of it for finding newlines, colons and equals signs.
    """
    text = np.frombuffer(bytearray().join((bytes(_BEFORE), chunk, bytes(_BEFORE))), np.uint8)
    ends = _find(text, b"\n")
    time, pfn = np.zeros(len(ends), np.int64), np.full(len(ends), -1)
    if MARK in chunk:
        return Blanked([MARK] * len(ends), ends - _BEFORE, time, pfn)
    _blank_times(text, ends, time)
    _blank_pfns(text, ends, pfn)
    lines = text[_BEFORE : ends[-1]].tobytes().split(b"\n")
    return Blanked(lines, ends - _BEFORE, time, pfn)


def _blank_times(text: Bytes, ends: Places, time: Places) -> None:
    # SECONDS.MICROSECONDS or finer, or a counter without a point.
    colon = _find(text, b":")
    colon = colon[(text[colon + 1] == ord(" ")) & (_VALUE[text[colon - 1]] < 10)]
    line, colon = _first_of_each_line(ends, colon)
    low, start = _read_left(text, colon, 10, _TIME_DIGITS)
    high, _ = _read_left(text, start - 1, 10, _TIME_DIGITS - 6)
    low_us = low // _FINER[np.clip(colon - start - 6, 0, 3)]
    time[line] = np.where(text[start - 1] == ord("."), high * 1_000_000 + low_us, low)


def _blank_pfns(text: Bytes, ends: Places, pfn: Places) -> None:
    # Hexadecimal after 0x, or decimal if no zero is first. The digits of the page before are blanked, too.
    equals = _find(text, b"=")
    for back, letter in enumerate(b"nfp ", 1):
        equals = equals[text[equals - back] == letter]
    line, equals = _first_of_each_line(ends, equals)
    hexadecimal = text[equals + 1] == ord("0")
    start = equals + np.where(hexadecimal, 3, 1)
    number = _read_right(text, start, np.where(hexadecimal, 16, 10), _PFN_DIGITS)
    pfn[line] = np.where(text[start] == ord(MARK), number, -1)
    _read_left(text, equals - 4, 16, _PAGE_DIGITS)


def _find(text: Bytes, letter: bytes) -> Places:
    return np.flatnonzero(text == ord(letter))


def _first_of_each_line(ends: Places, places: Places) -> tuple[Places, Places]:
    line = np.searchsorted(ends, places)
    first = np.diff(line, prepend=-1) > 0
    return line[first], places[first]


def _read_left(text: Bytes, stop: Places, base: int, most: int) -> tuple[Places, Places]:
    # Blank the digits that end before `stop`, and return their numbers and starts.
    value, start = np.zeros_like(stop), stop.copy()
    within = np.ones(len(stop), np.bool_)
    for place in range(most):
        digit = _VALUE[text[stop - place - 1]]
        within &= digit < base
        if not within.any():
            break
        value += np.where(within, digit, 0) * base**place
        start -= within
        text[start[within]] = ord(MARK)
    return value, start


def _read_right(text: Bytes, start: Places, base: Places, most: int) -> Places:
    # Blank the digits from `start` on, and return their numbers.
    value = np.zeros_like(start)
    within = np.ones(len(start), np.bool_)
    for place in range(most):
        digit = _VALUE[text[start + place]]
        within &= digit < base
        if not within.any():
            break
        value = np.where(within, value * base + digit, value)
        text[start[within] + place] = ord(MARK)
    return value
