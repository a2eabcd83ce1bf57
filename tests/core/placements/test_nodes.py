"""Pools of nodes, and the radix tree on them: against lists in Python, and never a node too many or too few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structpage.core.buffers import Room
from structpage.core.placements.nodes import DRY, LEAST, SPARE, TOTAL, Nodes
from structpage.core.placements.radix_tree import COUNT, FAN, HEIGHT, TREE_WORDS, RadixTree
from structpage.core.placements.slab_nodes import SlabNodes
from structpage.core.status import CORRUPT

FRAMES, LISTS = 1 << 13, 3


def made(cls, frames=FRAMES, **options):
    lists = cls.build(Room(frames, LISTS, [0] * (2 * frames), [], lambda name, words: [0] * words, 11, **options))
    for lst in range(LISTS):
        lists.reset(lst)
    return lists


def walked(lists, lst):
    pfns, pfn = [], lists.first(lst)
    while pfn >= 0:
        pfns.append(pfn)
        pfn = lists.next(lst, pfn)
    assert pfn == -1
    return pfns


def in_use(lists):
    return lists.nodes.state[TOTAL] - lists.nodes.state[SPARE]


def nodes_of_tree(count):
    """Nodes of a tree of so many entries, level by level."""
    nodes = 0
    while count > 1 or (count and not nodes):
        count = -(-count // FAN)
        nodes += count
    return nodes


@given(st.integers(0, 5000), st.integers(0, 5000), st.booleans())
def test_a_tree_has_the_nodes_its_entries_need(grown, left, front):
    lists = made(RadixTree)
    push = lists.push_front if front else lists.push_back
    for pfn in range(grown):
        needed = lists.nodes_to_push(1)
        before = in_use(lists)
        push(1, pfn)
        assert in_use(lists) - before == needed
    assert in_use(lists) == nodes_of_tree(grown)
    while lists.tree[TREE_WORDS + COUNT] > left:
        assert lists.remove(lists.first(1)) == 0
    assert in_use(lists) == nodes_of_tree(min(grown, left))
    assert sorted(walked(lists, 1)) == sorted(set(walked(lists, 1)))


@given(st.data())
@pytest.mark.parametrize("cls", [SlabNodes, RadixTree])
def test_any_pushes_and_removals(cls, data):
    lists, model = made(cls, 300), {lst: [] for lst in range(LISTS)}
    for pfn in data.draw(st.lists(st.integers(0, 299), unique=True, min_size=1)):
        lst, front = data.draw(st.sampled_from(range(LISTS))), data.draw(st.booleans())
        (lists.push_front if front else lists.push_back)(lst, pfn)
        model[lst].insert(0 if front else len(model[lst]), pfn)
        if data.draw(st.integers(0, 2)) == 0:
            chosen = data.draw(st.sampled_from([lst for lst in model if model[lst]]))
            gone = data.draw(st.sampled_from(model[chosen]))
            assert lists.remove(gone) == 0
            model[chosen].remove(gone)
        for one, pfns in model.items():
            found = walked(lists, one)
            assert found == pfns if cls is SlabNodes else sorted(found) == sorted(pfns)
            assert lists.last(one) == (found[-1] if found else -1)
    blocks = sum(map(len, model.values()))
    assert in_use(lists) <= (blocks if cls is SlabNodes else RadixTree.nodes_needed(blocks, LISTS))


def test_what_is_last_is_taken_first_and_the_tail_last():
    lists = made(RadixTree)
    for pfn in (5, 6, 7):
        lists.push_front(0, pfn)
    assert lists.first(0) == 7
    lists.push_back(0, 9)
    assert lists.last(0) == 9


@pytest.mark.parametrize("cls", [SlabNodes, RadixTree])
def test_a_pool_that_is_dry_lists_nothing_and_counts(cls):
    lists = made(cls, nodes=1, nodes_at=600)
    memory = [0] * 4096
    lists = lists._replace(nodes=lists.nodes._replace(store=memory))
    first = 70 if cls is RadixTree else 1
    count = FAN if cls is RadixTree else 1
    for pfn in range(first, first + count):
        lists.push_front(0, pfn)
    before = list(memory)
    lists.push_front(0, 5)
    assert lists.nodes.state[DRY] == 1
    assert memory == before
    assert 5 not in walked(lists, 0)
    assert (lists.nodes.state[SPARE], lists.nodes.state[LEAST]) == (0, 0)


@pytest.mark.parametrize("spare", range(4))
def test_a_tree_grows_by_several_nodes_or_not_at_all(spare):
    """The entry after a full tree of two levels needs a root, an inner node and a leaf."""
    lists = made(RadixTree)
    for pfn in range(FAN * FAN):
        lists.push_front(0, pfn)
    while lists.nodes.state[SPARE] > spare:
        lists.nodes.take()
    before = list(lists.tree)
    lists.push_front(0, FRAMES - 1)
    if spare < 3:
        assert lists.tree == before
        assert lists.nodes.state[SPARE] == spare
    else:
        assert lists.first(0) == FRAMES - 1
        assert lists.nodes.state[SPARE] == 0


@given(st.integers(0, 1 << 62), st.sampled_from([SlabNodes, RadixTree]))
def test_a_word_that_says_nonsense_is_corrupt(word, cls):
    lists = made(cls, 64)
    lists.push_front(0, 3)
    right = lists.word[7]
    lists.word[7] = word
    assert (lists.remove(3) == CORRUPT) == (word >> 3 != right >> 3 if cls is SlabNodes else word != right)


def test_the_pool_gives_back_what_was_given_to_it():
    nodes = Nodes([0] * 64, [0] * 8, 4)
    nodes.extend(4, 3)
    taken = [nodes.take() for _ in range(4)]
    assert taken == [4, 8, 12, 0]
    for place in taken[:3]:
        nodes.give(place)
    nodes.add(32)
    assert {nodes.take() for _ in range(4)} == {4, 8, 12, 32}
    assert nodes.state[TOTAL] == 4


def test_heights_go_down_as_they_went_up():
    lists = made(RadixTree)
    for pfn in range(FAN * FAN + 1):
        lists.push_front(0, pfn)
    assert lists.tree[HEIGHT] == 3
    lists.remove(lists.first(0))
    assert lists.tree[HEIGHT] == 2
