"""/proc/pagetypeinfo: free blocks by migratetype, and pageblocks by migratetype.

Each node has all sections, one after the other, with a line for each of its populated zones:

* the order of a pageblock, and the pages of one;
* *free*: a line for each zone and migratetype, a column for each order: blocks on that free list. The kernel counts
  to 100000 and prints ``>100000`` for that many or more;
* *blocks*: pageblocks of each migratetype;
* *mixed*: pageblocks of each migratetype that hold pages of another one; only of a kernel that tracks page owners.

Migratetypes are those of the kernel that printed it: without CONFIG_CMA there is no CMA.

Followed: Linux 6.1 mm/vmstat.c, `pagetypeinfo_show` and what it calls, and mm/page_owner.c,
`pagetypeinfo_showmixedcount_print`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from structpage.core.words import TYPE_NAMES
from structpage.procfs.lines import Lines, read_exactly

MOST_COUNTED: Final = 100_000
"""Blocks of a free list that the kernel counts before it goes on to the next list."""

_FREE: Final = "Free pages count per migrate type at order"
_BLOCKS: Final = "Number of blocks type"
_MIXED: Final = "Number of mixed blocks"

Counts = tuple[int, ...]
Key = tuple[int, str]  # node and zone


@dataclass(frozen=True, slots=True)
class PageTypeInfo:
    """A zone in /proc/pagetypeinfo.

    `free[i][order]`, `blocks[i]` and `mixed[i]` are those of the migratetype `types[i]`, `mixed` is `None` where the
    kernel does not track page owners. `block_order`, `types` and the number of orders are the same in a node's zones.
    """

    node: int
    zone: str
    block_order: int
    types: tuple[str, ...]
    free: tuple[Counts, ...]
    blocks: Counts
    mixed: Counts | None = None


def parse_pagetypeinfo(text: str) -> tuple[PageTypeInfo, ...]:
    """Return the zones of a /proc/pagetypeinfo; a count that the kernel cut short is `MOST_COUNTED`.

    Raises `TraceError`, with the line, or `InvalidArgument`, as `parse_buddyinfo`. O(characters).
    """
    return read_exactly(text, _nodes, format_pagetypeinfo)


def format_pagetypeinfo(records: Iterable[PageTypeInfo]) -> str:
    """Return the text of a /proc/pagetypeinfo; a count of `MOST_COUNTED` or more is cut short as the kernel does."""
    nodes = groupby(records, lambda record: record.node)
    return "".join(f"{line}\n" for _, zones in nodes for line in _printed(list(zones)))


def _printed(zones: list[PageTypeInfo]) -> Iterator[str]:
    yield f"Page block order: {zones[0].block_order}"
    yield f"Pages per block:  {1 << zones[0].block_order}"
    yield ""
    yield f"{_FREE:<43} " + "".join(f"{order:6d} " for order in range(len(zones[0].free[0])))
    for zone in zones:
        for name, counts in zip(zone.types, zone.free, strict=True):
            yield f"Node {zone.node:4d}, zone {zone.zone:>8}, type {name:>12} " + "".join(map(_count, counts))
    yield from _section(_BLOCKS, zones[0].types, ((zone, zone.blocks) for zone in zones))
    tracked = [(zone, zone.mixed) for zone in zones if zone.mixed is not None]
    if tracked:
        yield from _section(_MIXED, zones[0].types, tracked)


def _count(count: int) -> str:
    return f">{MOST_COUNTED:6d} " if count >= MOST_COUNTED else f"{count:6d} "


def _section(title: str, types: tuple[str, ...], rows: Iterable[tuple[PageTypeInfo, Counts]]) -> Iterator[str]:
    yield ""
    yield f"{title:<23}" + "".join(f"{name:>12} " for name in types)
    for zone, counts in rows:
        yield f"Node {zone.node}, zone {zone.zone:>8} " + "".join(f"{count:12d} " for count in counts)


def _nodes(lines: Lines) -> Iterator[PageTypeInfo]:
    while not lines.over:
        yield from _node(lines)


def _node(lines: Lines) -> Iterator[PageTypeInfo]:
    block_order = lines.number("Page block order:", most=63)
    lines.number("Pages per block:")
    lines.blank()
    orders = len(lines.words(_FREE, 1))
    free: dict[Key, dict[str, Counts]] = {}
    while lines.ahead("Node"):
        node, (zone, name), counts = lines.row("zone", "type", columns=orders)
        lines.one_of(TYPE_NAMES, name)
        free.setdefault((node, zone), {})[name] = lines.ints_of(count.removeprefix(">") for count in counts)
    lines.blank()
    types = tuple(lines.words(_BLOCKS, 1))
    if not free or any(tuple(lists) != types for lists in free.values()):
        lines.refuse("of the types that each zone has above")
    blocks = [_pageblocks(lines, key, types) for key in free]
    mixed: list[Counts | None] = [None] * len(free)
    if not (lines.over or lines.ahead("Page")):
        lines.blank()
        lines.words(_MIXED)
        mixed = [_pageblocks(lines, key, types) for key in free]
    for (key, lists), counted, foreign in zip(free.items(), blocks, mixed, strict=True):
        yield PageTypeInfo(*key, block_order, types, tuple(lists.values()), counted, foreign)


def _pageblocks(lines: Lines, key: Key, types: tuple[str, ...]) -> Counts:
    node, (zone,), counts = lines.row("zone", columns=len(types))
    if (node, zone) != key:
        lines.refuse(f"the row of Node {key[0]}, zone {key[1]}")
    return lines.ints_of(counts)
