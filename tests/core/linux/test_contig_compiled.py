"""What numba compiles of isolation and contiguous ranges: the same answers and the same memory, bit for bit."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pytest
from small_machine import GFP_MOVABLE, GFP_UNMOVABLE, machine_with_area

from structpage.core.linux.cma import CmaArea, cma_alloc, cma_release
from structpage.core.linux.contig import alloc_contig_range, first_used, free_contig_range, isolate_contig_range
from structpage.core.linux.hwpoison import put_page_back_buddy, take_page_off_buddy
from structpage.core.linux.isolation import is_isolated_range, undo_isolate_page_range
from structpage.core.linux.machine import Machine
from structpage.core.words import MOVABLE

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(
    os.environ.get("STRUCTPAGE_PROFILE") != "long", reason="compiles for a minute: in the long profile"
)

ALLOC, FREE, ISOLATE, UNDO, RANGE, FREE_RANGE, CMA, RELEASE, TAKE, BACK = range(10)
KINDS = 10


class Both(NamedTuple):
    machine: Machine
    area: CmaArea


def loop(state, rows, where, answer):
    """Do what the rows say; `answer` becomes the statuses, and `where[i]` the PFN that row i got."""
    machine, area = state.machine, state.area
    i = 0
    for what, order, pfn, count, cpu, earlier in rows:
        there = where[earlier]
        if what == ALLOC:
            status = machine.alloc(order, GFP_MOVABLE if count > 12 else GFP_UNMOVABLE, cpu, 0, 0)
        elif what == FREE:
            status = machine.free(there, order, cpu)
        elif what == ISOLATE:
            status = isolate_contig_range(machine, pfn, pfn + count, MOVABLE, cpu)
        elif what == UNDO:
            status = undo_isolate_page_range(machine, pfn, pfn + count, MOVABLE, cpu)
        elif what == RANGE:
            status = alloc_contig_range(machine, pfn, pfn + count, MOVABLE, cpu, 0)
        elif what == FREE_RANGE:
            status = free_contig_range(machine, there, there + count, cpu)
        elif what == CMA:
            status = cma_alloc(machine, area, count, order, cpu, 0)
        elif what == RELEASE:
            status = cma_release(machine, area, there, count, cpu)
        elif what == TAKE:
            status = take_page_off_buddy(machine, pfn, cpu)
        else:
            status = put_page_back_buddy(machine, pfn, cpu)
        where[i] = pfn if status == 0 and what in (RANGE, TAKE) else status
        answer[2 * i] = status
        answer[2 * i + 1] = first_used(machine, pfn, pfn + count) + int(is_isolated_range(machine, pfn, pfn + count))
        i += 1
    return i


def rows_of(seed, count=1500):
    """Random rows; those that free name an earlier row that allocated, and its order or count."""
    rng = np.random.default_rng(seed)
    rows, pairs = [], {FREE: ALLOC, FREE_RANGE: RANGE, RELEASE: CMA, UNDO: ISOLATE, BACK: TAKE}
    for i in range(count):
        what = int(rng.integers(KINDS))
        row = [what, rng.integers(4), rng.integers(220), rng.integers(1, 25), rng.integers(2), i]
        before = [at for at, row in enumerate(rows) if row[0] == pairs.get(what)]
        if before:
            at = before[-int(rng.integers(1, min(len(before), 6) + 1))]
            row = [what, *rows[at][1:4], row[4], at]
        rows.append(row)
    return [np.array(column, np.int64) for column in zip(*rows, strict=True)]


@pytest.fixture(scope="module")
def results():
    rows, results = rows_of(7), {}
    for engine in "plain", "compiled":
        small, area = machine_with_area("side-table", 3, 4, engine=engine)
        where, answer = np.full(len(rows[0]), -1, np.int64), np.zeros(2 * len(rows[0]), np.int64)
        state = small.engine.adopt(Both(small.machine, area))
        assert small.engine.run(loop, state, rows, (where, answer)) == len(rows[0])
        results[engine] = where.tolist(), answer.tolist(), small.state()
    return rows, results


def test_bit_for_bit(results):
    _, (plain, compiled) = results[0], results[1].values()
    assert compiled == plain


@pytest.mark.parametrize("what", range(KINDS))
def test_every_kind_of_row_succeeds_and_fails_in_it(results, what):
    rows, (answer, *_) = results[0], [results[1]["plain"][1][::2]]
    statuses = [status for kind, status in zip(rows[0].tolist(), answer, strict=True) if kind == what]
    assert max(statuses) >= 0
    assert what == UNDO or min(statuses) < 0
