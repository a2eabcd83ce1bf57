"""/proc/slabinfo: objects and slabs of each cache.

Two lines of titles, then a line for each cache, the one made last first::

    kmalloc-256         3456   3584    256   32    2 : tunables    0    0    0 : slabdata    112    112      0

`num_objs` are all objects of all slabs. `active_objs` are those without the free objects of the slabs on nodes'
partial lists: SLUB does not look at the CPUs' lists, so a free object of a slab that a CPU has counts as active. Nor
does it tell slabs in use from others, and it has nothing to tune: `active_slabs` is `num_slabs`, the tunables and
`sharedavail` are 0. SLAB, which some kernels up to 6.7 have instead, fills them in.

Followed: Linux 6.1 mm/slab_common.c, `print_slabinfo_header` and `cache_show`, mm/slub.c, `get_slabinfo`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from structpage.errors import TraceError, must
from structpage.procfs.lines import Lines, read_exactly

_VERSION: Final = "slabinfo - version: 2.1"
_COLUMNS: Final = (
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
)
_WORDS: Final = 16
_PUNCTUATION: Final = {6: ":", 7: "tunables", 11: ":", 12: "slabdata"}
"""Words of a cache's line that are always the same, by their place."""


@dataclass(frozen=True, slots=True)
class SlabInfo:
    """A cache in /proc/slabinfo; the names are those of the titles."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    """Bytes from one object to the next, metadata included."""
    objperslab: int
    """Objects of a slab of the order that the cache asks for first."""
    pagesperslab: int
    active_slabs: int
    num_slabs: int
    limit: int = 0
    batchcount: int = 0
    sharedfactor: int = 0
    sharedavail: int = 0


def parse_slabinfo(text: str) -> tuple[SlabInfo, ...]:
    """Return the caches of a /proc/slabinfo, in the order of the file.

    Raises `TraceError`, with the line, or `InvalidArgument`, as `parse_buddyinfo`. O(characters).
    """
    return read_exactly(text, _caches, format_slabinfo)


def format_slabinfo(records: Iterable[SlabInfo]) -> str:
    """Return the text of a /proc/slabinfo; numbers are at least 0, names without blanks."""
    return "".join(f"{line}\n" for line in (_VERSION, _COLUMNS, *map(_line, records)))


def _line(cache: SlabInfo) -> str:
    return (
        f"{cache.name:<17} {cache.active_objs:6d} {cache.num_objs:6d} {cache.objsize:6d}"
        f" {cache.objperslab:4d} {cache.pagesperslab:4d}"
        f" : tunables {cache.limit:4d} {cache.batchcount:4d} {cache.sharedfactor:4d}"
        f" : slabdata {cache.active_slabs:6d} {cache.num_slabs:6d} {cache.sharedavail:6d}"
    )


def _caches(lines: Lines) -> Iterator[SlabInfo]:
    for title in (_VERSION, _COLUMNS):
        lines.words(title)
    if lines.over:
        raise TraceError(must(f"line {lines.at + 1}", "the line of a cache", "the end of the text"))
    while not lines.over:
        words = lines.words("")
        if len(words) != _WORDS or any(words[place] != word for place, word in _PUNCTUATION.items()):
            lines.refuse("the line of a cache")
        active, total, size, per_slab, pages = lines.ints_of(words[1:6])
        limit, batch, factor = lines.ints_of(words[8:11])
        active_slabs, slabs, shared = lines.ints_of(words[13:])
        yield SlabInfo(
            words[0], active, total, size, per_slab, pages, active_slabs, slabs, limit, batch, factor, shared
        )
