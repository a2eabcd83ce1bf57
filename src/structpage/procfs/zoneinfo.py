"""/proc/zoneinfo: watermarks, sizes, counters and per-CPU lists of each zone of each node.

Terminology: a zone is *populated* if it has present pages; of one that is not, the kernel prints no more than its
sizes and its protection. *Per-node stats* are counters of a node, printed with its first populated zone.
Numbers are of pages where nothing else is said.

What a kernel does not print is `None` here: `promo` before 6.12, `high_min` and `high_max` before 6.12,
`reserved_highatomic` and `free_highatomic` before 7.3, `boost` and `cma` in old ones. Counters are kept by name in the
order of the file, because every version has its own.

Followed: Linux 6.1, 6.12 and 7.3 mm/vmstat.c, `zoneinfo_show_print`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from structpage.procfs.lines import Lines, read_exactly

Counters = tuple[tuple[str, int], ...]
"""Names and values; `dict(zone.counters)["nr_free_pages"]`."""


class Pageset(NamedTuple):
    """The per-CPU lists of a zone on one cpu: pages in them, and the limits; `threshold` is that of the counters."""

    cpu: int
    count: int
    high: int
    batch: int
    high_min: int | None = None
    high_max: int | None = None
    threshold: int | None = None


class ZoneInfo(NamedTuple):
    """A zone in /proc/zoneinfo, its fields in the order of the file.

    `protection[z]` are the pages of this zone kept from requests that prefer zone z. The fields after it are empty or
    `None` unless the zone is populated, as `node_stats` is empty unless it is the first such zone of its node.
    """

    node: int
    zone: str
    node_stats: Counters
    free: int
    boost: int | None
    min: int
    low: int
    high: int
    promo: int | None
    spanned: int
    present: int
    managed: int
    cma: int | None
    protection: tuple[int, ...]
    counters: Counters = ()
    pagesets: tuple[Pageset, ...] = ()
    node_unreclaimable: int | None = None
    start_pfn: int | None = None
    reserved_highatomic: int | None = None
    free_highatomic: int | None = None


_SIZES: Final = ZoneInfo._fields[4:13]
_LIMITS: Final = Pageset._fields[1:6]
_LAST: Final = ZoneInfo._fields[16:]


def parse_zoneinfo(text: str) -> tuple[ZoneInfo, ...]:
    """Return the zones of a /proc/zoneinfo.

    Raises `TraceError`, with the line, or `InvalidArgument`, as `parse_buddyinfo`. O(characters).
    """
    return read_exactly(text, _zones, format_zoneinfo)


def format_zoneinfo(records: Iterable[ZoneInfo]) -> str:
    """Return the text of a /proc/zoneinfo; a zone is printed as populated if it has a `start_pfn`."""
    return "".join(f"{line}\n" for zone in records for line in _printed(zone))


def _printed(zone: ZoneInfo) -> Iterator[str]:
    yield f"Node {zone.node}, zone {zone.zone:>8}"
    if zone.node_stats:
        yield "  per-node stats"
        yield from _counters(zone.node_stats)
    yield f"  pages free     {zone.free}"
    yield from (f"        {name:<8} {value}" for name, value in _known(zone, _SIZES))
    yield f"        protection: ({', '.join(map(str, zone.protection))})"
    if zone.start_pfn is None:
        return
    yield from _counters(zone.counters)
    yield "  pagesets"
    for pageset in zone.pagesets:
        yield f"    cpu: {pageset.cpu}"
        width = 6 if pageset.high_min is None else 9
        yield from (f"              {name + ':':<{width}} {value}" for name, value in _known(pageset, _LIMITS))
        yield from (f"  vm stats threshold: {value}" for _, value in _known(pageset, ("threshold",)))
    yield from (f"  {name + ':':<20} {value}" for name, value in _known(zone, _LAST))


def _counters(counters: Counters) -> Iterator[str]:
    return (f"      {name:<12} {value}" for name, value in counters)


def _known(record: ZoneInfo | Pageset, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    return ((name, getattr(record, name)) for name in names if getattr(record, name) is not None)


def _zones(lines: Lines) -> Iterator[ZoneInfo]:
    while not lines.over:
        yield _zone(lines)


def _zone(lines: Lines) -> ZoneInfo:
    node, zone = lines.zone()
    zone_info = ZoneInfo(
        node,
        zone,
        node_stats=_read_counters(lines, "per-node stats") if lines.ahead("  per-node stats") else (),
        free=lines.number("pages free"),
        boost=lines.number_if("boost"),
        min=lines.number("min"),
        low=lines.number("low"),
        high=lines.number("high"),
        promo=lines.number_if("promo"),
        spanned=lines.number("spanned"),
        present=lines.number("present"),
        managed=lines.number("managed"),
        cma=lines.number_if("cma"),
        protection=lines.ints_of(word.strip("(,)") for word in lines.words("protection:", 1)),
    )
    if lines.over or lines.ahead("Node"):
        return zone_info
    return zone_info._replace(
        counters=_read_counters(lines),
        pagesets=_read_pagesets(lines),
        node_unreclaimable=lines.number("node_unreclaimable:"),
        start_pfn=lines.number("start_pfn:"),
        reserved_highatomic=lines.number_if("reserved_highatomic:"),
        free_highatomic=lines.number_if("free_highatomic:"),
    )
