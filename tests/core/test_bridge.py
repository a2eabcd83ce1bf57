"""The core is what numba can compile: one signature per name, and the same answers, words and counts."""

from __future__ import annotations

import numpy as np
import pytest
from bridge import LoopFill, bridge, methods, parameters
from helpers import workload

from structpage import BuddyAllocator
from structpage.core import script
from structpage.core.buddy import Buddy
from structpage.core.memmap import OneWord, TwoWord
from structpage.core.placements import BUILTIN
from structpage.core.ranges import Ranges

CLASSES = [LoopFill, TwoWord, OneWord, *BUILTIN.values(), Buddy, Ranges]


def test_one_name_has_one_signature_everywhere():
    known = {}
    for cls in CLASSES:
        for name, method in methods(cls).items():
            assert known.setdefault(name, parameters(method)) == parameters(method), f"{cls.__name__}.{name}"
    assert {"alloc", "push_front", "find_run", "mark_free", "fill"} <= known.keys()


def test_state_is_nothing_but_buffers_and_ints():
    for cls in CLASSES:
        assert issubclass(cls, tuple)
        assert cls._fields


def over_arrays(buddy, cls):
    """Core state over numpy arrays, for compiled code, of the memory of an allocator."""
    arrays = {name: words.view(np.int64) for name, words in buddy.buffers.items()}
    plain = buddy.core
    if buddy.memory is not None:
        arrays["memory"] = buddy.memory.words.view(np.int64)
    parts = {
        "word": arrays["words"], "frames": plain.frames, "nodes": getattr(plain.lists, "nodes", 0),
        "heads": getattr(plain.lists, "heads", 0), "size": getattr(plain.lists, "size", 0), **arrays,
    }  # fmt: skip
    memmap = (TwoWord if buddy.pages.layout.words == 2 else OneWord)(arrays["words"], LoopFill(arrays["words"]), 1)
    lists = cls(*(parts[name] for name in cls._fields))
    counts = (arrays[name] for name in ("nr_free", "zone_start", "zone_end", "zonelist"))
    return Ranges(Buddy(memmap, lists, *counts, plain.frames, plain.orders, plain.zones))


@pytest.fixture(scope="module")
def compiled():
    numba = pytest.importorskip("numba")
    for cls in CLASSES:
        bridge(cls)
    return numba.njit(_nrt=False)(script.replay)


@pytest.mark.parametrize("placement", BUILTIN)
def test_compiled_answers_words_and_counts_are_the_plain_ones(compiled, placement):
    requests = workload(2000, frames=512, max_order=6)
    plain, subject = (BuddyAllocator(512, placement, max_order=8) for _ in range(2))
    expected = plain.replay(requests).answers
    where, answers = np.full(requests.slots, -1, np.int64), np.zeros(len(requests), np.int64)
    done = compiled(over_arrays(subject, BUILTIN[placement]), *requests.columns(), where, answers)
    assert done == len(requests)
    assert answers.tolist() == expected.tolist()
    assert (answers < 0).any()
    for name, words in plain.buffers.items():
        assert subject.buffers[name].tobytes() == words.tobytes(), name
    subject.check()
