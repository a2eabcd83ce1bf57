"""Hypothesis strategies: orders, zones with holes and odd sizes, machines, scripts, single calls, pictures.

They draw small memories, because a mistake that needs a large one has not been seen yet, and small ones
shrink to examples that can be drawn on paper. All arguments have defaults and are keyword-only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from structpage.request import ALLOC, FREE, SPLIT, Requests
from structpage.request import requests as requests_of
from structpage.testing.drawing import BLOCKS
from structpage.testing.model import Model
from structpage.zones import ZONE_NAMES, Zone


class Shape(NamedTuple):
    """The size of a machine: what `BuddyAllocator(frames, zones=..., max_order=...)` takes."""

    frames: int
    zones: tuple[Zone, ...]
    max_order: int


class Operation(NamedTuple):
    """One call of a `BuddyAllocator`: the method's name and its arguments."""

    method: str
    arguments: dict[str, Any]


def orders(*, max_order: int = 10) -> SearchStrategy[int]:
    """Return orders, small ones more often, as in any real workload."""
    return st.integers(0, max_order) | st.integers(0, min(2, max_order))


@st.composite
def zones(draw: DrawFn, *, frames: int = 64, max_zones: int = 3, max_nodes: int = 2) -> tuple[Zone, ...]:
    """Return zones of one memory: odd borders, gaps between, holes within, on one node or several."""
    count = min(draw(st.integers(1, max_zones)), frames)
    inner = draw(st.lists(st.integers(1, max(frames - 1, 1)), min_size=count - 1, max_size=count - 1, unique=True))
    borders = [draw(st.integers(0, min([*inner, frames]) - 1)), *sorted(inner), frames]
    gaps = draw(st.lists(st.just(0) | st.integers(0, 3), min_size=count, max_size=count))
    pairs = zip(borders, borders[1:], gaps, strict=False)
    places = [(start, max(start + 1, end - gap)) for start, end, gap in pairs]
    names = st.tuples(st.integers(0, max_nodes - 1), st.sampled_from(ZONE_NAMES))
    named = draw(st.lists(names, min_size=len(places), max_size=len(places), unique=True))
    # Node 0 has a zone, because an allocation is made from node 0 unless it says otherwise.
    if all(node for node, _ in named):
        named[0] = (0, named[0][1])
    chosen = [
        Zone(name, start, end, node, draw(_holes(start, end)))
        for (node, name), (start, end) in zip(named, places, strict=True)
    ]
    return tuple(chosen)


@st.composite
def _holes(draw: DrawFn, start: int, end: int) -> tuple[tuple[int, int], ...]:
    if not draw(st.booleans()):
        return ()
    first = draw(st.integers(start, end - 1))
    return ((first, draw(st.integers(first + 1, end))),)


@st.composite
def shapes(draw: DrawFn, *, max_frames: int = 64, max_zones: int = 3, max_nodes: int = 2, max_order: int = 6) -> Shape:
    """Return machines: often one zone of all frames, otherwise `zones`."""
    frames = draw(st.integers(1, max_frames) | st.just(max_frames))
    top = draw(st.integers(0, max_order) | st.just(max_order))
    if draw(st.booleans()):
        return Shape(frames, (Zone("Normal", 0, frames),), top)
    return Shape(frames, draw(zones(frames=frames, max_zones=max_zones, max_nodes=max_nodes)), top)


@st.composite
def requests(draw: DrawFn, *, max_order: int = 5, max_rows: int = 40, zone: int = 2, splits: bool = True) -> Requests:
    """Return a script for `replay`: allocations, frees of what they gave, and `splits` of it.

    Each part of an allocation is freed at most once and with the order it has, so no row is ever refused; an
    allocation may fail, and then its later rows do nothing. `zone` is the number of the zone that is wanted.
    """
    rows: list[tuple[int, int, int, int]] = []
    live: list[tuple[int, int, int]] = []
    slots = 0
    for _ in range(draw(st.integers(1, max_rows))):
        what = draw(st.sampled_from((ALLOC, ALLOC, FREE, SPLIT) if splits else (ALLOC, FREE)))
        if what == ALLOC or not live:
            order = draw(orders(max_order=max_order))
            rows.append((ALLOC, order, slots, 0))
            live.append((slots, 0, order))
            slots += 1
            continue
        slot, offset, order = live.pop(draw(st.integers(0, len(live) - 1)))
        to = draw(st.integers(0, order)) if what == SPLIT else order
        rows.append((what, to, slot, offset))
        if what == SPLIT:
            live += [(slot, at, to) for at in range(offset, offset + (1 << order), 1 << to)]
    kind, order_, slot_, offset_ = zip(*rows, strict=True)
    return requests_of(kind, order_, slot_, offset_, zone=zone)


def operations(*, max_frames: int = 64, max_order: int = 6) -> SearchStrategy[Operation]:
    """Return single calls, right ones and wrong ones: PFNs and orders reach one beyond what there is."""
    pfn, order = st.integers(-1, max_frames), st.integers(-1, max_order + 1)
    count = st.integers(0, 9) | st.integers(0, max_frames + 1)
    return st.one_of(
        _calls("alloc", order=orders(max_order=max_order), align_order=st.integers(0, max_order)),
        _calls("free", pfn=pfn, order=st.none() | order),
        _calls("alloc_at", pfn=pfn, order=order),
        _calls("alloc_within", start=pfn, end=pfn, order=order),
        _calls("alloc_range", start=pfn, count=count),
        _calls("free_range", start=pfn, count=count),
        _calls("alloc_contig", count=count),
        _calls("reserve", start=pfn, count=count),
        _calls("release", start=pfn, count=count),
    )


def _calls(method: str, **arguments: SearchStrategy[Any]) -> SearchStrategy[Operation]:
    return st.builds(Operation, st.just(method), st.fixed_dictionaries(arguments))


@st.composite
def pictures(draw: DrawFn, *, max_frames: int = 32, max_order: int = 4) -> str:
    """Return pictures that `zone_from_picture` takes, of states of one zone."""
    frames = draw(st.integers(1, max_frames))
    whole, picture, pfn = Model(frames, max_order=max_order), [], 0
    while pfn < frames:
        fits = [order for order in range(max_order + 1) if whole.chunks(pfn, frames)[0][1] >= order]
        order = draw(st.sampled_from(fits))
        picture.append(BLOCKS[order] if order else draw(st.sampled_from(". #")))
        pfn += 1 << order
    return "".join(picture)
