"""The plain engine: the core's own functions, over the very memory that numpy sees."""

from __future__ import annotations

import numpy as np

from structpage import BuddyAllocator
from structpage.core.buddy import Buddy
from structpage.core.memmap import TwoWord
from structpage.engines import PlainEngine, engine_of
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


def test_an_engine_may_be_given():
    engine = PlainEngine()
    assert engine_of(engine) is engine
    assert BuddyAllocator(8, engine=engine).engine is engine
    assert BuddyAllocator(8).engine.name == "plain"
    assert type(BuddyAllocator(8).core).alloc is Buddy.alloc


def test_columns_and_rows():
    values = np.array([1, -2, 3])
    engine = PlainEngine()
    assert list(engine.rows("kind", values)) == [1, -2, 3]
    engine.column(values)[0] = 9
    assert values[0] == 9
