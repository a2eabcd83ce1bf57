"""What every placement keeps to, those of the package and those of a stranger."""

from __future__ import annotations

import importlib.metadata

import pytest
from helpers import IN_ORDER, PLACEMENTS, Sparse, lists, says, state, workload
from hypothesis import given
from hypothesis import strategies as st
from strangers import Apart, Plain

from structpage import BuddyAllocator, PageArray, placing, registry
from structpage.core.buffers import Declaration, Room
from structpage.core.placements import BUILTIN
from structpage.core.placements.array_index import ArrayIndex
from structpage.core.placements.bitmap import Bitmap
from structpage.core.placements.in_page import InPage
from structpage.core.placements.in_words import InWords
from structpage.core.placements.one_word import OneWordLinks
from structpage.core.placements.per_order_table import PerOrderTable
from structpage.core.placements.side_table import SideTable
from structpage.core.placements.singly_linked import SinglyLinked
from structpage.core.status import CORRUPT
from structpage.errors import InvalidArgument, LimitExceeded, UnknownName
from structpage.testing.strategies import requests

each_placement = pytest.mark.parametrize("placement", PLACEMENTS)


ALL = [*IN_ORDER, Plain, Apart]
"""What must hand out the same frames."""


# One order of lists


@given(script=requests(max_rows=60), frames=st.integers(32, 100))
def test_all_hand_out_the_same_frames_in_the_same_order(script, frames):
    runs = []
    for placement in ALL:
        buddy = BuddyAllocator(frames, placement, max_order=6)
        runs.append((buddy.replay(script).answers.tolist(), lists(buddy), buddy.free_counts.tolist()))
        buddy.check()
    assert runs == [runs[0]] * len(ALL)


def test_a_long_workload_has_one_digest():
    script = workload(3000, frames=512)
    digests = {BuddyAllocator(512, placement).replay(script).pfn_digest for placement in ALL}
    assert len(digests) == 1


@pytest.mark.parametrize("broken", IN_ORDER)
def test_breaking_push_back_of_one_changes_that_digest_alone(broken):
    def push_back(self, lst, pfn):
        self.push_front(lst, pfn)

    script = workload(2000, frames=512)
    right = BuddyAllocator(512, "side-table").replay(script).pfn_digest
    mine = type("Broken", (BUILTIN[broken],), {"push_back": push_back})
    for placement in IN_ORDER:
        choice = mine if placement == broken else placement
        digest = BuddyAllocator(512, choice).replay(script).pfn_digest
        assert (digest == right) is (placement != broken)


ALLOCATORS_OWN = {"words", "nr_free", "zone_start", "zone_end", "zonelist", "deferred"}

# The interface, against a Python list


def room_of(frames, lists_, memory=None):
    words = Sparse()
    memory = Sparse() if memory is None else memory
    return Room(frames, lists_, words, memory, lambda name, words: Sparse(words), 11, order_of=lambda lst: 0)


def walk(placement, lst):
    forth, back = [], []
    pfn = placement.first(lst)
    while pfn >= 0:
        forth.append(pfn)
        pfn = placement.next(lst, pfn)
    assert pfn == -1
    assert placement.last(lst) == (forth[-1] if forth else -1)
    if hasattr(placement, "prev"):
        pfn = placement.last(lst)
        while pfn >= 0:
            back.append(pfn)
            pfn = placement.prev(lst, pfn)
        assert pfn == -1
        assert back == forth[::-1]
    return forth


TOPS = {
    SideTable: 1 << 40,
    InPage: 1 << 40,
    InWords: (1 << 32) - 3,
    OneWordLinks: (1 << 28) - 3,
    Apart: 1 << 40,
    SinglyLinked: 1 << 59,
    PerOrderTable: 1 << 58,
    Bitmap: (1 << 32) - 3,
    ArrayIndex: (1 << 30) - 3,
}


def kept(cls, pfns):
    """A list as the placement must tell it: as it was made, by address, or in whatever order."""
    limits = placing.declared(cls)
    return list(pfns) if limits.keeps_order else sorted(pfns)


@pytest.mark.parametrize("cls", TOPS, ids=lambda cls: cls.__name__)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("push_front", "push_back", "remove")), st.integers(0, 2), st.integers(0, 7)),
        max_size=40,
    )
)
def test_lists_are_lists_at_the_top_of_the_reach(cls, steps):
    """The PFNs are the last ones that the links can name: in two words 2^32, in one 2^28, heads included."""
    frames = TOPS[cls]
    placement = cls.build(room_of(frames, 3))
    model = [[], [], []]
    for lst in range(3):
        placement.reset(lst)
    for step, lst, pick in steps:
        pfn = frames - 1 - pick if pick < 6 else pick
        inside = [pfns for pfns in model if pfn in pfns]
        if step == "remove" and inside:
            assert placement.remove(pfn) == 0
            inside[0].remove(pfn)
        elif step != "remove" and not inside:
            getattr(placement, step)(lst, pfn)
            model[lst].insert(0 if step == "push_front" else len(model[lst]), pfn)
        found = [walk(placement, lst) for lst in range(3)]
        limits = placing.declared(cls)
        if not (limits.keeps_order or limits.by_address):
            found = [sorted(pfns) for pfns in found]
        assert found == [kept(cls, pfns) for pfns in model]
    placement.reset(0)
    assert placement.first(0) == placement.last(0) == -1


LINKED = [SideTable, InPage, InWords, OneWordLinks, SinglyLinked, PerOrderTable]


@pytest.mark.parametrize("cls", LINKED, ids=lambda cls: cls.__name__)
def test_a_link_to_nowhere_is_a_status_and_nothing_is_written(cls):
    frames = 16
    placement = cls.build(room_of(frames, 2))
    for lst in range(2):
        placement.reset(lst)
    placement.push_back(0, 4)
    placement.push_back(0, 5)
    buffers = [buffer for buffer in placement if isinstance(buffer, Sparse)]
    if cls is SideTable:
        placement.link[2 * 4] = 2 * 18
    elif cls is InPage:
        placement.memory[4 << 9] = 18
    elif hasattr(placement, "set_link"):
        placement.set_link(4, 0, 18)
    else:
        placement.set_next(4, 18)
    before = [dict(buffer.values) for buffer in buffers]
    assert placement.next(0, 4) == CORRUPT
    assert placement.remove(4) == CORRUPT
    assert [buffer.values for buffer in buffers] == before


@each_placement
def test_bytes_needed_is_what_is_taken(placement):
    buddy = BuddyAllocator(128, placement, max_order=3)
    taken = sum(buddy.buffers[name].nbytes for name in buddy.buffers.keys() - ALLOCATORS_OWN - {"nodes", "node pool"})
    told = {"order_of": lambda lst: lst % 4} if placement == "bitmap" else {}
    assert BUILTIN[placement].bytes_needed(128, 3 * 8 * 4, **told) == taken


def test_a_bitmap_that_is_told_no_orders_takes_all_to_be_0():
    assert Bitmap.bytes_needed(1 << 20, 264) > Bitmap.bytes_needed(1 << 20, 264, lambda lst: lst % 11)


@each_placement
def test_in_page_alone_touches_the_pages(placement):
    buddy = BuddyAllocator(64, placement, max_order=3)
    assert (buddy.memory is not None) is (placement == "in-page")
    if buddy.memory is not None:
        assert buddy.memory.words[::512][::8].any()


# Limits


def test_one_word_has_fifteen_orders():
    assert BuddyAllocator(64, "one-word", max_order=15).max_order == 15
    message = "max_order for placement one-word must be at most 15, not 16"
    with pytest.raises(LimitExceeded, match=says(message)):
        BuddyAllocator(64, "one-word", max_order=16)


REACH = [("one-word", 1 << 28), ("in-words", 1 << 32), ("singly-linked", 1 << 60), ("bitmap", 1 << 32),
         ("array-index", 1 << 30)]  # fmt: skip


@pytest.mark.parametrize(("placement", "reach"), REACH)
def test_frames_and_heads_must_be_within_the_reach_of_a_link(placement, reach):
    cls = BUILTIN[placement]
    pages = PageArray(16, layout=placing.declared(cls).layout)
    pages.frames = reach - 100
    placing.check_limits(cls, pages, 10, 100)
    message = f"frames + list heads for placement {placement} must be at most {reach}, not {reach - 100} + 101"
    with pytest.raises(LimitExceeded, match=says(message)):
        placing.check_limits(cls, pages, 10, 101)


@pytest.mark.parametrize("placement", ["side-table", "in-page", "per-order-table"])
def test_wide_links_reach_any_memory(placement):
    pages = PageArray(16)
    pages.frames = 1 << 40
    assert placing.check_limits(BUILTIN[placement], pages, 30, 100) is None


def test_a_layout_must_be_the_placements():
    with pytest.raises(LimitExceeded, match=says("layout for placement in-page must be two-word, not one-word")):
        BuddyAllocator(PageArray(8, layout="one-word"), "in-page")
    with pytest.raises(LimitExceeded, match=says("layout for placement one-word must be one-word, not two-word")):
        BuddyAllocator(PageArray(8), "one-word")


# Choosing one


@pytest.mark.parametrize("cls", [Plain, Apart])
@pytest.mark.parametrize("engine", ["plain", "probed"])
def test_a_strangers_class_works_like_the_built_in_ones(cls, engine):
    buddy = BuddyAllocator(64, cls, max_order=4, engine=engine)
    assert buddy.placement == cls.__name__
    pfn = buddy.alloc(2)
    buddy.reserve(32, 5)
    buddy.free(pfn)
    buddy.check()
    twin = BuddyAllocator(64, "side-table", max_order=4)
    twin.free(twin.alloc(2))
    twin.reserve(32, 5)
    assert buddy.free_counts.tolist() == twin.free_counts.tolist()


def test_a_strangers_declaration_is_kept_to():
    class Small(Apart):
        @staticmethod
        def declares():
            return Declaration(max_order=3, max_nodes=500)

    assert BuddyAllocator(16, Small, max_order=3).max_order == 3
    with pytest.raises(LimitExceeded, match=says("max_order for placement Small must be at most 3, not 4")):
        BuddyAllocator(16, Small, max_order=4)


def test_a_class_without_the_methods_is_refused():
    class Nothing:
        @classmethod
        def build(cls, room):
            return cls()

        def first(self, lst):
            return -1

    message = "placement Nothing must be a class with next, push_front, push_back, remove, reset, not one without"
    with pytest.raises(InvalidArgument, match=says(message)):
        BuddyAllocator(8, Nothing)


def test_module_and_class_as_a_string():
    choice = "structpage.core.placements.in_words:InWords"
    assert BuddyAllocator(8, choice).placement == "in-words"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("tree", "placement must be one of {names}, a class, or module:Class, not 'tree'"),
        ("nowhere:Class", "placement must be importable, not \"'nowhere:Class' (No module named 'nowhere')\""),
    ],
)
def test_unknown_names(choice, message):
    names = ", ".join(placing.placement_names())
    assert "side-table, in-page, in-words, one-word" in names
    with pytest.raises(UnknownName) as caught:
        BuddyAllocator(8, choice)
    if choice == "tree":
        assert str(caught.value) == message.format(names=names)
    else:
        assert str(caught.value) == "placement must be importable, not 'nowhere:Class' (No module named 'nowhere')"


def test_what_is_no_class():
    with pytest.raises(InvalidArgument, match=says("placement must be a name or a class, not 3")):
        BuddyAllocator(8, 3)
    with pytest.raises(InvalidArgument, match=says("placement 'math:pi' must be a class, not 3.141592653589793")):
        BuddyAllocator(8, "math:pi")


def test_an_entry_point_is_a_name(monkeypatch):
    point = importlib.metadata.EntryPoint("apart", "strangers:Apart", "structpage.placements")

    class Loads:
        name = point.name

        @staticmethod
        def load():
            return Apart

    def entry_points(*, group, name=None):
        return [Loads] if group == "structpage.placements" and name in (None, "apart") else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert placing.placement_names() == [*PLACEMENTS, "apart"]
    buddy = BuddyAllocator(16, "apart")
    assert buddy.placement == "Apart"
    assert state(buddy).keys() >= {"after", "before"}
