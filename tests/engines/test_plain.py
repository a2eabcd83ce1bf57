"""The plain engine: the core's own functions, over the very memory that numpy sees."""

from __future__ import annotations

import numpy as np
import pytest

from structpage import BuddyAllocator
from structpage.core.buddy import Buddy
from structpage.core.memmap import TwoWord
from structpage.engines import PlainEngine, ProbedEngine, engine_of
from structpage.engines.plain import SliceFill, adopted


def test_buffers_are_the_memory():
    words = np.zeros(4, np.uint64)
    buffer = PlainEngine().buffer("words", words)
    buffer[1] = -1
    assert words.tolist() == [0, (1 << 64) - 1, 0, 0]
    words[2] = 7
    assert buffer[2] == 7
    assert type(buffer[2]) is int
    assert len(buffer) == 4


def test_fill_is_strided():
    words = np.zeros(8, np.int64)
    SliceFill(words).fill(1, 7, 2, 5)
    assert words.tolist() == [0, 5, 0, 5, 0, 5, 0, 0]
    SliceFill(words).pairs(2, 6, 7, 8)
    assert words.tolist() == [0, 5, 7, 8, 7, 8, 0, 0]


def test_adopted_state_has_the_same_fields_and_functions():
    words = np.zeros(8, np.int64)
    state = TwoWord(memoryview(words), SliceFill(words), 1)
    twin = adopted(state)
    assert not isinstance(twin, tuple)
    assert (twin.word, twin.stamp) == (state.word, 1)
    assert type(twin).mark_free is TwoWord.mark_free
    assert not hasattr(twin, "__dict__")
    assert adopted(3) == 3
    plain = object()
    assert adopted(plain) is plain


def test_inherited_methods_are_adopted():
    class Louder(TwoWord):
        def is_reserved(self, pfn):
            return True

    words = np.ones(8, np.int64)
    twin = adopted(Louder(memoryview(words), SliceFill(words), 1))
    assert twin.is_reserved(0)
    assert type(twin).mark_free is TwoWord.mark_free


def test_whatever_a_class_has_is_adopted():
    class Richer(TwoWord):
        def _private(self):
            return self.double(self.order_of(0))

        @staticmethod
        def double(number):
            return 2 * number

        @classmethod
        def made(cls):
            return cls.__name__

        @property
        def first(self):
            return self.word[0]

    words = np.full(8, 3 << 4, np.int64)
    twin = adopted(Richer(memoryview(words), SliceFill(words), 1))
    assert (twin._private(), twin.made(), twin.first) == (6, "Richer", 48)
    assert twin._class is Richer
    assert not hasattr(twin, "_replace")


def test_an_engine_may_be_given():
    engine = PlainEngine()
    assert engine_of(engine) is engine
    assert BuddyAllocator(8, engine=engine).engine is engine
    assert type(BuddyAllocator(8).core).alloc is Buddy.alloc


@pytest.mark.parametrize("engine", [PlainEngine(), ProbedEngine()])
def test_a_loop_sees_rows_as_tuples_of_ints_and_buffers_that_it_writes(engine, monkeypatch):
    def loop(state, rows, written, number):
        seen = list(rows)
        written[0] = sum(map(sum, seen)) * number
        return len(seen)

    monkeypatch.setattr("structpage.engines.plain.AT_ONCE", 3)
    rows, written = (np.array([1, -2, 3, 4]), np.array([10, 20, 30, 40])), np.zeros(1, np.int64)
    assert engine.run(loop, None, rows, (written,), 7) == 3
    assert written.tolist() == [(1 - 2 + 3 + 60) * 7]


def test_the_probed_engine_counts_a_row_as_an_operation():
    engine = ProbedEngine()
    engine.run(lambda state, rows: len(list(rows)), None, (np.zeros(5, np.int64),), ())
    assert engine.operations == 5
