"""/proc/buddyinfo: the number of free blocks of each order in each zone; and what else is printed so, the indices.

A line is a populated zone, in the order of nodes and zones; a column is an order, from 0 up, as many as there are.
Blocks of all migratetypes count, pages on per-CPU lists do not::

    Node 0, zone   Normal    325    321    318    265    170     87     33     12      2      6     13

The files of /sys/kernel/debug/extfrag have the same lines with an index of three decimals per order. An index is
kept x1000 here, as `structpage.metrics` computes it. Where it is below 0 and above -1 the kernel's division leaves
the sign to the decimals: -500 is printed ` 0.-500`.

Followed: Linux 6.1 mm/vmstat.c, `frag_show_print`, `extfrag_show_print` and `unusable_show_print`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from structpage.procfs.lines import Lines, read_exactly


@dataclass(frozen=True, slots=True)
class BuddyInfo:
    """A zone in /proc/buddyinfo: `counts[order]` free blocks."""

    node: int
    zone: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FragmentationIndex:
    """A zone in a file of /sys/kernel/debug/extfrag: `index[order]`, x1000."""

    node: int
    zone: str
    index: tuple[int, ...]


def parse_buddyinfo(text: str) -> tuple[BuddyInfo, ...]:
    """Return the zones of a /proc/buddyinfo.

    Raises `TraceError`, with the line, for a text that no kernel prints, `InvalidArgument` for no text; so does
    every reader of this package. O(characters).
    """
    return read_exactly(text, _counts, format_buddyinfo)


def format_buddyinfo(records: Iterable[BuddyInfo]) -> str:
    """Return the text of a /proc/buddyinfo; the counts, at least 0, are as many in each record."""
    return "".join(_line(zone, map("{:6d}".format, zone.counts)) for zone in records)


def parse_extfrag_index(text: str) -> tuple[FragmentationIndex, ...]:
    """Return the zones of /sys/kernel/debug/extfrag/extfrag_index; as `parse_buddyinfo`."""
    return read_exactly(text, _indices, format_extfrag_index)


def format_extfrag_index(records: Iterable[FragmentationIndex]) -> str:
    """Return the text of /sys/kernel/debug/extfrag/extfrag_index, of what `metrics.extfrag_index` gives."""
    return "".join(_line(zone, map(partial(_decimal, 2), zone.index)) for zone in records)


def parse_unusable_index(text: str) -> tuple[FragmentationIndex, ...]:
    """Return the zones of /sys/kernel/debug/extfrag/unusable_index; as `parse_buddyinfo`."""
    return read_exactly(text, _indices, format_unusable_index)


def format_unusable_index(records: Iterable[FragmentationIndex]) -> str:
    """Return the text of /sys/kernel/debug/extfrag/unusable_index, of what `metrics.unusable_index` gives."""
    return "".join(_line(zone, map(partial(_decimal, 1), zone.index)) for zone in records)


def _line(zone: BuddyInfo | FragmentationIndex, values: Iterable[str]) -> str:
    return f"Node {zone.node}, zone {zone.zone:>8} {''.join(value + ' ' for value in values)}\n"


def _decimal(width: int, index: int) -> str:
    whole = -(-index // 1000) if index < 0 else index // 1000  # C divides towards 0
    return f"{whole:{width}d}.{index - whole * 1000:03d}"


def _thousandths(lines: Lines, word: str) -> int:
    whole, _, part = word.partition(".")
    sizes = [lines.int_of(digits.removeprefix("-")) for digits in (whole, part)]
    size = sizes[0] * 1000 + sizes[1]
    return -size if "-" in word else size


def _rows(lines: Lines, value: Callable[[str], int]) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    columns = None
    while not lines.over:
        node, (zone,), words = lines.row("zone", columns=columns)
        columns = len(words)
        yield node, zone, tuple(map(value, words))


def _counts(lines: Lines) -> Iterator[BuddyInfo]:
    return (BuddyInfo(*row) for row in _rows(lines, lines.int_of))


def _indices(lines: Lines) -> Iterator[FragmentationIndex]:
    return (FragmentationIndex(*row) for row in _rows(lines, partial(_thousandths, lines)))
