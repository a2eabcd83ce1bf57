"""/proc/zoneinfo: watermarks, sizes, counters and per-CPU lists of each zone of each node.

Terminology: a zone is *populated* if it has present pages; of one that is not, the kernel prints no more than its
sizes and its protection. *Per-node stats* are counters of a node, printed with its first populated zone.
Numbers are of pages where nothing else is said.

What a kernel does not print is `None` here: `promo`, `high_min` and `high_max` are missing in 6.1,
`reserved_highatomic` and `free_highatomic` in 6.12, `boost` and `cma` in old ones. Counters are kept by name in the
order of the file, because every version has its own.

Followed: Linux 6.1, 6.12 and 7.3 mm/vmstat.c, `zoneinfo_show_print`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from structpage.procfs.lines import Lines, read_exactly

Counters = tuple[tuple[str, int], ...]
"""Names and values; `dict(zone.counters)["nr_free_pages"]`."""


@dataclass(frozen=True, slots=True)
class Pageset:
    """The per-CPU lists of a zone on one cpu: pages in them, and the limits; `threshold` is that of the counters."""

    cpu: int
    count: int
    high: int
    batch: int
    high_min: int | None = None
    high_max: int | None = None
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class ZoneInfo:
    """A zone in /proc/zoneinfo.

    `protection[z]` are the pages of this zone kept from requests that prefer zone z. The fields from `counters` on are
    empty or `None` unless the zone is populated, `node_stats` is empty unless it is the first such zone of its node.
    """

    node: int
    zone: str
    node_stats: Counters
    free: int
    min: int
    low: int
    high: int
    spanned: int
    present: int
    managed: int
    protection: tuple[int, ...]
    boost: int | None = None
    promo: int | None = None
    cma: int | None = None
    counters: Counters = ()
    pagesets: tuple[Pageset, ...] = ()
    node_unreclaimable: int | None = None
    start_pfn: int | None = None
    reserved_highatomic: int | None = None
    free_highatomic: int | None = None


_SIZES: Final = {"free": "  pages free     "} | {
    name: f"        {name:<8} "
    for name in ("boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma")
}
_LIMITS: Final = ("count", "high", "batch", "high_min", "high_max")
_NARROW: Final = {name: f"              {name + ':':<6} " for name in _LIMITS[:3]}
_WIDE: Final = {name: f"              {name + ':':<9} " for name in _LIMITS}
_THRESHOLD: Final = {"threshold": "  vm stats threshold: "}
_LAST: Final = {
    name: f"  {name + ':':<20} "
    for name in ("node_unreclaimable", "start_pfn", "reserved_highatomic", "free_highatomic")
}
_OPTIONAL: Final = ("boost", "promo", "cma", "threshold", "reserved_highatomic", "free_highatomic")


def parse_zoneinfo(text: str) -> tuple[ZoneInfo, ...]:
    """Return the zones of a /proc/zoneinfo.

    Raises `TraceError`, with the line, or `InvalidArgument`, as `parse_buddyinfo`. O(characters).
    """
    return read_exactly(text, _zones, format_zoneinfo)


def format_zoneinfo(records: Iterable[ZoneInfo]) -> str:
    """Return the text of a /proc/zoneinfo; of a zone without present pages the sizes alone."""
    return "".join(f"{line}\n" for zone in records for line in _printed(zone))


def _printed(zone: ZoneInfo) -> Iterator[str]:
    yield f"Node {zone.node}, zone {zone.zone:>8}"
    if zone.node_stats:
        yield "  per-node stats"
        yield from _counters(zone.node_stats)
    yield from _numbers(zone, _SIZES)
    yield f"        protection: ({', '.join(map(str, zone.protection))})"
    if not zone.present:
        return
    yield from _counters(zone.counters)
    yield "  pagesets"
    for pageset in zone.pagesets:
        yield f"    cpu: {pageset.cpu}"
        yield from _numbers(pageset, _NARROW if pageset.high_min is None else _WIDE)
        yield from _numbers(pageset, _THRESHOLD)
    yield from _numbers(zone, _LAST)


def _counters(counters: Counters) -> Iterator[str]:
    return (f"      {name:<12} {value}" for name, value in counters)


def _numbers(record: ZoneInfo | Pageset, titles: Mapping[str, str]) -> Iterator[str]:
    values = ((title, getattr(record, name)) for name, title in titles.items())
    return (f"{title}{value}" for title, value in values if value is not None)


def _zones(lines: Lines) -> Iterator[ZoneInfo]:
    while not lines.over:
        node, (name,), _ = lines.row("zone", columns=0)
        stats: Counters = ()
        if lines.ahead("  per-node"):
            lines.words("per-node stats")
            stats = _read_counters(lines)
        sizes = lines.numbers(_SIZES, _OPTIONAL)
        protection = lines.ints_of(word.strip("(,)") for word in lines.words("protection:", 1))
        zone = ZoneInfo(node, name, stats, protection=protection, **sizes)
        yield _populated(lines, zone) if zone.present else zone


def _populated(lines: Lines, zone: ZoneInfo) -> ZoneInfo:
    counters = _read_counters(lines)
    lines.words("pagesets")
    pagesets = []
    while lines.ahead("    cpu:"):
        cpu = lines.number("cpu:")
        limits = lines.numbers(_WIDE if lines.ahead(_WIDE["count"]) else _NARROW)
        pagesets.append(Pageset(cpu, **limits, **lines.numbers(_THRESHOLD, _OPTIONAL)))
    return replace(zone, counters=counters, pagesets=tuple(pagesets), **lines.numbers(_LAST, _OPTIONAL))


def _read_counters(lines: Lines) -> Counters:
    counters = []
    while lines.ahead("      "):
        words = lines.words("")
        if len(words) != 2:
            lines.refuse("a counter and its value")
        counters.append((words[0], lines.int_of(words[1])))
    return tuple(counters)
