"""`singly-linked`: what a removal costs that does not know what stands before the block."""

from __future__ import annotations

import pytest
from helpers import lists, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, CorruptionError, Machine
from structpage.core.buffers import Room
from structpage.core.placements.singly_linked import STEPS, WALKS, SinglyLinked
from structpage.core.status import CORRUPT


def made(blocks):
    """A placement over 64 frames with two lists, and the blocks on the first, in their order."""
    placement = SinglyLinked.build(Room(64, 2, [0] * 128, [], lambda name, words: [0] * words, 1))
    placement.reset(0)
    placement.reset(1)
    for pfn in blocks:
        placement.push_back(0, pfn)
    return placement


def told(placement):
    return placement.walks[WALKS], placement.walks[STEPS]


def test_the_first_block_is_taken_without_a_walk():
    placement = made([7, 3, 9])
    for pfn in (7, 3, 9):
        assert placement.first(0) == pfn
        assert placement.remove(pfn) == 0
    assert placement.first(0) == placement.last(0) == -1
    assert told(placement) == (0, 0)


@pytest.mark.parametrize(("pfn", "steps"), [(3, 3), (9, 3), (8, 3)])
def test_any_other_is_found_by_going_round_the_circle(pfn, steps):
    """Of four nodes, three blocks and the head: one link is the block's own, and the others are followed."""
    placement = made([3, 9, 8])
    placement.push_back(1, 60)
    placement.first(1)
    assert placement.remove(pfn) == 0
    assert told(placement) == (1, steps)


@given(
    blocks=st.lists(st.integers(0, 63), unique=True, min_size=1, max_size=20),
    picks=st.lists(st.integers(0, 99), max_size=30),
)
def test_a_walk_is_as_long_as_the_list_and_the_rest_stays_in_order(blocks, picks):
    placement, model = made(blocks), list(blocks)
    for pick in picks:
        if not model:
            break
        pfn = model[pick % len(model)]
        walks, steps = told(placement)
        assert placement.remove(pfn) == 0
        assert told(placement) == ((walks, steps) if pfn == model[0] else (walks + 1, steps + len(model)))
        model.remove(pfn)
        found, at = [], placement.first(0)
        while at >= 0:
            found.append(at)
            at = placement.next(0, at)
        assert found == model
        assert placement.last(0) == (model[-1] if model else -1)


def test_a_walk_that_never_comes_back_ends():
    placement = made([3, 9, 8])
    placement.set_link(8, 0, 9)
    placement.set_link(placement.frames, 0, 9)
    before = list(placement.word), list(placement.head), list(placement.walks)
    assert placement.remove(3) == CORRUPT
    assert (list(placement.word), list(placement.head), list(placement.walks)) == before


def test_a_broken_link_met_by_a_walk_is_an_error_of_the_call():
    buddy = BuddyAllocator(32, "singly-linked", max_order=3)
    pfns = [buddy.alloc(0) for _ in range(32)]
    for pfn in pfns[::2]:
        buddy.free(pfn)
    third = buddy.free_list(0)[3]
    buddy.lists.set_link(third, 0, 999)
    with pytest.raises(CorruptionError):
        buddy.free(third ^ 1)


def test_a_workload_counts_its_walks_and_steps():
    buddy = BuddyAllocator(512, "singly-linked")
    buddy.replay(workload(2000, frames=512))
    _, walks, steps = buddy.buffers["walks"].tolist()
    assert 0 < walks < 2000
    assert walks < steps < 2000 * 512
    twin = BuddyAllocator(512, "side-table")
    twin.replay(workload(2000, frames=512))
    assert lists(buddy) == lists(twin)
    assert "walks" not in twin.buffers


def test_a_drain_takes_from_the_tail_and_walks():
    machine = Machine(1 << 14, "singly-linked", cpus=1, engine="plain")
    for pfn in [machine.alloc_pages(0) for _ in range(40)]:
        machine.free_pages(pfn)
    walks = int(machine.buffers["walks"][WALKS])
    machine.drain()
    assert machine.buffers["walks"][WALKS] > walks
    machine.check()
