"""`bitmap`: lists by address at any size of the tree, and what is found where a word of it is wrong."""

from __future__ import annotations

import pytest
from helpers import Sparse, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, CorruptionError, Machine
from structpage.core.buffers import Room
from structpage.core.linux.percpu import LISTS
from structpage.core.placements.bitmap import LOWEST, NONE, ROW, Bitmap
from structpage.core.status import CORRUPT
from structpage.core.words import ORDER_SHIFT


def made(frames, orders=(0, 0, 3)):
    """A bitmap with a list of each of these orders."""
    buffer, words = (lambda name, words: Sparse(words)), Sparse()
    placement = Bitmap.build(Room(frames, len(orders), words, Sparse(), buffer, 4, order_of=orders.__getitem__))
    for lst in range(len(orders)):
        placement.reset(lst)
    return placement


def walk(placement, lst):
    found, pfn = [], placement.first(lst)
    while pfn >= 0:
        found.append(pfn)
        pfn = placement.next(lst, pfn)
    assert pfn == -1
    return found


@st.composite
def scattered(draw):
    """Frames of a memory with one to five levels, and blocks in it, near each other and far apart."""
    frames = draw(st.sampled_from([1, 63, 64, 65, 4096, 4097, 1 << 18, (1 << 18) + 64, 1 << 24, (1 << 30) - 1]))
    near = draw(st.integers(0, frames - 1))
    places = st.integers(0, frames - 1) | st.integers(max(near - 70, 0), min(near + 70, frames - 1))
    return frames, draw(st.lists(places, min_size=1, max_size=12, unique=True))


@given(memory=scattered(), steps=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1)), max_size=40))
def test_two_lists_of_one_order_are_each_by_address(memory, steps):
    frames, blocks = memory
    placement = made(frames, (0, 0))
    model = {0: set(), 1: set()}
    for pick, lst in steps:
        pfn = blocks[pick % len(blocks)]
        on = [other for other, pfns in model.items() if pfn in pfns]
        if on:
            assert placement.remove(pfn) == 0
            model[on[0]].remove(pfn)
            assert placement.remove(pfn) == CORRUPT
        else:
            placement.push_back(lst, pfn)
            model[lst].add(pfn)
        for other, pfns in model.items():
            assert walk(placement, other) == sorted(pfns)
            assert placement.last(other) == max(pfns, default=-1)
    for pfns in model.values():
        for pfn in pfns:
            assert placement.remove(pfn) == 0
    assert not any(placement.bits.values.values())
    assert not any(placement.summary.values.values())


@given(order=st.integers(0, 5), numbers=st.lists(st.integers(0, 300), min_size=1, max_size=30, unique=True))
def test_blocks_of_a_higher_order_lie_as_densely(order, numbers):
    placement = made(301 << order, (order,))
    for number in numbers:
        placement.word[2 * (number << order)] = order << ORDER_SHIFT
        placement.push_front(0, number << order)
    assert walk(placement, 0) == [number << order for number in sorted(numbers)]
    assert len([word for word in placement.bits.values.values() if word]) == len({number >> 6 for number in numbers})


def test_a_list_that_goes_is_forgotten():
    placement = made(1 << 18)
    for pfn in (7, 4096, 200_000):
        placement.push_back(0, pfn)
    placement.push_back(1, 8)
    placement.reset(0)
    assert [walk(placement, lst) for lst in (0, 1)] == [[], [8]]
    placement.push_back(0, 5000)
    placement.push_back(0, 100_000)
    placement.word[2 * 100_000 + 1] = 1
    placement.word[2 * 5000 + 1] = 1
    placement.reset(0)
    assert placement.first(0) == placement.last(0) == -1


def test_the_lowest_address_is_handed_out():
    buddy = BuddyAllocator(512, "bitmap", max_order=6)
    pfns = [buddy.alloc() for _ in range(512)]
    assert pfns == list(range(512))
    for pfn in (400, 30, 33, 100):
        buddy.free(pfn)
    assert [buddy.alloc() for _ in range(4)] == [30, 33, 100, 400]


def test_lists_of_cpus_have_summaries_of_their_order():
    machine = Machine(1 << 12, "bitmap", cpus=2)
    orders = machine.buffers["head"].reshape(-1, ROW)[-LISTS:, 0].tolist()
    assert orders == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 9, 9]
    told = {"order_of": machine._order_of}
    names = ("bits", "summary", "head", "shape")
    lists = len(machine.buffers["head"]) // ROW
    assert Bitmap.bytes_needed(1 << 12, lists, **told) == sum(machine.buffers[name].nbytes for name in names)


DAMAGE = {
    "the word of a listed block names no list": lambda buddy, pfn: buddy.pages.allocatee.__setitem__(pfn, 1 << 31),
    "the word of a listed block names another list": lambda buddy, pfn: buddy.pages.allocatee.__setitem__(pfn, 0),
    "the bits are gone": lambda buddy, pfn: buddy.buffers["bits"].fill(0),
    "all summaries are gone": lambda buddy, pfn: buddy.buffers["summary"].fill(0),
    "all summaries are full": lambda buddy, pfn: buddy.buffers["summary"].fill(-1 & (1 << 64) - 1),
    "no list has a lowest group": lambda buddy, pfn: buddy.buffers["head"].reshape(-1, ROW)[:, LOWEST].fill(NONE),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_found(damage):
    buddy = BuddyAllocator(1 << 14, "bitmap", max_order=5)
    buddy.replay(workload(4000, frames=1 << 13))
    buddy.check()
    DAMAGE[damage](buddy, buddy.free_list(0)[3])
    with pytest.raises(CorruptionError):
        buddy.check()
