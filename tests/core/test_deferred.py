"""Deferred memory: handed over section by section, each when an allocation would fail without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import IN_ORDER, PLACEMENTS, POOLED, lists, says, state
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, Zone, requests
from structpage.core.status import CORRUPT, NO_MEMORY
from structpage.core.words import DEFAULT_TYPE, LANE_SHIFT, TAGS
from structpage.engines import ENGINES
from structpage.errors import CorruptionError, InvalidArgument, InvalidFree, MissingExtra, OutOfMemory
from structpage.request import ALLOC, RELEASE
from structpage.testing import strategies

each_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def deferred(frames, placement="side-table", *, section_order=3, **options):
    return BuddyAllocator(frames, placement, start="deferred", section_order=section_order, **options)


def exhaust(buddy):
    """Allocate single frames until there are none; their PFNs."""
    pfns = []
    for zone in buddy.zones:
        while True:
            try:
                pfns.append(buddy.alloc(0, zone=zone.name, node=zone.node))
            except OutOfMemory:
                break
    return pfns


# What waits


@each_placement
def test_all_but_the_first_section_waits(placement):
    buddy = deferred(64, placement, max_order=2)
    assert buddy.free_list(2) == [0, 4]
    assert (buddy.free_frames, buddy.deferred_frames) == (8, 56)
    assert buddy.deferred_ranges(buddy.zones[0]) == [(8, 64)]
    assert not buddy.pages.allocator[8:].any()
    assert buddy.pages[8].state == "reserved"
    assert repr(buddy) == f"<BuddyAllocator: {placement}, 64 frames, 8 free, 56 deferred: 2 of order 2>"
    assert "8 of 64 frames free, 56 deferred" in buddy._repr_html_()
    told = [line.split() for line in buddy.explain().splitlines()]
    assert [line[:2] for line in told if "deferred" in line] == [["8-63", "deferred"]]


@pytest.mark.parametrize(
    ("start", "holes", "first"),
    [
        (0, (), 8),
        (1, (), 16),  # a section's worth, and then up to a section's end
        (8, (), 16),
        (0, ((2, 4),), 16),
        (0, ((8, 24),), 24),
        (0, ((0, 24),), 32),
        (56, (), None),
        (60, (), None),
    ],
)
def test_what_is_handed_over_early_is_a_section_and_ends_one(start, holes, first):
    """As `defer_init` counts: the first PFN that is a section's start after as many frames as a section has."""
    buddy = deferred(64, zones=[Zone("Normal", start, 64, holes=holes)])
    ranges = buddy.deferred_ranges(buddy.zones[0])
    assert (ranges[0][0] if ranges else None) == first
    assert buddy.free_frames + buddy.deferred_frames == sum(end - begin for begin, end in buddy.zones[0].present())


def test_only_the_last_zone_of_each_node_waits():
    zones = [Zone("DMA", 0, 32), Zone("Movable", 32, 64), Zone("Normal", 64, 96), Zone("DMA32", 96, 128, node=1)]
    buddy = deferred(128, zones=zones)
    waiting = {zone: buddy.deferred_ranges(zone) for zone in buddy.zones if buddy.deferred_ranges(zone)}
    assert waiting == {zones[2]: [(72, 96)], zones[3]: [(104, 128)]}


def test_a_wanted_zone_grows_before_another_serves():
    buddy = deferred(64, zones=[Zone("DMA", 0, 32), Zone("Normal", 32, 64)])
    assert [buddy.alloc(3) for _ in range(5)] == [32, 40, 48, 56, 0]
    assert buddy.deferred_frames == 0


# Handing over


@given(script=strategies.requests(), blocks=st.integers(1, 4), section_order=st.integers(0, 7))
@pytest.mark.parametrize("placement", IN_ORDER)
def test_it_is_as_if_all_had_been_there(placement, script, blocks, section_order):
    """With whole blocks of the largest order alone, nobody can tell, but for what is left."""
    frames = blocks << 5
    whole = BuddyAllocator(frames, placement, max_order=5)
    buddy = deferred(frames, placement, max_order=5, section_order=max(section_order, 5))
    assert buddy.replay(script).answers.tolist() == whole.replay(script).answers.tolist()
    buddy.hand_over_deferred()
    buddy.check()
    assert lists(buddy) == lists(whole)
    assert buddy.pages.words.tolist() == whole.pages.words.tolist() or placement in ("in-words", *POOLED)


@given(
    shape=strategies.shapes(), section_order=st.integers(0, 7), placement=st.sampled_from(PLACEMENTS), data=st.data()
)
def test_no_frame_twice_and_all_in_the_end(shape, section_order, placement, data):
    frames, zones, max_order = shape
    options = {"zones": zones, "max_order": max_order}
    buddy = deferred(frames, placement, section_order=section_order, **options)
    total = buddy.free_frames + buddy.deferred_frames
    held = {}
    for order in data.draw(st.lists(st.integers(0, max_order), max_size=20)):
        try:
            held[buddy.alloc(order)] = order
        except OutOfMemory:
            continue
        buddy.check()
    taken = [pfn + i for pfn, order in held.items() for i in range(1 << order)] + exhaust(buddy)
    assert len(taken) == len(set(taken)) == total
    assert sorted(taken) == sorted(exhaust(BuddyAllocator(frames, placement, **options)))
    assert buddy.deferred_frames == buddy.free_frames == 0


@given(shape=strategies.shapes(), section_order=st.integers(0, 7), placement=st.sampled_from(PLACEMENTS))
def test_handing_all_over_is_starting_free(shape, section_order, placement):
    frames, zones, max_order = shape
    whole = BuddyAllocator(frames, placement, zones=zones, max_order=max_order, section_order=section_order)
    buddy = deferred(frames, placement, zones=zones, max_order=max_order, section_order=section_order)
    buddy.hand_over_deferred()
    told = lists if placement in POOLED else state
    assert told(buddy) == told(whole)
    before = state(buddy)
    buddy.hand_over_deferred()
    assert state(buddy) == before


@each_placement
def test_a_block_larger_than_a_section(placement):
    buddy = deferred(1 << 8, placement, max_order=6)
    assert buddy.alloc(6) == 0
    assert buddy.deferred_ranges(buddy.zones[0]) == [(72, 256)]  # eight were there, of 64 that were asked for
    assert buddy.alloc(5) == 64
    assert buddy.deferred_ranges(buddy.zones[0]) == [(104, 256)]
    assert buddy.alloc(6) == 128  # twice 64 more, for the block to be whole
    assert buddy.deferred_ranges(buddy.zones[0]) == [(232, 256)]
    buddy.check()


def test_a_request_that_nothing_can_serve_hands_over_all():
    buddy = deferred(64, max_order=6, zones=[Zone("Normal", 1, 64)])
    with pytest.raises(OutOfMemory, match=r"order 6 or more, not with none above order 5$"):
        buddy.alloc(6)
    assert buddy.deferred_frames == 0


def test_lists_of_other_types_do_not_grow():
    buddy = deferred(64)
    before = state(buddy)
    with pytest.raises(OutOfMemory):
        buddy.alloc(0, migratetype=DEFAULT_TYPE + 1)
    assert state(buddy) == before


@each_placement
def test_any_address_will_do(placement):
    buddy = deferred(256, placement, max_order=4)
    assert buddy.alloc(0, align_order=7) == 0
    assert buddy.deferred_frames == 256 - 8
    assert buddy.alloc(0, align_order=7) == 128
    assert buddy.deferred_ranges(buddy.zones[0]) == [(136, 256)]
    assert buddy.alloc_contig(100) == 1
    assert buddy.alloc_contig(120) == 129
    assert buddy.deferred_frames == 0
    with pytest.raises(OutOfMemory, match=r"^count must be at most the longest run of free frames, not 120$"):
        buddy.alloc_contig(120)
    buddy.check()


# Chosen addresses

WAITING = "must be of {} frames only, not PFN 8, deferred"
REFUSED = [
    ("alloc_at", {"pfn": 8}, OutOfMemory, f"range [8, 9) {WAITING.format('free')}"),
    ("alloc_range", {"start": 5, "count": 6}, OutOfMemory, f"range [5, 11) {WAITING.format('free')}"),
    ("reserve", {"start": 7, "count": 2}, OutOfMemory, f"range [7, 9) {WAITING.format('free')}"),
    ("release", {"start": 8, "count": 2}, InvalidFree, f"range [8, 10) {WAITING.format('reserved')}"),
    ("place", {"blocks": [(8, 1, 1)]}, InvalidFree, f"range [8, 10) {WAITING.format('reserved')}"),
    ("free", {"pfn": 8}, InvalidFree, "PFN 8 must be the head of an allocated block, not reserved"),
    ("alloc_within", {"start": 4, "end": 16, "order": 3}, OutOfMemory,
     "range [4, 16) must be with a free block of order 3, not without, and deferred from PFN 8 on"),
    ("alloc_within", {"start": 20, "end": 32}, OutOfMemory,
     "range [20, 32) must be with a free block of order 0, not without, and deferred from PFN 20 on"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments", "error", "message"), REFUSED)
def test_frames_that_wait_are_refused_by_name(method, arguments, error, message):
    buddy = deferred(64)
    before = state(buddy)
    with pytest.raises(error, match=says(message)):
        getattr(buddy, method)(**arguments)
    assert state(buddy) == before


def test_reserved_frames_below_those_that_wait_are_ordinary():
    buddy = deferred(64)
    buddy.reserve(6, 2)
    with pytest.raises(InvalidFree, match=says(f"range [6, 10) {WAITING.format('reserved')}")):
        buddy.release(6, 4)
    buddy.release(6, 2)
    assert buddy.free_list(3) == [0]


def engines():
    for name in ENGINES:
        try:
            ENGINES[name]()
        except MissingExtra:
            continue
        yield name


@pytest.mark.parametrize("engine", list(engines()))
@each_placement
def test_engines_hand_over_alike(placement, engine):
    script = requests([ALLOC] * 20, [0, 3, 5, 1] * 5, range(20))
    plain, other = (deferred(256, placement, max_order=5, engine=name) for name in ("plain", engine))
    assert other.replay(script).answers.tolist() == plain.replay(script).answers.tolist()
    assert 0 < plain.deferred_frames < 256 - 8
    assert state(other) == state(plain)
    before = state(other)
    with pytest.raises(
        InvalidFree, match=r"^range \[252, 256\) must be of reserved frames only, not PFN 252, deferred"
    ):
        other.replay(requests([RELEASE], [2], [-1], 252))
    assert state(other) == before


# What may be wrong


def test_a_word_of_a_frame_that_waits():
    buddy = deferred(64)
    buddy.check()
    buddy.pages.allocator[30] = TAGS["allocated"]
    message = "zone Normal of node 0, PFN 30, state must be reserved while deferred, not allocated"
    with pytest.raises(CorruptionError, match=says(message)):
        buddy.check()


@pytest.mark.parametrize("word", [2, 3, 4])
def test_a_table_that_is_not_what_is_left_of_the_zone(word):
    buddy = deferred(64, zones=[Zone("DMA", 0, 64, holes=((32, 40),))])
    assert buddy.buffers["deferred"].tolist() == [1, 8, 32, 40, 64, 0, 0]
    buddy.buffers["deferred"][word] += 1
    with pytest.raises(CorruptionError, match=r"^zone DMA of node 0, deferred must be \[.*\], not \[.*\]$"):
        buddy.check()


def broken():
    """A machine whose only listed block has a link to nowhere, which is met when it merges."""
    buddy = deferred(64, max_order=6, zones=[Zone("DMA", 0, 64)])
    buddy.lists.link[0] = -1
    return buddy


def test_a_broken_list_met_while_handing_over():
    assert broken().core.deferred_grow_zone(0, 1) == CORRUPT
    assert broken().core.rmqueue_deferred(0 << LANE_SHIFT | DEFAULT_TYPE, 6) == CORRUPT
    for act in (lambda buddy: buddy.alloc(6), lambda buddy: buddy.hand_over_deferred()):
        with pytest.raises(CorruptionError, match=r"^zone DMA of node 0, list order 3 Movable, PFN 0, "):
            act(broken())


def test_growing_says_whether_there_was_more():
    core = deferred(64, zones=[Zone("DMA", 0, 64)]).core
    assert core.first_deferred(0) == 8
    assert core.deferred_grow_zone(0, 9) == 0
    assert core.first_deferred(0) == 24
    assert core.deferred_grow_zone(0, 64) == 0
    assert core.deferred_grow_zone(0, 1) == NO_MEMORY
    assert core.first_deferred(0) == core.zone_end[0] == 64


@pytest.mark.parametrize("order", [-1, 63])
def test_sections_have_an_order(order):
    with pytest.raises(InvalidArgument, match=says(f"section_order must be between 0 and 62, not {order}")):
        BuddyAllocator(8, section_order=order)


# A terabyte

TIB = 1 << 28
MIB = 1 << 20


def resident():
    """Bytes of anonymous memory that this process has."""
    (line,) = [line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@each_placement
def test_a_terabyte_costs_what_is_touched(placement):
    frames = TIB - 1024 if placement == "one-word" else TIB
    before = resident()
    try:
        buddy = BuddyAllocator(frames, placement, start="deferred")
    except OutOfMemory:
        pytest.skip("the system grants no mapping of this size")
    assert sum(words.nbytes for words in buddy.buffers.values()) >= 8 * frames
    assert (buddy.free_frames, buddy.deferred_frames) == (1 << 15, frames - (1 << 15))
    pfns = [buddy.alloc(10) for _ in range(40)]
    assert sorted(pfns) == pfns or placement not in IN_ORDER
    assert len(set(pfns)) == 40
    assert buddy.free_frames == (2 << 15) - (40 << 10)
    single = buddy.alloc()
    for pfn in (*pfns[::2], single):
        buddy.free(pfn)
    script = requests([ALLOC] * 64, 9, range(64))
    assert len(set(buddy.replay(script).pfns.tolist())) == 64
    with pytest.raises(OutOfMemory, match=r"deferred$"):
        buddy.alloc_at(frames - 1)
    assert buddy.alloc_contig(5000) >= 0
    assert repr(buddy)
    assert resident() - before < 32 * MIB


def test_types_of_sizes():
    buddy = deferred(64)
    assert type(buddy.deferred_frames) is int
    assert buddy.buffers["deferred"].dtype == np.uint64
