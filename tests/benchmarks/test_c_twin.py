"""The measuring stick does what the core does: same answers, and every buffer equal byte by byte."""

from __future__ import annotations

import c_twin
import numpy as np
import pytest
from helpers import state
from hypothesis import given
from hypothesis import strategies as st

import structpage as sp
from structpage.core import script
from structpage.core.status import CORRUPT, NO_MEMORY, REFUSED
from structpage.experiments.scripts import SCRIPTS
from structpage.request import ALLOC, FREE, Requests, requests

pytestmark = pytest.mark.skipif(not c_twin.available(), reason="needs gcc")

FRAMES, MAX_ORDER = 80, 4
ZONES = sp.Zone("DMA", 0, 21), sp.Zone("Normal", 21, 70), sp.Zone("Normal", 70, FRAMES, node=1)
WANTED = 2 * sp.core.words.ZIDS - 1


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_twin.build(tmp_path_factory.mktemp("twin"))


def small(stamp):
    return sp.BuddyAllocator(FRAMES, "side-table", zones=ZONES, max_order=MAX_ORDER, stamp=stamp, engine="plain")


def as_the_core(buddy: sp.BuddyAllocator, rows: Requests) -> tuple[int, list[int], list[int]]:
    where, answers = np.full(rows.slots, -1, np.int64), np.zeros(len(rows), np.int64)
    written = where, answers, np.empty(0, np.int64)
    done = buddy.engine.run(script.replay, buddy.ranges, rows.columns(), written, -1, 0)
    return done, answers.tolist(), where.tolist()


def as_the_twin(library, buddy: sp.BuddyAllocator, rows: Requests) -> tuple[int, list[int], list[int]]:
    where, answers = np.full(rows.slots, -1, np.int64), np.zeros(len(rows), np.int64)
    done = c_twin.bound(library, buddy, rows, where, answers)()
    return done, answers.tolist(), where.tolist()


def assert_equal(library, one: sp.BuddyAllocator, other: sp.BuddyAllocator, rows: Requests) -> list[int]:
    outcome = as_the_core(one, rows)
    assert as_the_twin(library, other, rows) == outcome
    assert state(one) == state(other)
    return outcome[1]


@pytest.mark.parametrize("stamp", ["every", "head"])
@pytest.mark.parametrize("workload", SCRIPTS)
def test_equal_after_the_scripts_of_the_bench(library, workload, stamp):
    one, other = (sp.BuddyAllocator(1 << 12, "side-table", stamp=stamp, engine="plain") for _ in range(2))
    answers = assert_equal(library, one, other, SCRIPTS[workload](6_000, 1 << 12))
    assert min(answers) == 0
    other.check()


@st.composite
def fair_rows(draw):
    """Rows of which the frees are of what lives; allocations of any type, of any zone, may fail."""
    live, rows = {}, []
    for slot in range(draw(st.integers(1, 60))):
        order = draw(st.integers(0, MAX_ORDER))
        rows.append((ALLOC, order, slot, 0, draw(st.sampled_from([0, 1, 1, 1, 2])), draw(st.integers(0, WANTED))))
        live[slot] = order
        if draw(st.booleans()):
            freed = draw(st.sampled_from(sorted(live)))
            rows.append((FREE, live.pop(freed), freed, 0, draw(st.integers(0, 5)), 0))
    return rows


any_rows = st.lists(
    st.tuples(
        st.sampled_from([ALLOC, FREE]),
        st.integers(0, MAX_ORDER),
        st.integers(0, 3),
        st.sampled_from([0, 0, 0, 1, 2, FRAMES]),
        st.integers(0, 5),
        st.integers(0, WANTED),
    ),
    max_size=20,
)


@given(fair=fair_rows(), rest=any_rows, stamp=st.sampled_from(["every", "head"]))
def test_equal_after_any_script_refusals_included(library, fair, rest, stamp):
    rows = requests(*zip(*(fair + rest), strict=True))
    assert_equal(library, small(stamp), small(stamp), rows)


@pytest.mark.parametrize(
    ("status", "rows"),
    [
        (NO_MEMORY, [(ALLOC, MAX_ORDER, 0, 0, 0, 2)]),
        (REFUSED, [(ALLOC, 1, 0, 0, 1, 2), (FREE, 0, 0, 0, 1, 2)]),
        (CORRUPT, [(ALLOC, MAX_ORDER, 0, 0, 1, 2)]),
    ],
    ids=["no memory", "refused", "corrupt"],
)
def test_equal_in_each_status(library, status, rows):
    one, other = small("every"), small("every")
    if status == CORRUPT:
        for buddy in (one, other):
            (pfn, *_) = buddy.free_list(MAX_ORDER, zone="Normal")
            buddy.buffers["link"][2 * pfn] = 1 << 60
    assert assert_equal(library, one, other, requests(*zip(*rows, strict=True)))[-1] == status
