"""Memblock: what fails changes nothing, and what a copy takes back."""

from unittest.mock import patch

import pytest
from helpers import says
from hypothesis import event, given, settings
from hypothesis import strategies as st

from structpage import InvalidArgument, Memblock, OutOfMemory, StructPageError
from structpage.boot.regions import HOTPLUG, MIRROR, NOMAP

PAGE = 4096
PAGES = 16
FAR = 1 << 20
OPTIONS = ("numa", "max_nodes", "bottom_up", "current_limit", "can_resize", "movable_node", "mirrored_kernelcore")


def state(memblock):
    """All of it: both arrays, their room and addresses, and the options."""
    arrays = [(tuple(regions.rows), regions.max, regions.where) for regions in (memblock._memory, memblock._reserved)]
    return *arrays, memblock._has_mirror, *(getattr(memblock, name) for name in OPTIONS)


def both_full(free):
    """One with 128 regions in each array, and `free` bytes at 1 MiB that nobody has."""
    memory = [(FAR, free), *((2 * FAR + 2 * PAGE * at, PAGE) for at in range(127))]
    return Memblock.from_regions(memory, [(2 * FAR + 2 * PAGE * at, PAGE) for at in range(128)])


CALLS = {
    "add": lambda m: m.add(8 * FAR, 1),
    "reserve": lambda m: m.reserve(8 * FAR, 1),
    "remove": lambda m: m.remove(2 * FAR + 10, 10),
    "free": lambda m: m.free(2 * FAR + 10, 10),
    "set_node": lambda m: m.set_node(2 * FAR + 10, 10, 1),
    "set_node_reserved": lambda m: m.set_node(2 * FAR + 10, 10, 1, reserved=True),
    "mark": lambda m: m.mark(2 * FAR + 10, 10, HOTPLUG),
    "clear": lambda m: m.clear(2 * FAR + 10, 10, HOTPLUG),
    "alloc": lambda m: m.alloc(64),
    "phys_alloc_range": lambda m: m.phys_alloc_range(64),
    "enforce_memory_limit": lambda m: m.enforce_memory_limit(4 * PAGE),
    "cap_memory_range": lambda m: m.cap_memory_range(2 * FAR, FAR),
}
OF_RESERVED = ("reserve", "free", "set_node_reserved")


@pytest.mark.parametrize("name", CALLS)
def test_two_full_arrays_and_room_for_one_longer(name):
    # Two pages are a longer array: that of memory. It has to be reserved, and for that there is no room any more.
    memblock = both_full(PAGE if name in OF_RESERVED else 2 * PAGE)
    before = state(memblock)
    with pytest.raises(OutOfMemory):
        CALLS[name](memblock)
    assert state(memblock) == before


@pytest.mark.parametrize(
    ("name", "arguments"), [("enforce_memory_limit", (4 * PAGE + 10,)), ("cap_memory_range", (10, PAGE))]
)
def test_memory_is_not_cut_if_what_is_reserved_cannot_be(name, arguments):
    # Of 256 pages every other one is reserved, so that no two are free.
    memblock = Memblock.from_regions([(0, 256 * PAGE)], [(2 * PAGE * at, PAGE) for at in range(128)])
    before = state(memblock)
    with pytest.raises(OutOfMemory):
        getattr(memblock, name)(*arguments)
    assert state(memblock) == before


@pytest.mark.parametrize("name", CALLS)
def test_two_full_arrays_and_room_for_both_longer(name):
    memblock = both_full(16 * PAGE)
    CALLS[name](memblock)
    assert 256 in (memblock._memory.max, memblock._reserved.max)


places = st.integers(0, PAGES * 4).map(lambda at: at * PAGE // 4)
sizes = st.integers(1, 8).map(lambda count: count * PAGE // 4)
flags = st.sampled_from([HOTPLUG, MIRROR, NOMAP])
nodes = st.integers(0, 3)
calls = st.one_of(
    st.tuples(st.just("add"), places, sizes, nodes, flags),
    st.tuples(st.sampled_from(["reserve", "remove", "free", "cap_memory_range"]), places, sizes),
    st.tuples(st.sampled_from(["mark", "clear"]), places, sizes, flags),
    st.tuples(st.just("set_node"), places, sizes, nodes),
    st.tuples(st.sampled_from(["alloc", "phys_alloc_range"]), sizes, st.sampled_from([64, PAGE])),
    st.tuples(st.just("enforce_memory_limit"), sizes.map(lambda size: 4 * size)),
    st.tuples(st.just("trim_memory"), st.sampled_from([PAGE // 2, PAGE])),
    st.tuples(st.sampled_from(["add", "mark", "set_node"]), places, sizes, st.sampled_from([-2, 99])),
)


@settings(max_examples=100)
@given(st.integers(1, PAGES), st.integers(1, 4), st.booleans(), st.lists(calls, min_size=10, max_size=40))
def test_a_call_that_fails_changes_nothing(pages, room, bottom_up, made):
    with patch("structpage.boot.regions.INIT_REGIONS", room):
        memblock = Memblock(max_nodes=3, bottom_up=bottom_up, mirrored_kernelcore=True)
    memblock.add(PAGE, pages * PAGE)
    for name, *arguments in made:
        before = state(memblock)
        try:
            getattr(memblock, name)(*arguments)
        except StructPageError as error:
            event(f"{name} {type(error).__name__}")
            assert state(memblock) == before, (name, arguments)


@given(st.lists(calls, max_size=10), st.lists(calls, max_size=10))
def test_a_copy_changes_alone_and_takes_back(first, then):
    def do(memblock, made):
        for name, *arguments in made:
            try:
                getattr(memblock, name)(*arguments)
            except StructPageError:
                continue

    with patch("structpage.boot.regions.INIT_REGIONS", 3):
        memblock = Memblock(max_nodes=3, mirrored_kernelcore=True)
    memblock.add(PAGE, PAGES * PAGE)
    do(memblock, first)
    before, copied = state(memblock), memblock.copy()
    assert state(copied) == before
    do(memblock, then)
    assert state(copied) == before
    after = state(memblock)
    do(copied, then)
    assert state(copied) == state(memblock) == after


def test_restore_takes_over_arrays_and_options():
    memblock = both_full(16 * PAGE)
    copied, before = memblock.copy(), state(memblock)
    memblock.reserve(8 * FAR, 1)
    memblock.bottom_up, memblock.current_limit = True, FAR
    assert state(memblock) != before
    memblock.restore(copied)
    assert state(memblock) == before
    memblock.add(8 * FAR, 1)
    assert state(copied) == before  # and is of use again


def test_a_copy_is_of_the_same_class():
    class Mine(Memblock):
        pass

    assert type(Mine().copy()) is Mine


@pytest.mark.parametrize("other", [None, (), "memblock"])
def test_restore_takes_a_memblock(other):
    memblock = both_full(PAGE)
    before = state(memblock)
    with pytest.raises(InvalidArgument, match=says(f"other must be a Memblock, as copy returns, not {other!r}")):
        memblock.restore(other)
    assert state(memblock) == before
