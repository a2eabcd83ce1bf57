"""The files of `structpage.procfs` for tests: real ones, and records that Hypothesis makes up."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from structpage import procfs
from structpage.core.words import TYPE_NAMES
from structpage.procfs import BuddyInfo, FragmentationIndex, Pageset, PageTypeInfo, SlabInfo, ZoneInfo
from structpage.procfs.lines import MOST
from structpage.zones import ZONE_NAMES

SAMPLES = Path(__file__).parent / "samples"
KINDS = ("buddyinfo", "pagetypeinfo", "zoneinfo", "slabinfo", "extfrag_index", "unusable_index")

numbers = st.integers(0, 3) | st.integers(0, MOST)
nodes = st.integers(0, 3) | st.integers(0, 99_999)
names = st.sampled_from(ZONE_NAMES)
few = {"min_size": 1, "max_size": 4}


def parse(kind, text):
    return getattr(procfs, f"parse_{kind}")(text)


def show(kind, records):
    return getattr(procfs, f"format_{kind}")(records)


def sample(kind, version="6.1"):
    """A real file; for the indices, what the kernel would have printed with the real /proc/buddyinfo."""
    if kind.endswith("index"):
        return "".join(_indices(kind, line) for line in sample("buddyinfo", version).splitlines())
    return (SAMPLES / version / kind).read_text("utf-8")


def printed(index, width):
    """As by printf, given the quotient and remainder of C, which are those of `math`: rounded towards 0."""
    return "%*d.%03d" % (width, math.trunc(index / 1000), math.fmod(index, 1000))  # noqa: UP031


def _indices(kind, line):
    """The line of a zone, worked out one order at a time with printf's formats."""
    zone, counts = line[:22], [int(word) for word in line[22:].split()]
    free, blocks = sum(count << order for order, count in enumerate(counts)), sum(counts)
    for wanted in range(len(counts)):
        suitable = sum(count << order - wanted for order, count in enumerate(counts) if order >= wanted)
        failing = 1000 - (1000 + free * 1000 // (1 << wanted)) // blocks
        unusable = (free - (suitable << wanted)) * 1000 // free
        number = unusable if kind == "unusable_index" else -1000 if suitable else failing
        width = 1 if kind == "unusable_index" else 2
        zone += printed(number, width) + " "
    return zone + "\n"


def folders():
    """The folders of /proc files: that of the samples, then two of each capture there is."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "captures"
    captures = Path(os.environ.get("STRUCTPAGE_CAPTURES", beside))
    yield pytest.param(SAMPLES / "6.1", id="sample")
    for path in sorted(captures.glob("*/*/zoneinfo")):
        yield pytest.param(path.parent, id=path.parent.relative_to(captures).as_posix())


FOLDERS = list(folders())


def rows(record, values):
    """Zones with as many values in each."""
    return st.integers(1, 13).flatmap(
        lambda columns: st.lists(
            st.builds(record, nodes, names, st.tuples(*[values] * columns)), min_size=1, max_size=5
        )
    )


@st.composite
def node_types(draw, node):
    types = tuple(draw(st.lists(st.sampled_from(TYPE_NAMES), unique=True, **few)))
    orders, block_order = draw(st.integers(1, 12)), draw(st.integers(0, 63))
    counts = st.tuples(*[st.integers(0, 9) | st.integers(99_000, procfs.MOST_COUNTED)] * orders)
    blocks = st.tuples(*[numbers] * len(types))
    mixed = blocks if draw(st.booleans()) else st.none()
    zone = st.builds(
        PageTypeInfo,
        st.just(node),
        names,
        st.just(block_order),
        st.just(types),
        st.tuples(*[counts] * len(types)),
        blocks,
        mixed,
    )
    return draw(st.lists(zone, unique_by=lambda record: record.zone, **few))


pagetypeinfos = (
    st.lists(nodes, unique=True, **few)
    .flatmap(lambda chosen: st.tuples(*map(node_types, chosen)))
    .map(lambda parts: [record for part in parts for record in part])
)

counters = st.lists(st.tuples(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), numbers), max_size=3).map(tuple)
maybe = st.none() | numbers


@st.composite
def pagesets(draw):
    limits = draw(st.tuples(numbers, numbers) | st.just((None, None)))
    return Pageset(*draw(st.tuples(numbers, numbers, numbers, numbers)), *limits, draw(maybe))


@st.composite
def zones(draw):
    values = draw(st.fixed_dictionaries(dict.fromkeys(("free", "min", "low", "high"), numbers)))
    values |= draw(st.fixed_dictionaries(dict.fromkeys(("spanned", "present", "managed", "node"), numbers)))
    values |= draw(st.fixed_dictionaries(dict.fromkeys(("boost", "promo", "cma"), maybe)))
    protection = draw(st.lists(numbers, **few).map(tuple))
    zone = ZoneInfo(**values, zone=draw(names), node_stats=draw(counters), protection=protection)
    if not zone.present:
        return zone
    last = draw(st.tuples(numbers, numbers, maybe, maybe))
    cpus = draw(st.lists(pagesets(), max_size=3).map(tuple))
    fields = [getattr(zone, name) for name in ZoneInfo.__slots__[:14]]
    return ZoneInfo(*fields, draw(counters), cpus, *last)


RECORDS = {
    "buddyinfo": rows(BuddyInfo, numbers),
    "pagetypeinfo": pagetypeinfos,
    "zoneinfo": st.lists(zones(), **few),
    "slabinfo": st.lists(st.builds(SlabInfo, st.from_regex(r"[!-~]{1,25}", fullmatch=True), *[numbers] * 11), **few),
    "extfrag_index": rows(FragmentationIndex, st.integers(-1000, 1000)),
    "unusable_index": rows(FragmentationIndex, st.integers(0, 1000)),
}
