"""Replays of slab events: a played kernel, step by step and as a whole, damage, bare traces, and the real one."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st
from recorded_slabs import SlabKernel

from structpage import BuddyAllocator, Machine
from structpage.errors import InvalidArgument, OutOfMemory, TraceError
from structpage.fidelity import replay_slab, slab_states
from structpage.fidelity.slab_follow import EXACT, OTHER
from structpage.traces import read_trace

CAPTURES = Path(os.environ.get("STRUCTPAGE_CAPTURES", Path(__file__).resolve().parents[3] / "shared" / "captures"))


def events_of(text):
    return read_trace(io.BytesIO(text.encode()))


def played(seed, steps=480, warm=300, **options):
    """A played kernel's events and states: the first steps come before the trace."""
    kernel = SlabKernel(seed)
    kernel.act(warm)
    kernel.lines.clear()
    before = copy.deepcopy(kernel.told())
    kernel.act(steps, **options)
    return kernel, events_of(kernel.text()), (before, kernel.told())


def replayed(seed, **options):
    _, events, states = played(seed, **options)
    result = replay_slab(events, states=states)
    result.allocator.slabs.check()
    return result, result.as_dict()


def assert_exact(figures):
    assert figures["exact"] + figures["told"] == figures["allocations"] > 50
    assert figures["first_miss"] is None
    assert figures["foreign"] == 0
    for what in ("slabs_made", "slabs_given_back"):
        assert figures[what]["recorded"] == figures[what]["predicted"] == figures[what]["exact"]
    assert figures["told"] == figures["slabs_made"]["exact"]
    assert figures["caches"] == {"total": 3, "counts_identical": 3, "lists_identical": 3}


@given(st.integers(0, 1 << 32))
def test_a_played_kernel_is_followed_object_by_object(seed):
    _, figures = replayed(seed)
    assert_exact(figures)
    assert figures["hints_used"]["untraced_frees"] == 0


@given(st.integers(0, 1 << 32))
def test_interrupts_that_free_in_the_midst_of_an_allocation_are_put_after_it(seed):
    _, figures = replayed(seed, interrupts=True)
    assert_exact(figures)


def test_played_kernels_do_all_that_is_compared():
    result, figures = replayed(5, interrupts=True)
    assert result.followed.interrupted > 2
    assert figures["slabs_made"]["exact"] > 3


def test_slabs_are_given_back_when_the_kernel_does():
    kernel = SlabKernel(7)
    before = copy.deepcopy(kernel.told())
    for ptr in [kernel.alloc("dentry") for _ in range(210)]:
        kernel.free(ptr)
    figures = replay_slab(events_of(kernel.text()), states=(before, kernel.told())).as_dict()
    assert figures["slabs_made"] == {"recorded": 10, "predicted": 10, "exact": 10}
    given_back = figures["slabs_given_back"]
    assert given_back["recorded"] == given_back["predicted"] == given_back["exact"] > 3


def test_full_slabs_from_before_the_trace_are_found_when_an_object_of_theirs_is_freed():
    kernel = SlabKernel(1, [("dentry", 192, 192, 0)])
    objects = [kernel.alloc("dentry") for _ in range(21 * 6)]
    kernel.lines.clear()
    before = copy.deepcopy(kernel.told())
    assert before[0]["node"][0]["nr_slabs"] == 6
    assert [before[0]["cpu"][0]["partial"], before[0]["node"][0]["partial"]] == [[], []]
    for ptr in objects[::7]:
        kernel.free(ptr)
    for _ in range(30):
        kernel.alloc("dentry")
    figures = replay_slab(events_of(kernel.text()), states=(before, kernel.told())).as_dict()
    assert figures["exact"] + figures["told"] == figures["allocations"] == 30
    assert figures["caches"]["lists_identical"] == 1


def test_frees_in_bulk_are_made_up_where_they_show_and_counted():
    kernel = SlabKernel(2, [("kmalloc-64", 64, 64, 0)])
    before = copy.deepcopy(kernel.told())
    first = [kernel.alloc("kmalloc-64") for _ in range(64 * 3)]
    for ptr in first[:64]:
        kernel.free(ptr, traced=False)
    again = [kernel.alloc("kmalloc-64") for _ in range(96)]
    assert set(again) >= set(first[:64])
    result = replay_slab(events_of(kernel.text()), states=(before, kernel.told()))
    assert result.followed.untraced == {"kmalloc-64": 64}
    assert result.as_dict()["hints_used"]["untraced_frees"] == 64
    (row,) = result.caches
    assert (row["slabs"], row["objects"], row["in_use"], row["counts"]) == (4, 256, 224, True)


def test_slabs_that_bulk_frees_empty_are_given_back_as_recorded():
    kernel = SlabKernel(3, [("kmalloc-64", 64, 64, 0)])
    before = copy.deepcopy(kernel.told())
    objects = [kernel.alloc("kmalloc-64") for _ in range(64 * 8)]
    for ptr in objects[:448]:
        kernel.free(ptr, traced=False)
    kernel.alloc("kmalloc-64")
    gone = 8 - len(kernel.caches["kmalloc-64"].slabs)
    assert gone > 1
    figures = replay_slab(events_of(kernel.text()), states=(before, kernel.told())).as_dict()
    assert figures["hints_used"]["untraced_given_back"] == gone
    assert figures["slabs_given_back"] == {"recorded": gone, "predicted": 0, "exact": 0}
    assert figures["caches"]["counts_identical"] == 1


def test_a_page_that_becomes_another_cache_s_slab_frees_what_was_in_it():
    kernel = SlabKernel(3, [("kmalloc-64", 64, 64, 0), ("dentry", 192, 192, 0)])
    kernel.caches["kmalloc-64"].min_partial = 0
    before = copy.deepcopy(kernel.told())
    objects = [kernel.alloc("kmalloc-64") for _ in range(64 * 6)]
    for ptr in objects[:320]:
        kernel.free(ptr, traced=False)
    kernel.lines[:] = [line for line in kernel.lines if "mm_page_free" not in line]
    for _ in range(21 * 3):
        kernel.alloc("dentry")
    result = replay_slab(events_of(kernel.text()), states=(before, kernel.told()))
    assert result.followed.untraced["kmalloc-64"] >= 64
    dentry = result.caches[result.caches["name"] == "dentry"][0]
    assert dentry["exact"] + dentry["told"] == dentry["allocations"] == 63
    result.allocator.slabs.check()


def test_a_wrong_state_is_noticed():
    """Free objects in another order: the first allocations from that list are others, and no error."""
    _, events, (before, after) = played(11)
    name, free = next((cache["name"], cache["cpu"][0]["free"]) for cache in before if len(cache["cpu"][0]["free"]) > 1)
    free.reverse()
    result = replay_slab(events, states=(before, after))
    assert OTHER in result.followed.answers
    figures = result.as_dict()
    assert figures["first_miss"] is not None
    assert 0 < figures["repairs"] < 25
    result.allocator.slabs.check()
    wrong = {str(row["name"]) for row in result.caches if row["allocations"] > row["exact"] + row["told"]}
    assert wrong == {name}


def test_a_bare_trace_begins_with_empty_caches():
    kernel = SlabKernel(4)
    kernel.act(500)
    result = replay_slab(events_of(kernel.text()), every=100)
    figures = result.as_dict()
    assert figures["exact"] is figures["told"] is None
    found = {row["name"]: (row["slabs"], row["objects"], row["in_use"]) for row in figures["by_cache"]}
    assert found.keys() == kernel.caches.keys()
    for name, cache in kernel.caches.items():
        live = sum(one is cache for one, _ in kernel.live.values())
        assert found[name] == (len(cache.slabs), len(cache.slabs) * cache.objects, live)
    times = result.timeline
    assert np.unique(times["event"]).tolist() == [
        *range(0, len(result.requests.events), 100),
        len(result.requests.events),
    ]
    last = {row["name"]: row for row in times[times["event"] == times["event"].max()]}
    for name, cache in kernel.caches.items():
        used = found[name][2] * cache.size / (len(cache.slabs) * 4096 << cache.order)
        assert last[name]["used"] == pytest.approx(used)


def test_a_bare_trace_on_a_machine():
    kernel = SlabKernel(6)
    kernel.act(300)
    machine = Machine(1 << 15, kernel="6.1")
    result = replay_slab(events_of(kernel.text()), allocator=machine)
    assert sum(len(cache.slabs) for cache in kernel.caches.values()) == sum(row["slabs"] for row in result.caches)
    machine.check()


def test_frees_from_before_a_bare_trace_are_left_out():
    kernel, events, _ = played(8, steps=200)
    result = replay_slab(events)
    assert result.as_dict()["foreign"] > 0
    assert sum(map(len, result.placed.caches.values())) <= len(kernel.live)


def test_hashed_pointers_pair_just_as_well():
    kernel = SlabKernel(9)
    kernel.act(200)
    names = {f"{ptr:016x}": f"{(ptr * 0x9E3779B97F4A7C15) % (1 << 32):016x}" for ptr in pointers(kernel.text())}
    text = kernel.text()
    for name, other in names.items():
        text = text.replace(name, other)
    plain, hashed = (replay_slab(events_of(one)).as_dict() for one in (kernel.text(), text))
    assert [row["in_use"] for row in plain["by_cache"]] == [row["in_use"] for row in hashed["by_cache"]]


def pointers(text):
    return {int(word[4:], 16) for word in text.split() if word.startswith("ptr=")}


# Errors


def test_a_trace_without_slab_events():
    line = "     init-1 [000] .....     1.000001: mm_page_free: page=0 pfn=0x10 order=0\n"
    with pytest.raises(
        TraceError, match=says("trace trace must be one with slab events (kmalloc, kmem_cache_alloc, ...), not without")
    ):
        replay_slab(events_of(line))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda cache: cache.pop("order"),
            "state of the slab caches must be caches with geometry, CPUs and nodes, not KeyError 'order'",
        ),
        (
            lambda cache: cache.update(flags=0xC00),
            "cache dentry must be one that is not debugged, not one with flags 0xc00",
        ),
        (
            lambda cache: cache["node"][0].update(total_objects=7),
            None,
        ),
        (
            lambda cache: cache["cpu"][0]["slab"].update(objects=5),
            "objects of a slab of cache dentry must be 21 or 21, not 5",
        ),
    ],
)
def test_a_damaged_state(damage, message):
    _, events, states = played(12)
    damage(next(cache for cache in states[0] if cache["name"] == "dentry"))
    with pytest.raises(TraceError, match=says(message) if message else "^full slabs of cache dentry must be "):
        replay_slab(events, states=states)


def test_a_file_of_another_shape(tmp_path):
    assert slab_states(tmp_path) is None
    (tmp_path / "slab_before.json").write_text('{"name": 3}')
    with pytest.raises(TraceError, match=r"slab_before\.json must be a list of caches with names, not "):
        slab_states(tmp_path)
    (tmp_path / "slab_before.json").write_text(json.dumps(SlabKernel(1).told()))
    with pytest.raises(TraceError, match=r"must be a folder with slab_after\.json, not "):
        slab_states(tmp_path)


def test_an_allocator_that_is_taken_or_too_small():
    _, events, states = played(13)
    result = replay_slab(events, states=states)
    with pytest.raises(InvalidArgument, match=r"^name must be one that no cache has, not "):
        replay_slab(events, states=states, allocator=result.allocator)
    with pytest.raises(OutOfMemory, match=r"^free memory for a slab of cache "):
        replay_slab(events, states=states, allocator=BuddyAllocator(1, max_order=3))


def test_text_names_what_was_found():
    result, figures = replayed(14)
    lines = str(result).splitlines()
    assert lines[0] == f"trace, Linux unknown: {figures['events']} slab events"
    predicted = figures["allocations"] - figures["told"]
    assert lines[1] == f"  {predicted} of {predicted} objects as recorded, and {figures['told']} told"
    assert [line.split()[0] for line in lines[-4:]] == ["name", "sock", "kmalloc-64", "dentry"]
    assert repr(result) == f"<SlabReplay trace: {figures['events']} slab events of 3 caches>"
    assert result._repr_html_().count("<tr>") == 4


# The real one


@pytest.mark.skipif(not (CAPTURES / "slab").is_dir(), reason="no capture slab; set STRUCTPAGE_CAPTURES")
def test_a_real_kernel_s_slabs_and_objects_are_followed():
    result = replay_slab(CAPTURES / "slab")
    figures = result.as_dict()
    assert figures["caches"]["total"] == 154
    assert figures["caches"]["counts_identical"] == 154
    assert figures["caches"]["lists_identical"] >= 151
    assert figures["slabinfo"]["exact"] >= 153
    assert int((result.followed.answers == EXACT).sum()) == figures["exact"]
    assert figures["exact"] + figures["told"] == figures["allocations"] > 120_000
    assert figures["slabs_made"]["exact"] == figures["slabs_made"]["recorded"] == figures["told"]
    result.allocator.slabs.check()
