"""A machine recorded as if it were a kernel: its trace gives back every frame, and the state it ended in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_helpers import whole_state
from recorded_kernel import BLOCK, GFPS, ORDERS, kernel

from structpage import Zone
from structpage.core.linux.compaction import was_searched
from structpage.core.words import MOVABLE, TYPES
from structpage.fidelity import replay_capture
from structpage.fidelity.start import machine_of

SEEDS = st.integers(0, 10**6)
ONE = [Zone("Normal", BLOCK, 8 * BLOCK)]
THREE = [
    Zone("DMA", BLOCK, 3 * BLOCK - 5),
    Zone("DMA32", 3 * BLOCK, 6 * BLOCK),
    Zone("Normal", 6 * BLOCK, 9 * BLOCK + 3),
]
NODES = [Zone("DMA32", BLOCK, 5 * BLOCK, 0), Zone("Normal", 5 * BLOCK, 7 * BLOCK, 0), Zone("Normal", 4096, 6144, 1)]
ATOMIC = (*GFPS, "GFP_ATOMIC", "GFP_NOWAIT", "GFP_ATOMIC|__GFP_MOVABLE|__GFP_HIGHMEM")


def assert_exact(recorder, **options):
    """The capture is replayed without a miss, and ends in the kernel's own state, down to the counters."""
    capture = recorder.capture()
    result = replay_capture(capture, engine="plain", **options)
    figures = result.as_dict()
    assert result.followed.stories == []
    assert figures["exact"] == figures["requests"] == capture.events.counts().get("mm_page_alloc", 0)
    assert figures["first_miss"] is None
    assert figures["repairs"] == 0
    for kind, name in (("removals", "mm_page_alloc_zone_locked"), ("fallbacks", "mm_page_alloc_extfrag")):
        assert figures[kind]["exact"] == figures[kind]["total"]
        assert figures[kind]["total"] == capture.events.counts().get(name, 0)
    assert all(figures[f"final_{name}_identical"] for name in ("lists", "pcp", "buddyinfo"))
    assert whole_state(result.machine) == whole_state(recorder.machine)
    result.machine.check()
    return result


@given(seed=SEEDS, zones=st.sampled_from([None, ONE, THREE]), cpus=st.integers(1, 3), watermarks=st.booleans())
def test_every_frame_and_the_end_state_come_back(seed, zones, cpus, watermarks):
    recorder = kernel(seed, zones=zones, cpus=cpus, watermarks=watermarks)
    for _ in range(250):
        recorder.act(recorder.rng.randrange(cpus))
    assert_exact(recorder)


@given(seed=SEEDS)
def test_high_order_atomic_requests_reserve_pageblocks_alike(seed):
    recorder = kernel(seed)
    for _ in range(200):
        recorder.act(gfps=ATOMIC)
    assert_exact(recorder)


@given(seed=SEEDS)
def test_the_node_that_gave_is_the_node_that_was_asked(seed):
    """Requests for one node alone: where another may give, no event tells that the first was tried."""
    recorder = kernel(seed, zones=NODES, cpus=2, watermarks=False, warm=60)
    for _ in range(200):
        cpu = recorder.rng.randrange(2)
        recorder.act(
            cpu,
            node=cpu if recorder.rng.random() < 0.8 else 1 - cpu,
            gfps=[f"{gfp}|__GFP_THISNODE" for gfp in GFPS[:4]],
        )
    result = assert_exact(recorder)
    assert result.as_dict()["hints_used"]["node"] == result.as_dict()["requests"]


@given(seed=SEEDS, placement=st.sampled_from(["in-page", "in-words", "one-word"]))
def test_every_placement_gives_the_same_frames(seed, placement):
    """One word has no room for the type of a waiting huge page, so there are none for it."""
    orders = [order for order in ORDERS if order != 9 or placement != "one-word"]
    recorder = kernel(seed, orders=orders)
    for _ in range(200):
        recorder.act(orders=orders)
    assert_exact(recorder, placement=placement)


@given(seed=SEEDS)
def test_what_kmem_events_show_is_enough_where_nothing_is_hidden(seed):
    recorder = kernel(seed)
    for _ in range(200):
        recorder.act_openly()
    result = assert_exact(recorder, requests="kmem")
    assert set(result.as_dict()["hints_used"]) <= {"retype"}


def free_heads(machine):
    """All free blocks: (PFN, order, type of their list)."""
    return [
        (pfn, order, mt)
        for zone in machine.zones
        for order in range(machine.max_order + 1)
        for mt in range(TYPES)
        for pfn in machine.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)
    ]


@given(seed=SEEDS)
def test_blocks_that_a_search_took_and_put_back(seed):
    """Each block is of another pageblock than the one before, so each may have been found by a search of a list."""
    recorder = kernel(seed, watermarks=False)
    before, taken = -1, []
    for step in range(150):
        recorder.act()
        if step % 10 == 0:
            choice = [one for one in free_heads(recorder.machine) if one[0] // BLOCK != before]
            pfn, order, mt = recorder.rng.choice(choice)
            turn = mt == MOVABLE and was_searched(recorder.machine.machine, pfn, order)
            if recorder.isolate(pfn, turn=turn) >= 0:
                taken.append((pfn, order, mt))
                before = pfn // BLOCK
        if step % 25 == 24 and taken:
            pfn, order, mt = taken.pop(0)
            recorder.put_back(pfn, order, mt)
    result = assert_exact(recorder)
    assert result.as_dict()["hints_used"]["isolate"] >= len(taken)


@given(seed=SEEDS)
def test_pageblocks_that_a_scan_took_and_gave_out(seed):
    """Blocks taken in ascending order leave the lists as they are; what was taken is split, and freed page by page."""
    recorder = kernel(seed, watermarks=False)
    core = recorder.machine.machine
    for _ in range(6):
        for _ in range(25):
            recorder.act()
        blocks = {}
        for pfn, order, mt in sorted(free_heads(recorder.machine)):
            blocks.setdefault(pfn // BLOCK, []).append((pfn, order, mt))
        scanned = [block for block in blocks.values() if not was_searched(core, *block[0][:2])]
        if not scanned:
            continue
        taken = []
        for pfn, order, mt in recorder.rng.choice(scanned):
            if recorder.isolate(pfn) >= 0:
                taken.append((pfn, order, mt))
        for pfn, order, mt in taken:
            if order < 4 and recorder.rng.random() < 0.5:
                recorder.live[pfn] = order
                if order:
                    recorder.split(pfn, 0)
            else:
                recorder.put_back(pfn, order, mt)
    assert_exact(recorder)


def test_a_bulk_allocation_of_one_page_is_an_ordinary_one():
    recorder = kernel(1)
    recorder.bulk(1, "GFP_KERNEL")
    recorder.bulk(3, "GFP_KERNEL")
    result = assert_exact(recorder)
    assert result.as_dict()["requests"] == 1
    assert result.as_dict()["hints_used"] == {"bulk": 1}


@pytest.mark.parametrize("requests", ["hints", "kmem"])
def test_a_trace_in_which_nothing_was_asked(requests):
    result = assert_exact(kernel(1), requests=requests)
    assert len(result.predictions) == len(result.exact) == 0


@given(seed=SEEDS, zones=st.sampled_from([None, ONE, THREE, NODES]), cpus=st.integers(1, 3))
def test_the_machine_begins_as_the_kernel_was(seed, zones, cpus):
    recorder = kernel(seed, zones=zones, cpus=cpus)
    for zone in recorder.machine.zones:
        recorder.machine.set_zone(zone.name, zone.node, boost=recorder.rng.randint(0, 600))
    recorder.begin()
    assert whole_state(machine_of(recorder.capture(), engine="plain")) == whole_state(recorder.machine)


def test_what_waits_to_be_freed_to_another_type_is_not_identical():
    recorder = kernel(2)
    recorder.free(recorder.alloc(0, "GFP_KERNEL"))
    capture = recorder.capture()
    for zone in capture.after["nodes"][0]["zones"]:
        for types in zone["pcp"][0]["mt"]:
            types[:1] = [2 for _ in types[:1]]
    figures = replay_capture(capture, engine="plain").as_dict()
    assert figures["exact"] == figures["requests"]
    assert figures["final_lists_identical"]
    assert not figures["final_pcp_identical"]
