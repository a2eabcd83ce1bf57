"""Many requests at once: the same as one by one, in every engine."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import says

from structpage import BuddyAllocator, InvalidArgument, Machine, OutOfRange, SlabCache, slab_table
from structpage.core.slab.script import ALLOC, FREE
from structpage.slab.running import run_requests

ONCE = "allocated once, then freed at most once"
SIZES = (32, 192, 1000)


def caches(make=BuddyAllocator, frames=2048, cpus=2, **options):
    allocator = make(frames, **options) if make is BuddyAllocator else make(frames, cpus=cpus, **options)
    return [
        SlabCache(allocator, f"cache-{size}", size, cpus=cpus, hardened=size == 32, random=3 if size > 32 else None)
        for size in SIZES
    ]


def script(rows, seed=1):
    """Kinds, caches, slots and CPUs of a mixed script."""
    rng = np.random.default_rng(seed)
    made, live, slots = [], [], 0
    for _ in range(rows):
        if rng.random() < 0.52 or not live:
            live.append((int(rng.integers(len(SIZES))), slots))
            made.append((ALLOC, *live[-1], int(rng.integers(2))))
            slots += 1
        else:
            made.append((FREE, *live.pop(int(rng.integers(len(live)))), int(rng.integers(2))))
    return np.array(made).T


def one_by_one(chosen, rows):
    where = {}
    for kind, cache, slot, cpu in rows.T.tolist():
        if kind == ALLOC:
            where[slot] = chosen[cache].alloc(cpu)
        else:
            chosen[cache].free(where[slot], cpu)
    return [where[slot] for slot in range(len(where))]


@pytest.mark.parametrize("make", [BuddyAllocator, Machine])
def test_rows_are_the_same_as_calls(make):
    rows = script(3000)
    together, apart = caches(make), caches(make)
    assert run_requests(together, *rows).tolist() == one_by_one(apart, rows)
    assert [cache.objects for cache in together] == [cache.objects for cache in apart]
    assert slab_table(together[0].allocator).tolist() == slab_table(apart[0].allocator).tolist()
    together[0].allocator.check()


@pytest.mark.parametrize("engine", ["probed", "checked", "compiled"])
def test_engines_agree(engine):
    if engine == "compiled":
        pytest.importorskip("numba")
    rows = script(3000, seed=2)
    plain, other = caches(engine="plain"), caches(engine=engine)
    assert run_requests(other, *rows).tolist() == run_requests(plain, *rows).tolist()
    for cache, same in zip(plain, other, strict=True):
        assert cache.objects == same.objects
    other[0].allocator.check()


def test_consumers_are_heard():
    chosen = caches(consumers=["page-poisoning"])
    rows = script(500)
    run_requests(chosen, *rows)
    for cache in chosen:
        for address in cache.objects:
            cache.free(address)
        cache.destroy()
    chosen[0].allocator.check()
    assert chosen[0].allocator.consumers[0].found == 0


def test_without_memory_the_rows_go_on():
    cache = SlabCache(BuddyAllocator(1), "cache", 2048)
    kinds, slots = [ALLOC, ALLOC, ALLOC, FREE, FREE], [0, 1, 2, 2, 0]
    addresses = run_requests([cache], kinds, 0, slots)
    assert (addresses != 0).tolist() == [True, True, False]
    assert cache.objects == [addresses[1]]
    cache.allocator.check()


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (([2], 0, [0]), OutOfRange, "kind must be between 0 and 1, not 2"),
        (([0], 3, [0]), OutOfRange, "cache must be between 0 and 2, not 3"),
        (([0], 0, [-1]), OutOfRange, "slot must be between 0 and 0, not -1"),
        (([0], 0, [0], 2), OutOfRange, "cpu must be between 0 and 1, not 2"),
        (([0], 0, [0], 0, 1), InvalidArgument, "node must be -1 or one of 0, not 1"),
        (([0, 0], 0, [1, 1]), InvalidArgument, f"slot 1 must be {ONCE}, not as in row 0"),
        (([1, 0], 0, [1, 1]), InvalidArgument, f"slot 1 must be {ONCE}, not as in row 0"),
        (([0, 1, 1], 0, [1, 1, 1]), InvalidArgument, f"slot 1 must be {ONCE}, not as in row 0"),
    ],
)  # fmt: skip
def test_bad_rows_run_nothing(rows, kind, message):
    chosen = caches()
    with pytest.raises(kind, match=says(message)):
        run_requests(chosen, *rows)
    assert [len(cache) for cache in chosen] == [0, 0, 0]


def test_bad_caches_run_nothing():
    with pytest.raises(InvalidArgument, match=says("caches must be one or more of one allocator, not 0 caches")):
        run_requests([], [0], 0, [0])
    with pytest.raises(InvalidArgument, match=says("caches must be one or more of one allocator, not 2 caches")):
        run_requests([caches()[0], caches()[0]], [0], 0, [0])
    for options in ({"flags": "P"}, {"ctor": bytes}):
        cache = SlabCache(BuddyAllocator(16), "cache", 64, **options)
        rule = "cache cache must be neither debugged nor constructed, not either"
        with pytest.raises(InvalidArgument, match=says(rule)):
            run_requests([cache], [0], 0, [0])
