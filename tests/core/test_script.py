"""The replay loop, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import PLACEMENTS

from structpage.core.script import ALLOC, FREE, RELEASE, SPLIT, replay
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.testing import picture_of, zone_from_picture


def run(buddy, *rows):
    where = np.full(8, -1, np.int64)
    answer = np.zeros(len(rows), np.int64)
    samples = memoryview(np.zeros(0, np.int64))
    done = replay(buddy.ranges, rows, memoryview(where), memoryview(answer), samples, -1, 0)
    return done, answer.tolist(), where.tolist()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_each_kind_of_row(placement):
    buddy = zone_from_picture("........    ", placement, max_order=3)
    done, answers, where = run(
        buddy,
        (ALLOC, 1, 0, 0, 1, 2),
        (ALLOC, 2, 1, 0, 1, 2),
        (SPLIT, 0, 1, 0, 1, 2),
        (FREE, 0, 1, 2, 1, 2),
        (RELEASE, 2, 0, 8, 1, 2),
        (FREE, 1, 0, 0, 1, 2),
    )
    assert done == 6
    assert answers == [0, 4, 0, 0, 0, 0]
    assert where[:3] == [0, 4, -1]
    assert picture_of(buddy) == "....##.#...."
    buddy.check()


def test_a_failed_allocation_answers_and_so_does_what_depends_on_it():
    buddy = zone_from_picture("..", max_order=3)
    rows = (ALLOC, 2, 0, 0, 1, 2), (FREE, 2, 0, 0, 1, 2), (SPLIT, 0, 0, 0, 1, 2), (ALLOC, 1, 1, 0, 1, 2)
    assert run(buddy, *rows)[:2] == (4, [NO_MEMORY, NO_MEMORY, NO_MEMORY, 0])


@pytest.mark.parametrize(
    "bad",
    [
        (FREE, 0, 0, 0, 1, 2),
        (FREE, 1, 0, 1, 1, 2),
        (FREE, 1, 0, 99, 1, 2),
        (SPLIT, 2, 0, 0, 1, 2),
        (RELEASE, 1, 0, 0, 1, 2),
    ],
    ids=["order", "tail", "outside", "larger", "not reserved"],
)
def test_a_refused_row_ends_the_run(bad):
    buddy = zone_from_picture("........", max_order=3)
    done, answers, _ = run(buddy, (ALLOC, 1, 0, 0, 1, 2), bad, (ALLOC, 0, 1, 0, 1, 2))
    assert (done, answers) == (2, [0, REFUSED, 0])
    assert picture_of(buddy) == "1......"
