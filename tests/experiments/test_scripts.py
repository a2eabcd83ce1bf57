"""The scripts that `bench` times: what they promise of their rows."""

from __future__ import annotations

import numpy as np
import pytest

import structpage as sp
from structpage.errors import InvalidArgument
from structpage.experiments.scripts import OCCUPANCY, SCRIPTS, TOP_ORDER, in_order, in_random_order, mixed
from structpage.request import ALLOC, FREE


@pytest.mark.parametrize("workload", SCRIPTS)
def test_each_free_is_of_what_lives_and_of_its_order(workload):
    live = {}
    script = SCRIPTS[workload](4_000, 1 << 12)
    for kind, order, slot, offset, *_ in zip(*(column.tolist() for column in script.columns()), strict=True):
        if kind == ALLOC:
            assert slot not in live
            live[slot] = order
        else:
            assert (kind, offset, live.pop(slot)) == (FREE, 0, order)
    assert len(script) == 4_000


@pytest.mark.parametrize("workload", SCRIPTS)
def test_the_same_seed_is_the_same_script_and_the_memory_suffices(workload):
    one, other = (SCRIPTS[workload](4_000, 1 << 12, seed=5) for _ in range(2))
    assert all(map(np.array_equal, one.columns(), other.columns()))
    assert sp.BuddyAllocator(1 << 12).replay(one).failures == 0


def test_a_and_b_free_the_same_frames_in_two_orders():
    a, b = in_order(1_000, 1 << 12), in_random_order(1_000, 1 << 12)
    assert a.slot[500:].tolist() == a.slot[:500].tolist() == b.slot[:500].tolist() == list(range(500))
    assert b.slot[500:].tolist() != a.slot[500:].tolist()
    assert sorted(b.slot[500:].tolist()) == a.slot[500:].tolist()
    assert not a.order.any()


def test_a_and_b_ask_for_no_more_than_there_is():
    for make in (in_order, in_random_order):
        assert make(1_001, 1 << 12).allocations == 500
        assert make(1_000, 16).allocations == 16


def test_c_stays_at_its_occupancy_and_halves_from_order_to_order():
    frames = 1 << 16
    script = mixed(60_000, frames)
    used = np.where(script.kind == ALLOC, 1, -1) << script.order
    share = np.cumsum(used) / frames
    assert share.max() < OCCUPANCY + 0.05
    assert share[30_000:].min() > OCCUPANCY - 0.05
    orders = np.bincount(script.order[script.kind == ALLOC])
    assert len(orders) == TOP_ORDER + 1
    assert (np.abs(orders[:5] / orders.sum() - 0.5 ** np.arange(1, 6)) < 0.01).all()


@pytest.mark.parametrize("workload", SCRIPTS)
def test_no_operations_and_fewer(workload):
    assert len(SCRIPTS[workload](0, 16)) == 0
    with pytest.raises(InvalidArgument, match=r"^operations must be at least 0, not -1$"):
        SCRIPTS[workload](-1, 16)
