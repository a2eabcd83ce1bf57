"""The compiled engine: what plain does, bit for bit, whatever is compiled; and what is said when it cannot be."""

from __future__ import annotations

import logging
import sys
from typing import NamedTuple

import numpy as np
import pytest
from helpers import COMPILED, says, state, workload
from hypothesis import given
from hypothesis import strategies as st
from strangers import Apart, Plain

from structpage import BuddyAllocator, CorruptionError, InvalidArgument, InvalidFree, MissingExtra, Zone
from structpage.core.placements.side_table import SideTable
from structpage.core.words import TYPES
from structpage.engines import CompiledEngine, PlainEngine, compiled, engine_of
from structpage.request import ALLOC, FREE, RELEASE, requests

ZONES = Zone("DMA", 0, 21), Zone("Normal", 21, 90, holes=((40, 47),)), Zone("Normal", 90, 128, node=1)
FRAMES, MAX_ORDER = 128, 5


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    monkeypatch.setattr("structpage.engines.is_installed", lambda: False)


def test_without_numba_the_message_names_the_extra(without_numba):
    message = "numba, which engine compiled needs, must be installed (pip install 'structpage[fast]'), not missing"
    with pytest.raises(MissingExtra, match=says(message)):
        BuddyAllocator(8, engine="compiled")


def test_without_numba_plain_is_the_default(without_numba):
    assert type(BuddyAllocator(8).engine) is PlainEngine


numba = pytest.importorskip("numba")


def both(placement, script, *, every=0, **options):
    """Replay on both engines; whether all is equal is asserted, and what came of it returned."""
    plain, subject = (BuddyAllocator(FRAMES, placement, engine=name, **options) for name in ("plain", "compiled"))
    results = [buddy.replay(script, every=every) for buddy in (plain, subject)]
    assert results[1].answers.tolist() == results[0].answers.tolist()
    assert results[1].timeline.tobytes() == results[0].timeline.tobytes()
    assert state(subject) == state(plain)
    assert subject.engine.name == "compiled"
    return results[1]


# Equality


@st.composite
def scripts(draw):
    """Rows of all kinds: some fail, some name allocations that failed, some are of other types and zones."""
    rows, live, slots = [], [], 0
    for _ in range(draw(st.integers(0, 60))):
        choice = draw(st.integers(0, 9))
        if choice < 5 or not live:
            order, zone = draw(st.integers(0, MAX_ORDER)), draw(st.sampled_from([0, 2, 10]))
            rows.append((ALLOC, order, slots, 0, draw(st.integers(0, TYPES - 1)) if choice == 0 else 1, zone))
            live.append((slots, order))
            slots += 1
        else:
            slot, order = live.pop(draw(st.integers(0, len(live) - 1)))
            rows.append((FREE, order, slot, 0, draw(st.integers(0, TYPES - 1)), 2))
    return requests(*zip(*rows, strict=True)) if rows else requests([], [], [])


@pytest.mark.parametrize("placement", COMPILED)
@given(script=scripts(), stamp=st.sampled_from(["every", "head"]), every=st.integers(0, 9))
def test_bit_for_bit(placement, script, stamp, every):
    both(placement, script, every=every, zones=ZONES, max_order=MAX_ORDER, stamp=stamp)


@pytest.mark.parametrize("placement", COMPILED)
@given(seed=st.integers(0, 1 << 32))
def test_bit_for_bit_in_a_crowded_memory(placement, seed):
    both(placement, workload(400, frames=FRAMES, max_order=MAX_ORDER, seed=seed), every=50, max_order=MAX_ORDER)


@pytest.mark.parametrize("placement", COMPILED)
def test_released_frames_too(placement):
    subjects = []
    for engine in ("plain", "compiled"):
        buddy = BuddyAllocator(FRAMES, placement, max_order=MAX_ORDER, start="reserved", engine=engine)
        script = requests([RELEASE, RELEASE, ALLOC, ALLOC], [3, 0, 2, 4], [-1, -1, 0, 1], [8, 17, 0, 0])
        assert buddy.replay(script).answers.tolist() == [0, 0, 8, -1]
        subjects.append(state(buddy))
    assert subjects[0] == subjects[1]


# What strangers write


def twice(number):
    return 2 * number


class Derived(SideTable):
    """Inherits, calls a global function, a static method, and a method whose name means another thing elsewhere."""

    def push_front(self, lst, pfn):
        self.set_link(twice(pfn), self.heads + self.double(lst))

    def set_link(self, here, head):
        first = self.link[head]
        self.link[here], self.link[here + 1] = first, head
        self.link[first + 1] = here
        self.link[head] = here

    @staticmethod
    def double(number):
        return number + number


class Ordinary:
    """An ordinary class with attributes of its own."""

    def __init__(self, room):
        self._after = room.buffer("after", room.frames + room.lists)
        self._before = room.buffer("before", room.frames + room.lists)
        self.frames = room.frames

    @classmethod
    def build(cls, room):
        return cls(room)

    def _end(self, node):
        return node if node < self.frames else -1

    def first(self, lst):
        return self._end(self._after[self.frames + lst])

    def next(self, lst, pfn):
        return self._end(self._after[pfn])

    def _insert(self, node, pfn):
        other = self._after[node]
        self._after[pfn], self._before[pfn] = other, node
        self._before[other] = self._after[node] = pfn

    def push_front(self, lst, pfn):
        self._insert(self.frames + lst, pfn)

    def push_back(self, lst, pfn):
        self._insert(self._before[self.frames + lst], pfn)

    def remove(self, pfn):
        after, before = self._after[pfn], self._before[pfn]
        self._after[before], self._before[after] = after, before
        return 0

    def reset(self, lst):
        head = self.frames + lst
        self._after[head] = self._before[head] = head


class Unknown(SideTable):
    def push_back(self, lst, pfn):
        self.push_front(lst, int(str(pfn)[::-1][::-1].encode().decode("latin-1")))


CELL = """
class Cell(SideTable):
    def push_back(self, lst, pfn):
        self.push_front(lst, pfn)
"""


def cell():
    names = {"SideTable": SideTable, "__name__": "__main__"}
    exec(CELL, names)
    return names["Cell"]


@pytest.mark.parametrize("placement", [Apart, Derived, Ordinary, cell()], ids=lambda cls: cls.__name__)
def test_a_strangers_placement_is_compiled_as_it_stands(placement):
    result = both(placement, workload(300, frames=FRAMES, max_order=MAX_ORDER), max_order=MAX_ORDER)
    assert result.failures > 0
    script = workload(300, frames=FRAMES, max_order=MAX_ORDER)
    expected = BuddyAllocator(FRAMES, "side-table", max_order=MAX_ORDER, engine="plain").replay(script)
    assert (result.pfn_digest == expected.pfn_digest) == (placement.__name__ != "Cell")


def test_two_classes_of_one_name_are_not_mixed_up():
    first, script = cell(), workload(200, frames=FRAMES, max_order=MAX_ORDER)
    names = {"SideTable": SideTable, "__name__": "__main__"}
    exec(CELL.replace("front", "back").replace("def push_back", "def push_front"), names)
    digests = {both(cls, script, max_order=MAX_ORDER).pfn_digest for cls in (first, names["Cell"])}
    assert len(digests) == 2


def test_numbers_are_those_of_python():
    class Odd(NamedTuple):
        link: object

        def floor(self, one, other):
            return one // other * 1000 + one % other

    from structpage.engines import bridge
    from structpage.engines.compiled import native_state

    bridge.bridge(Odd)

    @numba.njit
    def call(odd, one, other):
        return odd.floor(one, other) + len(odd.link) + odd.link[2]

    subject = Odd(memoryview(np.array([5, 6, -7])))
    for one, other in [(7, 2), (-7, 2), (7, -2)]:
        assert call(native_state(subject), one, other) == subject.floor(one, other) + 3 - 7


# What cannot be compiled


def test_a_state_of_other_things_cannot_be_compiled():
    buddy = BuddyAllocator(FRAMES, Plain, engine="compiled")
    before = state(buddy)
    message = "Plain.of_list must be a buffer, an int, or an object of such, to be compiled, not a dict"
    with pytest.raises(InvalidArgument, match=says(message)):
        buddy.replay(workload(10, frames=FRAMES))
    assert state(buddy) == before
    assert buddy.alloc() == 0


def test_code_that_numba_does_not_know_is_named():
    buddy = BuddyAllocator(FRAMES, Unknown, engine="compiled")
    for _ in range(2):
        with pytest.raises(
            InvalidArgument, match=r"^what is compiled must be code that numba knows, not .*encode"
        ) as error:
            buddy.replay(workload(10, frames=FRAMES))
        assert "test_compiled.py" in str(error.value)


def test_by_default_it_runs_plain_then_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(compiled, "WORTH_IT", 10)
    script = workload(20, frames=FRAMES)
    buddy = BuddyAllocator(FRAMES, Plain)
    assert buddy.engine.name == "compiled"
    expected = BuddyAllocator(FRAMES, Plain, engine="plain").replay(script)
    assert buddy.replay(script).answers.tolist() == expected.answers.tolist()
    assert [record.getMessage() for record in caplog.records] == [
        "Plain.of_list must be a buffer, an int, or an object of such, to be compiled, not a dict; it runs plain"
    ]


def test_by_default_short_replays_run_plain_and_long_ones_compiled(monkeypatch):
    runs = []
    monkeypatch.setattr(
        PlainEngine, "run", lambda self, loop, state, rows, *others: runs.append("plain") or len(rows[0])
    )
    monkeypatch.setattr(
        "structpage.engines.cache.compiled",
        lambda *args: lambda state, rows, *others: runs.append("compiled") or rows.length,
    )
    buddy = BuddyAllocator(FRAMES)
    for rows in (compiled.WORTH_IT - 1, compiled.WORTH_IT):
        buddy.replay(requests(np.zeros(rows), 0, np.arange(rows)))
    assert runs == ["plain", "compiled"]


def test_an_engine_by_name():
    assert type(engine_of("compiled")) is CompiledEngine
    assert not engine_of("compiled").automatic
    assert engine_of(None).automatic


# Errors


@pytest.mark.parametrize("placement", COMPILED)
def test_a_double_free_is_the_same_error(placement):
    reports = []
    for engine in ("plain", "compiled"):
        buddy = BuddyAllocator(FRAMES, placement, max_order=MAX_ORDER, engine=engine)
        with pytest.raises(InvalidFree) as error:
            buddy.replay(requests([ALLOC, ALLOC, FREE, FREE, ALLOC], [2, 1, 1, 1, 0], [0, 1, 1, 1, 2]))
        reports.append((str(error.value), error.value.__notes__, error.value.request, state(buddy)))
    assert reports[0] == reports[1]
    assert reports[0][:3] == (
        "PFN 4 must be the head of an allocated block, not free, order 2",
        ["request 3: FREE order 1 slot 1 offset 0"],
        3,
    )


BROKEN_AT = {
    "side-table": ("link", lambda second: 2 * second),
    "per-order-table": ("link", lambda second: 4 * FRAMES - (4 * FRAMES >> MAX_ORDER) + 2 * (second >> MAX_ORDER)),
    "in-page": ("memory", lambda second: second << 9),
    "one-word": ("words", lambda second: second),
}
"""By placement, what tells where the second block is listed, and where; in most it is its `allocatee`."""


LINKED = [name for name in COMPILED if name not in ("bitmap", "array-index")]  # in these a wrong word leads nowhere


@pytest.mark.parametrize("placement", LINKED)
def test_a_corrupt_list_is_the_same_error(placement):
    reports = []
    for engine in ("plain", "compiled"):
        buddy = BuddyAllocator(FRAMES, placement, max_order=MAX_ORDER, engine=engine)
        second = 1 << MAX_ORDER
        name, here = BROKEN_AT.get(placement, ("words", lambda second: 2 * second + 1))
        words = buddy.memory.words if name == "memory" else buddy.buffers[name]
        words[here(second)] |= np.uint64(((1 << 56) - 1) << 8)
        with pytest.raises(CorruptionError) as error:
            buddy.replay(requests([ALLOC] * 4, [MAX_ORDER] * 4, [0, 1, 2, 3]))
        reports.append((str(error.value), error.value.request, error.value.pfn, state(buddy)))
    assert reports[0] == reports[1]
    assert reports[0][1] == 1


# What is asked of numba


def llvm(options, monkeypatch):
    from structpage.core import script
    from structpage.engines import bridge, native
    from structpage.engines.compiled import classes_of, native_state

    monkeypatch.setattr(bridge, "OPTIONS", options)
    monkeypatch.setattr(bridge, "_bridged", {})
    monkeypatch.setattr(bridge, "_functions", {})
    rows = workload(300, frames=FRAMES, max_order=MAX_ORDER)
    buddy = BuddyAllocator(FRAMES, "in-words", max_order=MAX_ORDER, engine="compiled")
    answers, where = np.zeros(len(rows), np.int64), np.full(rows.slots, -1, np.int64)
    written = (where, answers, np.zeros(0, np.int64))
    arguments = (
        native_state(buddy.ranges),
        native.NativeRows(rows.columns()),
        *map(native.NativeBuffer, written),
        -1,
        0,
    )
    for cls in classes_of(arguments[0]):
        bridge.bridge(cls)
    loop = bridge.compiled_function(script.replay)
    assert loop(*arguments) == len(rows)
    expected = BuddyAllocator(FRAMES, "in-words", max_order=MAX_ORDER, engine="plain")
    assert answers.tolist() == expected.replay(rows).answers.tolist()
    assert state(buddy) == state(expected)
    (text,) = loop.inspect_llvm().values()
    return text


def defined(text, name):
    return any(line.startswith("define") and f"{len(name)}{name}" in line for line in text.splitlines())


def test_methods_are_compiled_into_the_loop_as_the_options_ask(monkeypatch):
    """Fails when numba no longer takes these, or takes them for something else: look at `bridge.OPTIONS` then."""
    from structpage.engines import bridge

    assert bridge.OPTIONS.keys() == {"forceinline", "no_cpython_wrapper", "no_cfunc_wrapper"}
    text = llvm(bridge.OPTIONS, monkeypatch)
    assert not defined(text, "rmqueue")
    assert not defined(text, "free_block")
    body = text[text.index("define") :].split("\n}\n")[0]
    assert "replay" in body
    assert "NRT_" not in body


def test_without_the_options_all_is_correct_too(monkeypatch):
    assert defined(llvm({}, monkeypatch), "rmqueue")


def test_what_is_compiled_is_said(caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("STRUCTPAGE_CACHE_DIR", str(tmp_path))
    caplog.set_level(logging.WARNING, "structpage")
    both(cell(), workload(20, frames=FRAMES), max_order=MAX_ORDER)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == "compiling replay over Ranges, Buddy, TwoWord, LoopFill, Cell; once, some seconds"
    assert "structpage" in sys.modules
