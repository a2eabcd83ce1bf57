"""Memblock beside a model that knows each kibibyte: random calls, the same arrays and the same addresses."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from structpage import Memblock, OutOfMemory
from structpage.boot.regions import HOTPLUG, MIRROR, NOMAP

GRAIN = 1024
GRAINS = 48
PAGE = 4096 // GRAIN
NODES = 4


class Model:
    """Of each grain its node and flags as memory, and its node as reserved; `None` where it is neither."""

    def __init__(self, bottom_up):
        self.memory = [None] * GRAINS
        self.reserved = [None] * GRAINS
        self.bottom_up = bottom_up
        self.mirrored = False

    def add(self, start, stop, nid=NODES, flags=0):
        self.memory[start:stop] = [grain or (nid, flags) for grain in self.memory[start:stop]]

    def reserve(self, start, stop):
        self.reserved[start:stop] = [grain or (NODES, 0) for grain in self.reserved[start:stop]]

    def remove(self, start, stop):
        self.memory[start:stop] = [None] * (stop - start)

    def free(self, start, stop):
        self.reserved[start:stop] = [None] * (stop - start)

    def set_node(self, start, stop, nid, *, reserved):
        grains = self.reserved if reserved else self.memory
        grains[start:stop] = [grain and (nid, grain[1]) for grain in grains[start:stop]]

    def mark(self, start, stop, flag):
        self.mirrored |= flag == MIRROR
        self.memory[start:stop] = [grain and (grain[0], grain[1] | flag) for grain in self.memory[start:stop]]

    def clear(self, start, stop, flag):
        self.memory[start:stop] = [grain and (grain[0], grain[1] & ~flag) for grain in self.memory[start:stop]]

    def trim_memory(self, align):
        for (first, stop), _ in self.runs(self.memory):
            low, high = -(-first // align) * align, stop // align * align
            self.remove(first, min(low, stop))
            self.remove(max(high, first), stop)

    def enforce_memory_limit(self, limit):
        there = [at for at, grain in enumerate(self.memory) if grain]
        if 0 < limit <= len(there):
            self.remove(there[limit - 1] + 1, GRAINS)
            self.free(there[limit - 1] + 1, GRAINS)

    def alloc(self, size, align, start, end, nid, exact):
        for low in (start, 0):
            for mirrored in (True, False) if self.mirrored else (False,):
                for node in (nid,) if exact or nid == -1 else (nid, -1):
                    found = self.fitting(size, align, max(low, PAGE), end or GRAINS, node, mirrored)
                    if found:
                        at = found[0] if self.bottom_up else found[-1]
                        self.reserve(at, at + size)
                        return at
        return None

    def fitting(self, size, align, start, end, node, mirrored):
        """All places that would do, ascending: within one region, free, and of a kind that is wanted."""
        places = []
        for at in range(-(-start // align) * align, end - size + 1, align):
            kinds = set(self.memory[at : at + size])
            if len(kinds) > 1 or None in kinds or any(self.reserved[at : at + size]):
                continue
            (nid, flags) = kinds.pop()
            if node in (-1, nid) and not flags & NOMAP and (flags & MIRROR or not mirrored):
                places.append(at)
        return places

    @staticmethod
    def runs(grains):
        """The regions that touching grains of one kind are."""
        at, found = 0, []
        for kind, run in groupby(grains):
            stop = at + len(list(run))
            if kind:
                found.append(((at, stop), kind))
            at = stop
        return found


def arrays(memblock):
    return [
        [((region.base // GRAIN, region.end // GRAIN), (region.nid, region.flags)) for region in rows]
        for rows in (memblock.memory, memblock.reserved)
    ]


@st.composite
def calls(draw):
    start, stop = sorted(draw(st.tuples(*[st.integers(0, GRAINS)] * 2)))
    nid, flag = draw(st.integers(0, NODES - 1)), draw(st.sampled_from([HOTPLUG, MIRROR, NOMAP]))
    name = draw(
        st.sampled_from(
            ["add", "add_node", "add_node", "reserve", "remove", "free", "set_node", "mark", "clear", "trim", "limit"]
            + ["alloc"] * 6
        )
    )
    if name == "alloc":
        size, align = draw(st.integers(1, 8)), 1 << draw(st.integers(0, 3))
        node = draw(st.sampled_from([-1, *range(NODES)]))
        return name, (size, align, start if draw(st.booleans()) else 0, stop, node, draw(st.booleans()))
    if name == "trim":
        return name, (1 << draw(st.integers(0, 3)),)
    if name == "limit":
        return name, (draw(st.integers(GRAINS // 2, GRAINS)),)
    more = {"add_node": (nid, flag), "set_node": (nid, draw(st.booleans())), "mark": (flag,), "clear": (flag,)}
    return name, (start, stop, *more.get(name, ()))


def do(memblock, model, name, arguments):
    """Do a call on both, and return what each gave."""
    if name == "alloc":
        size, align, start, end, nid, exact = arguments
        try:
            at = memblock.alloc(size * GRAIN, align * GRAIN, start=start * GRAIN, end=end * GRAIN, nid=nid, exact=exact)
        except OutOfMemory:
            at = None
        return None if at is None else at // GRAIN, model.alloc(*arguments)
    if name == "trim":
        return memblock.trim_memory(arguments[0] * GRAIN), model.trim_memory(*arguments)
    if name == "limit":
        return memblock.enforce_memory_limit(arguments[0] * GRAIN), model.enforce_memory_limit(*arguments)
    start, stop, *more = arguments
    place = (start * GRAIN, (stop - start) * GRAIN)
    if name == "set_node":
        nid, reserved = more
        return memblock.set_node(*place, nid, reserved=reserved), model.set_node(start, stop, nid, reserved=reserved)
    name = name.removesuffix("_node")
    return getattr(memblock, name)(*place, *more), getattr(model, name)(start, stop, *more)


@given(st.lists(calls(), max_size=40), st.booleans())
def test_any_calls_give_what_the_model_gives(made, bottom_up):
    memblock = Memblock(max_nodes=NODES, mirrored_kernelcore=True, bottom_up=bottom_up)
    model = Model(bottom_up)
    for name, arguments in made:
        ours, told = do(memblock, model, name, arguments)
        assert ours == told, (name, arguments)
        assert arrays(memblock) == [model.runs(model.memory), model.runs(model.reserved)], (name, arguments)


@given(st.lists(calls(), max_size=20), st.sampled_from([-1, 0, 1]))
def test_free_ranges_are_memory_that_nobody_has(made, nid):
    memblock, model = Memblock(max_nodes=NODES), Model(False)
    for name, arguments in made:
        do(memblock, model, name, arguments) if name != "mark" else None
    ranges = list(memblock.free_ranges(nid, NOMAP))
    assert ranges == list(memblock.free_ranges(nid, NOMAP, reverse=True))[::-1]
    assert ranges == sorted(ranges)
    free = [at for start, end, _ in ranges for at in range(start // GRAIN, end // GRAIN)]
    assert free == [
        at for at in range(GRAINS) if model.memory[at] and not model.reserved[at] and nid in (-1, model.memory[at][0])
    ]


@given(
    st.lists(calls(), max_size=20),
    st.integers(1, 5000),
    st.integers(0, 13),
    st.just(0) | st.integers(2, GRAINS * GRAIN),
    st.booleans(),
)
def test_what_is_given_is_aligned_inside_memory_and_nobodys(made, size, align, end, bottom_up):
    memblock, model = Memblock(max_nodes=NODES), Model(False)
    for name, arguments in made:
        do(memblock, model, name, arguments) if name != "mark" else None
    memblock.bottom_up = bottom_up
    free = list(memblock.free_ranges())
    try:
        at = memblock.phys_alloc_range(size, 1 << align, 0, end)
    except OutOfMemory:
        return
    assert at % (1 << align) == 0
    assert 4096 <= at <= (end or GRAINS * GRAIN) - size
    assert any(low <= at and at + size <= high for low, high, _ in free)
    assert memblock.is_reserved(at)
    assert memblock.is_memory(at, size)
    assert not any(low <= at < high for low, high, _ in memblock.free_ranges())
