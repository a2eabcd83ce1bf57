"""`array-index`: arrays that grow and shrink by chunks, and what is found where a word of them is wrong."""

from __future__ import annotations

import pytest
from helpers import Sparse, workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, CorruptionError, Machine
from structpage.core.buffers import Room
from structpage.core.placements.array_index import CHUNK, FRESH, IN_CHUNK, SPARE, ArrayIndex
from structpage.core.status import CORRUPT


def made(frames, lists):
    placement = ArrayIndex.build(Room(frames, lists, Sparse(), Sparse(), lambda name, words: Sparse(words), 1))
    for lst in range(lists):
        placement.reset(lst)
    return placement


def walk(placement, lst):
    found, pfn = [], placement.first(lst)
    while pfn >= 0:
        found.append(pfn)
        pfn = placement.next(lst, pfn)
    assert pfn == -1
    assert placement.last(lst) == (found[-1] if found else -1)
    return found


def spare_chunks(placement):
    chunks, place = [], placement.pool[SPARE]
    while place:
        chunks.append(place // CHUNK)
        place = placement.pool[place // CHUNK * CHUNK]
    return chunks


@given(
    steps=st.lists(st.tuples(st.sampled_from(["push_front", "push_back", "remove"]), st.integers(0, 1),
                             st.integers(0, 199), st.integers(1, 80)), max_size=12),
)  # fmt: skip
def test_a_removal_moves_the_first_block_and_no_other(steps):
    """The model has the array's end first, as the list is told."""
    placement, model = made(200, 2), {0: [], 1: []}
    for method, lst, start, count in steps:
        for pfn in ((start + i) % 200 for i in range(count)):
            on = [pfns for pfns in model.values() if pfn in pfns]
            if method == "remove" and on:
                (pfns,) = on
                assert placement.remove(pfn) == 0
                pfns[pfns.index(pfn)] = pfns[0]
                del pfns[0]
            elif method != "remove" and not on:
                getattr(placement, method)(lst, pfn)
                pfns = model[lst]
                if method == "push_front" or not pfns:
                    pfns.insert(0, pfn)
                else:
                    model[lst] = [pfns.pop(), *pfns, pfn]
        assert [walk(placement, lst) for lst in (0, 1)] == [model[0], model[1]]
    used = sum(-(-len(pfns) // IN_CHUNK) for pfns in model.values())
    spare = spare_chunks(placement)
    assert len(set(spare)) == len(spare) == placement.pool[FRESH] // CHUNK - 1 - used


def test_the_pool_is_enough_for_every_frame_on_a_list_of_its_own_and_for_all_on_one():
    for frames, lists in ((1, 1), (31, 1), (32, 1), (100, 100), (64, 500), (1000, 3)):
        placement = made(frames, lists)
        for turn in range(3):
            for pfn in range(frames):
                placement.push_front(pfn % lists if turn % 2 else 0, pfn)
            for pfn in range(frames):
                assert placement.remove(pfn) == 0
        assert placement.pool[FRESH] <= placement.size == len(placement.pool)


def test_a_list_that_is_reset_gives_its_chunks_back():
    placement = made(200, 2)
    for turn in range(5):
        for pfn in range(100):
            placement.push_back(turn % 2, pfn)
        assert placement.pool[FRESH] == 5 * CHUNK
        placement.reset(turn % 2)
        assert walk(placement, turn % 2) == []
        assert sorted(spare_chunks(placement)) == [1, 2, 3, 4]


@pytest.mark.parametrize("place", ["link outside", "word", "list", "top"])
def test_what_is_wrong_is_a_status_and_nothing_is_written(place):
    placement = made(64, 2)
    for pfn in (5, 6, 7):
        placement.push_front(1, pfn)
    if place == "link outside":
        placement.pool[placement.head[2]] = 99
    elif place == "word":
        placement.word[2 * 5 + 1] += 1
    elif place == "list":
        placement.word[2 * 5 + 1] |= 1 << 40
    else:
        placement.head[2] = placement.size
    buffers = [buffer for buffer in placement if isinstance(buffer, Sparse)]
    before = [dict(buffer.values) for buffer in buffers]
    assert placement.remove(5) == CORRUPT
    assert [buffer.values for buffer in buffers] == before


@pytest.mark.parametrize("change", [1, 1 << 36])
def test_a_word_that_names_another_slot_or_list_is_found(change):
    buddy = BuddyAllocator(512, "array-index")
    buddy.replay(workload(400, frames=512))
    buddy.check()
    buddy.pages.allocatee[buddy.free_list(0)[1]] += change
    with pytest.raises(CorruptionError, match=r"next must be a frame or a list head, not a link outside the memory$"):
        buddy.check()


def test_a_machine_runs_on_it_with_its_lists_of_cpus():
    machine = Machine(1 << 14, "array-index", cpus=2)
    pfns = [machine.alloc_pages(order % 4, cpu=order % 2) for order in range(200)]
    for pfn in pfns[::2] + pfns[1::2]:
        machine.free_pages(pfn, cpu=pfn % 2)
    machine.check()
    machine.drain()
    machine.check()
