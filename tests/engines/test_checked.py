"""The checked engine: sound placements run clean, and each mistake is caught where it is made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from helpers import PLACEMENTS, lists, says, state, workload
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from strangers import Apart, Plain

from structpage import BuddyAllocator, FreePageReporting, Workload
from structpage.core.buddy import Buddy
from structpage.core.buffers import Buffer, Declaration
from structpage.core.placements.in_page import InPage
from structpage.core.placements.in_words import InWords
from structpage.core.placements.one_word import OneWordLinks
from structpage.core.placements.side_table import SideTable
from structpage.core.ranges import Ranges
from structpage.engines import CheckedEngine, engine_of, plain
from structpage.errors import AccessError, CorruptionError, InvalidArgument, StructPageError
from structpage.request import ALLOC
from structpage.request import requests as requests_of
from structpage.testing import buddy_machine
from structpage.testing.strategies import operations, requests, shapes

ALL = [*PLACEMENTS, Plain, Apart]
each_placement = pytest.mark.parametrize("placement", ALL)


# Sound placements run clean


@each_placement
@given(script=requests(max_rows=60), frames=st.integers(32, 100), stamp=st.sampled_from(["every", "head"]))
def test_a_replay_is_that_of_plain(placement, script, frames, stamp):
    runs = []
    for engine in ("checked", "plain"):
        buddy = BuddyAllocator(frames, placement, max_order=6, engine=engine, stamp=stamp)
        runs.append((buddy.replay(script, every=7).answers.tolist(), state(buddy), lists(buddy)))
        buddy.check()
    assert runs[0] == runs[1]


def outcome(buddy, operation):
    try:
        return getattr(buddy, operation.method)(**operation.arguments)
    except AccessError:
        raise
    except StructPageError as error:
        return type(error), str(error)


@each_placement
@given(
    calls=st.lists(operations(), max_size=30), shape=shapes(), start=st.sampled_from(["free", "reserved", "deferred"])
)
def test_calls_are_those_of_plain(placement, calls, shape, start):
    frames, zones, top = shape
    checked, other = (
        BuddyAllocator(frames, placement, zones=zones, max_order=top, engine=engine, start=start)
        for engine in ("checked", "plain")
    )
    for call in calls:
        assert outcome(checked, call) == outcome(other, call)
        assert state(checked) == state(other)


@each_placement
def test_the_machine_finds_nothing(placement):
    run_state_machine_as_test(
        buddy_machine(placement, engine="checked"),
        settings=settings(settings.default, max_examples=10),
    )


@each_placement
def test_a_real_workload_runs_clean(placement):
    work = Workload.load("mixed", limit=400)
    checked, other = (work.allocator(placement, engine=engine) for engine in ("checked", "plain"))
    assert checked.replay(work.requests).answers.tolist() == other.replay(work.requests).answers.tolist()
    assert state(checked) == state(other)
    assert lists(checked) == lists(other)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_consumers_and_splits_run_clean(placement):
    reporting = FreePageReporting(order=2, delay=0)
    buddy = BuddyAllocator(256, placement, max_order=5, engine="checked", consumers=[reporting, "page-poisoning"])
    pfns = [buddy.alloc(order % 3) for order in range(20)]
    for row, pfn in enumerate(pfns[::2]):
        buddy.free(pfn)
        reporting.tick(row)
    buddy.split(pfns[5], 0)
    buddy.free_range(pfns[5], 4)
    buddy.check()
    assert reporting.blocks > 0


class Ascending:
    """Keeps each list by address, so the order of insertion is not kept."""

    def __init__(self):
        self.of_list = {}

    @classmethod
    def build(cls, room):
        return cls()

    @staticmethod
    def declares():
        return Declaration(keeps_order=False)

    def first(self, lst):
        return min(self.of_list[lst], default=-1)

    def next(self, lst, pfn):
        return min((other for other in self.of_list[lst] if other > pfn), default=-1)

    def push_front(self, lst, pfn):
        self.of_list[lst].add(pfn)

    def push_back(self, lst, pfn):
        self.of_list[lst].add(pfn)

    def remove(self, pfn):
        for held in self.of_list.values():
            held.discard(pfn)
        return 0

    def reset(self, lst):
        self.of_list[lst] = set()


class Forgetting(Ascending):
    def first(self, lst):
        return -1


class Foreign(Ascending):
    def next(self, lst, pfn):
        return pfn + 1


class SaysAFloat(Ascending):
    def first(self, lst):
        return float(Ascending.first(self, lst))


def test_lists_in_an_order_of_their_own_run_clean():
    buddy = BuddyAllocator(64, Ascending, max_order=4, engine="checked")
    buddy.replay(workload(300, frames=64, max_order=3))
    buddy.check()


def test_a_list_in_an_order_of_its_own_still_has_its_blocks():
    buddy = BuddyAllocator(32, Forgetting, max_order=3, engine="checked")
    with pytest.raises(AccessError, match=says(f"first(list {TOP}): answer must be a block on list {TOP}, not -1")):
        buddy.alloc()
    buddy = BuddyAllocator(32, Foreign, max_order=3, engine="checked")
    with pytest.raises(
        AccessError, match=says(f"next(list {TOP}, PFN 0): answer must be a block on list {TOP}, not 1")
    ):
        buddy.free_list(3)
    buddy = BuddyAllocator(32, SaysAFloat, max_order=3, engine="checked")
    with pytest.raises(AccessError, match=says(f"first(list {TOP}): answer must be a plain int, not 0.0")):
        buddy.alloc()


# Buffers


@pytest.fixture
def buffer():
    return CheckedEngine().buffer("link", np.arange(8, dtype=np.uint64))


def test_a_buffer_is_the_memory(buffer):
    words = np.zeros(4, np.uint64)
    buffer = CheckedEngine().buffer("words", words)
    buffer[1] = -1
    buffer[2] = (1 << 63) - 1
    buffer[3] = -1 << 63
    assert words.tolist() == [0, (1 << 64) - 1, (1 << 63) - 1, 1 << 63]
    words[0] = 7
    assert (buffer[0], type(buffer[0]), len(buffer)) == (7, int, 4)


@pytest.mark.parametrize("index", [-1, 8, 1 << 70])
def test_an_index_beyond_the_words(buffer, index):
    for access in (lambda: buffer[index], lambda: buffer.__setitem__(index, 0)):
        with pytest.raises(AccessError, match=says(f"index of link must be between 0 and 7, not {index}")) as caught:
            access()
        assert (caught.value.buffer, caught.value.index, caught.value.operation) == ("link", index, None)


@pytest.mark.parametrize("index", [1.0, True, np.int64(1), slice(0, 2), None, "1"])
def test_an_index_that_is_no_int(buffer, index):
    for access in (lambda: buffer[index], lambda: buffer.__setitem__(index, 0)):
        with pytest.raises(AccessError, match=says(f"index of link must be an int, not {index!r}")):
            access()


@pytest.mark.parametrize("value", [1 << 63, (-1 << 63) - 1, 1.0, True, np.int64(1), None])
def test_a_value_that_is_no_word(buffer, value):
    message = f"value for link[3] must be a signed 64-bit int, not {value!r}"
    with pytest.raises(AccessError, match=says(message)) as caught:
        buffer[3] = value
    assert buffer[3] == 3
    assert (caught.value.buffer, caught.value.index) == ("link", 3)


def test_a_fill_is_judged_word_by_word():
    engine, words = CheckedEngine(), np.zeros(8, np.uint64)
    engine.buffer("words", words)
    engine.fill("words", words).fill(1, 7, 2, 5)
    assert words.tolist() == [0, 5, 0, 5, 0, 5, 0, 0]
    with pytest.raises(AccessError, match=says("index of words must be between 0 and 7, not 8")):
        engine.fill("words", words).fill(6, 10, 2, 1)


# Placements with a mistake each: class, what a run of it says first


class OneRecordShort(SideTable):
    """The table has no room for the last list head."""

    @classmethod
    def build(cls, room):
        size = 2 * (room.frames + room.lists)
        return cls(room.buffer("link", size - 2), 2 * room.frames, size)


class HeadsBefore(InPage):
    """Heads are looked for one record too low."""

    def first(self, lst):
        node = self.head[2 * lst - 2 * self.nodes]
        return node if node < self.frames else -1


class ClearsTheBuddy(InWords):
    """Clears the links of the buddy, which somebody may have."""

    def push_front(self, lst, pfn):
        self.word[2 * (pfn ^ 1) + 1] = 0
        InWords.push_front(self, lst, pfn)


class Remembers(InPage):
    """Begins a push from the links of the block that was removed last."""

    def remove(self, pfn):
        self.head[0] = pfn
        return InPage.remove(self, pfn)

    def push_front(self, lst, pfn):
        if self.head[0] < self.frames:
            self.memory[self.head[0] << 9]
        InPage.push_front(self, lst, pfn)


class ForgetsTheBackLink(SideTable):
    def remove(self, pfn):
        self.link[self.link[2 * pfn + 1]] = self.link[2 * pfn]
        return 0


class ForgetsTheLinkOn(SideTable):
    def remove(self, pfn):
        self.link[self.link[2 * pfn] + 1] = self.link[2 * pfn + 1]
        return 0


class ForgetsTheNeighbour(SideTable):
    """What was first does not learn that it is second."""

    def push_front(self, lst, pfn):
        self.link[2 * pfn] = self.link[self.heads + 2 * lst]
        self.link[2 * pfn + 1] = self.heads + 2 * lst
        self.link[self.heads + 2 * lst] = 2 * pfn


class InTheWrongWord(InWords):
    """Links go to the word that says who hands the frame out."""

    def push_back(self, lst, pfn):
        self.word[2 * pfn] = self.packed(self.frames + lst, self.frames + lst)


class TooWide(SideTable):
    """A link that is marked by a bit beyond the word."""

    def push_back(self, lst, pfn):
        SideTable.push_back(self, lst, pfn)
        self.link[2 * pfn] = self.heads + 2 * lst | 1 << 64


class Unsigned(InWords):
    """The upper link is not sign-extended."""

    def packed(self, after, before):
        return after | (before | 1 << 31) << 32


class OtherPage(InPage):
    """A link goes to the page before."""

    def push_front(self, lst, pfn):
        self.memory[(pfn << 9) - 512] = self.frames + lst
        InPage.push_front(self, lst, pfn)


class NoBackLink(InPage):
    """The link back is what the last owner left in the page."""

    def push_back(self, lst, pfn):
        last = self.head[2 * lst + 1]
        self.memory[pfn << 9] = self.frames + lst
        self.set_link(last, 0, pfn)
        self.head[2 * lst + 1] = pfn


class LosesTheOrder(OneWordLinks):
    """Links go over tag and order."""

    def push_back(self, lst, pfn):
        self.word[pfn] = self.packed(self.frames + lst, self.frames + lst)


class InsideTheBlock(OneWordLinks):
    """Half of the record is in the word of the frame after."""

    def push_back(self, lst, pfn):
        OneWordLinks.push_back(self, lst, pfn)
        self.word[pfn + 1] = self.frames << 8


class Backwards(SideTable):
    def push_back(self, lst, pfn):
        self.push_front(lst, pfn)


class SaysNothing(SideTable):
    def remove(self, pfn):
        SideTable.remove(self, pfn)


class SaysTrue(SideTable):
    def first(self, lst):
        return SideTable.first(self, lst) >= 0


class NeverWritten(NamedTuple):
    """`side-table` with a count per list that begins with what is in a new buffer."""

    table: SideTable
    count: Buffer

    @classmethod
    def build(cls, room):
        return cls(SideTable.build(room), room.buffer("count", room.lists))

    def first(self, lst):
        return self.table.first(lst)

    def next(self, lst, pfn):
        return self.table.next(lst, pfn)

    def push_front(self, lst, pfn):
        self.count[lst] += 1
        self.table.push_front(lst, pfn)

    def push_back(self, lst, pfn):
        self.count[lst] += 1
        self.table.push_back(lst, pfn)

    def remove(self, pfn):
        return self.table.remove(pfn)

    def reset(self, lst):
        self.table.reset(lst)


class WrittenWhenBuilt(NeverWritten):
    """The same, with counts that begin with a one."""

    @classmethod
    def build(cls, room):
        placement = NeverWritten.build(room)
        for lst in range(room.lists):
            placement.count[lst] = 1
        return cls(*placement)


LST = (2 << 3 | 1) * 4  # order 0, Movable, of zone Normal, with four orders
TOP = LST + 3
HEADS = 4 * 3 * 8  # lists of three zone slots, eight types each, of four orders
UNLISTED = "must be a word of a listed block, not of PFN {}, which is on no list"
PUSH = f"push_back(list {TOP}, PFN 0)"
PLANTED = [
    (OneRecordShort, f"index of link must be between 0 and {2 * (32 + HEADS) - 3}, not {2 * (32 + HEADS) - 2}"),
    (HeadsBefore, f"{PUSH}: index of head must be between 0 and {2 * HEADS - 1}, not {2 * TOP - 2 * (32 + HEADS)}"),
    (ClearsTheBuddy, f"push_front(list {LST}, PFN 1): words[1] {UNLISTED.format(0)}"),
    (Remembers, f"push_front(list {LST + 2}, PFN 4): memory[0] {UNLISTED.format(0)}"),
    (ForgetsTheBackLink, f"remove(PFN 0): answer of prev({TOP}, 8) after it must be -1, not 0"),
    (ForgetsTheLinkOn, f"remove(PFN 0): answer of first({TOP}) after it must be 8, not 0"),
    (ForgetsTheNeighbour, f"push_front(list {LST + 2}, PFN 4): answer of last({LST + 2}) after it must be 4, not -1"),
    (InTheWrongWord, f"{PUSH}: words[0] must be an allocatee, not the allocator word of PFN 0"),
    (TooWide, f"{PUSH}: value for link[0] must be a signed 64-bit int, not {64 + 2 * TOP | 1 << 64}"),
    (Unsigned, f"value for head[0] must be a signed 64-bit int, not {32 | (32 | 1 << 31) << 32}"),
    (OtherPage, f"push_front(list {LST + 2}, PFN 4): memory[1536] {UNLISTED.format(3)}"),
    (NoBackLink, f"{PUSH}: memory[1] must be written since PFN 0 was listed, not left over from before"),
    (LosesTheOrder, f"{PUSH}: words[0] must be written with the tag and order it has, not one with bits 0x31 turned"),
    (InsideTheBlock, f"{PUSH}: words[1] must be a zero, as inside a free block, not written for PFN 1"),
    (Backwards, f"push_back(list {TOP}, PFN 8): answer of next({TOP}, 0) after it must be 8, not -1"),
    (SaysNothing, "remove(PFN 0): answer must be 0 or CORRUPT, not None"),
    (SaysTrue, f"{PUSH}: answer of first({TOP}) after it must be 0, not True"),
    (NeverWritten, f"{PUSH}: count[{TOP}] must be written before it is read, not a zero of the new buffer"),
]


@pytest.mark.parametrize(("placement", "message"), PLANTED, ids=[cls.__name__ for cls, _ in PLANTED])
def test_a_planted_mistake_is_caught_where_it_is_made(placement, message):
    with pytest.raises(AccessError, match=says(message)):
        run(placement)


def run(placement, engine="checked"):
    buddy = BuddyAllocator(32, placement, max_order=3, engine=engine)
    for _ in range(3):
        pfns = [buddy.alloc() for _ in range(10)]
        for pfn in pfns[::2] + pfns[1::2]:
            buddy.free(pfn)


def test_an_error_says_where():
    with pytest.raises(AccessError) as caught:
        run(ClearsTheBuddy)
    error = caught.value
    assert (error.buffer, error.index, error.pfn) == ("words", 1, 0)
    assert error.operation == f"push_front(list {LST}, PFN 1)"
    assert error.request is None


def test_a_replay_says_at_which_request():
    buddy = BuddyAllocator(32, ClearsTheBuddy, max_order=3, engine="checked")
    with pytest.raises(AccessError) as caught:
        buddy.replay(requests_of(ALLOC, [3, 3, 0, 3], range(4)))
    assert caught.value.request == 2
    assert caught.value.__notes__ == ["request 2: ALLOC order 0 slot 2 offset 0"]


def test_the_columns_of_a_replay_are_within_bounds():
    def loop(state, rows, where, last):
        for (row,) in rows:
            where[last] = row
        return 1

    where = np.zeros(4, np.int64)
    assert CheckedEngine().run(loop, None, [np.array([5])], [where], 3) == 1
    assert where[3] == 5
    with pytest.raises(AccessError) as caught:
        CheckedEngine().run(loop, None, [np.array([5])], [where], -1)
    assert str(caught.value) == "index of written column 0 must be between 0 and 3, not -1"


def test_zeros_may_be_counted_on_where_this_is_declared():
    class NeedsZeros(NeverWritten):
        @staticmethod
        def declares():
            return Declaration(needs_zeros=True)

    buddy = BuddyAllocator(32, NeedsZeros, max_order=3, engine="checked")
    buddy.alloc()
    buddy.check()
    assert buddy.buffers["count"].sum() == 32 // 8 + 3


def test_what_was_written_when_it_was_built_may_be_read():
    buddy = BuddyAllocator(32, WrittenWhenBuilt, max_order=3, engine="checked")
    buddy.alloc()
    assert buddy.buffers["count"].sum() == 32 // 8 + 3 + HEADS


# Whose buffers


def test_the_allocator_keeps_off_the_links_and_the_pages():
    buddy = BuddyAllocator(32, "in-page", max_order=3, engine="checked")
    buffers = buddy.engine.buffers
    for access, how in ((lambda at: at[0], "read"), (lambda at: at.__setitem__(0, 1), "written")):
        for name, rule in (("head", "touched by the placement alone"), ("memory", "left to whoever has the frame")):
            with pytest.raises(AccessError, match=says(f"{name}[0] must be {rule}, not {how} by the allocator")):
                access(buffers[name])
    buddy.check()


@pytest.mark.parametrize("name", ["nr_free", "zone_start", "zonelist"])
@pytest.mark.parametrize("write", [False, True])
def test_the_placement_keeps_off_the_counts_and_zones(name, write):
    engine = CheckedEngine()

    class Thief(SideTable):
        def push_front(self, lst, pfn):
            loot = engine.buffers[name]
            if write:
                loot[1] = 0
            loot[1]
            SideTable.push_front(self, lst, pfn)

    buddy = BuddyAllocator(32, Thief, max_order=3, engine=engine)
    before = engine.buffers[name].values[1]
    message = (
        f"push_front(list {LST + 2}, PFN 4): {name}[1] must be touched by the allocator alone, not by the placement"
    )
    with pytest.raises(AccessError, match=says(message)):
        buddy.alloc()
    assert engine.buffers[name].values[1] == before


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_listed_block_is_left_alone(placement):
    buddy = BuddyAllocator(32, placement, max_order=3, engine="checked")
    memmap, before = buddy.core.memmap, state(buddy)
    rule = "must be left alone while the block at PFN 8 is listed, not written by the allocator"
    for write in (
        lambda: memmap.unmark(8),
        lambda: memmap.mark_allocated(8, 3, 16, 0),
        lambda: memmap.mark_free(8, 2, 16),
        lambda: memmap.mark_free(12, 1, 16),
        lambda: memmap.bulk.fill(len(buddy.pages.words) // 32 * 9, len(buddy.pages.words) // 32 * 10, 1, 5),
    ):
        with pytest.raises(AccessError, match=rf"^words\[\d+\] {rule}$"):
            write()
        assert state(buddy) == before
    memmap.mark_reported(8)
    buddy.check()


# What the allocator does wrong


@pytest.fixture
def broken(monkeypatch):
    """Put a method in place of the core's, in the twins too."""

    def put(name, method):
        monkeypatch.setattr(Buddy, name, method)
        plain._slotted.cache_clear()

    yield put
    monkeypatch.undo()
    plain._slotted.cache_clear()


def takes_without_removing(self, lane, order):
    return self.lists.first(lane * self.orders + self.orders - 1)


def lists_twice(self, pfn, low, high, lane):
    self.memmap.mark_free(pfn, high - 1, lane)
    self.lists.push_front(lane * self.orders + high - 1, pfn)
    self.lists.push_back(lane * self.orders + high - 1, pfn)


def lists_both_and_the_whole(self, pfn, low, high, lane):
    self.memmap.mark_free(pfn, high - 1, lane)
    self.memmap.mark_free(pfn + 1, 0, lane)
    self.lists.push_front(lane * self.orders, pfn + 1)
    self.lists.push_front(lane * self.orders + high - 1, pfn)


def lists_unmarked(self, pfn, low, high, lane):
    self.lists.push_front(lane * self.orders + low, pfn + 1)


def lists_with_another_order(self, pfn, low, high, lane):
    self.memmap.mark_free(pfn + 4, 1, lane)
    self.lists.push_front(lane * self.orders + 2, pfn + 4)


LEFT_ALONE = "must be left alone while the block at PFN 0 is listed, not written by the allocator"
NOT_TWICE = "block must be of frames that are on no list, not PFN {}, of the block on list {}"
MARKED = "must be marked as a free block of order {}, not in another state"
WRONG_CALLS = [
    ("rmqueue", takes_without_removing, f"words[0] {LEFT_ALONE}"),
    ("expand", lists_twice, f"push_back(list {LST + 2}, PFN 0): {NOT_TWICE.format(0, LST + 2)}"),
    ("expand", lists_both_and_the_whole, f"push_front(list {LST + 2}, PFN 0): {NOT_TWICE.format(1, LST)}"),
    ("expand", lists_unmarked, f"push_front(list {LST}, PFN 1): PFN 1 {MARKED.format(0)}"),
    ("expand", lists_with_another_order, f"push_front(list {LST + 2}, PFN 4): PFN 4 {MARKED.format(2)}"),
]


@pytest.mark.parametrize(
    ("name", "method", "message"), WRONG_CALLS, ids=[method.__name__ for _, method, _ in WRONG_CALLS]
)
def test_a_mistake_of_the_allocator_is_caught_too(broken, name, method, message):
    broken(name, method)
    buddy = BuddyAllocator(8, "side-table", max_order=3, engine="checked")
    with pytest.raises(AccessError, match=says(message)):
        buddy.alloc()


A_LIST = f"must be an int between 0 and {HEADS - 1}, not"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lists: lists.remove(1), "remove(PFN 1): PFN 1 must be the head of a block on a list, not on none"),
        (lambda lists: lists.remove(32), "PFN of remove must be an int between 0 and 31, not 32"),
        (lambda lists: lists.remove(np.int64(0)), "PFN of remove must be an int between 0 and 31, not np.int64(0)"),
        (
            lambda lists: lists.next(LST, 0),
            f"next(list {LST}, PFN 0): PFN 0 must be the head of a block on list {LST}, not on list {TOP}",
        ),
        (
            lambda lists: lists.prev(LST, 1),
            f"prev(list {LST}, PFN 1): PFN 1 must be the head of a block on list {LST}, not on none",
        ),
        (lambda lists: lists.first(-1), f"list of first {A_LIST} -1"),
        (lambda lists: lists.last(True), f"list of last {A_LIST} True"),
        (lambda lists: lists.push_front(HEADS, 0), f"list of push_front {A_LIST} {HEADS}"),
        (lambda lists: lists.push_back(LST, -1), "PFN of push_back must be an int between 0 and 31, not -1"),
    ],
)
def test_a_wrong_call_does_not_reach_the_placement(call, message):
    buddy = BuddyAllocator(32, "side-table", max_order=3, engine="checked")
    before = state(buddy)
    with pytest.raises(AccessError, match=says(message)):
        call(buddy.lists)
    assert state(buddy) == before
    buddy.check()


def test_a_list_that_is_reset_is_empty():
    buddy = BuddyAllocator(32, "in-page", max_order=3, engine="checked")
    buddy.lists.reset(LST + 3)
    assert buddy.lists.first(LST + 3) == buddy.lists.last(LST + 3) == -1
    message = "remove(PFN 0): PFN 0 must be the head of a block on a list, not on none"
    with pytest.raises(AccessError, match=says(message)):
        buddy.lists.remove(0)


def test_the_guard_has_what_the_placement_has():
    for placement, has in ((Plain, False), (Apart, True), ("in-page", True)):
        guard = BuddyAllocator(16, placement, max_order=3, engine="checked").lists
        assert hasattr(guard, "last") is hasattr(guard, "prev") is has


# What was broken from outside


def test_corruption_comes_out_as_in_plain():
    found = []
    for engine in ("checked", "plain"):
        buddy = BuddyAllocator(32, "side-table", max_order=3, engine=engine)
        buddy.buffers["link"][0] = 1 << 40
        with pytest.raises(CorruptionError) as caught:
            buddy.alloc()
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_a_list_or_word_changed_from_outside_is_told_at_the_next_call():
    buddy = BuddyAllocator(32, "side-table", max_order=3, engine="checked")
    buddy.buffers["link"][2 * (32 + TOP)] = 2 * 8
    with pytest.raises(AccessError, match=says(f"first(list {TOP}): answer must be 0, not 8")):
        buddy.alloc()
    buddy.pages.allocator[8] = 0
    message = "remove(PFN 8): PFN 8 must be marked as a free block of order 3, not in another state"
    with pytest.raises(AccessError, match=says(message)):
        buddy.lists.remove(8)


# One engine, one allocator


def test_an_engine_is_for_one_allocator():
    engine = CheckedEngine()
    buddy = BuddyAllocator(32, "in-words", max_order=3, engine=engine)
    before = state(buddy)
    message = "engine checked must be one of its own for each allocator, not one that is in use"
    with pytest.raises(InvalidArgument, match=says(message)):
        BuddyAllocator(32, "in-words", max_order=3, engine=engine)
    assert state(buddy) == before
    buddy.free(buddy.alloc())
    buddy.check()


def test_it_has_a_name():
    assert engine_of("checked").name == "checked"
    assert engine_of("checked") is not engine_of("checked")


def test_state_that_is_no_allocator_is_adopted_as_it_is():
    class Pair(NamedTuple):
        left: int
        right: int

    twin = CheckedEngine().adopt(Pair(1, 2))
    assert (twin.left, twin.right) == (1, 2)
    assert not isinstance(twin, Ranges)
