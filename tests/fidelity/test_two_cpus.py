"""Several CPUs at one zone's lock: the order of what they log, and the order in which they got it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from machine_helpers import whole_state
from recorded_cpus import Interleaved, two_cpus

from structpage.core.linux import script
from structpage.fidelity import replay_capture
from structpage.fidelity.asked import asked_of
from structpage.fidelity.follow import follow
from structpage.fidelity.order import begun_order, is_counted
from structpage.fidelity.start import machine_of
from structpage.traces import read_trace

SEEDS = st.integers(0, 10**6)


def recorded(seed, *, prompt, requests=300):
    recorder = two_cpus(seed)
    Interleaved(recorder, prompt=prompt).run(requests)
    return recorder


def misses_as_logged(capture):
    """How many requests go wrong in the order of the trace."""
    asked = asked_of(capture, "hints", "plain")
    return len(follow(machine_of(capture, engine="plain"), asked, capture.events).misses)


@given(seed=SEEDS)
def test_the_order_of_the_latest_ticks_is_that_of_the_lock(seed):
    recorder = recorded(seed, prompt=True)
    result = replay_capture(recorder.capture(), engine="plain")
    assert result.followed.stories == []
    assert whole_state(result.machine) == whole_state(recorder.machine)


def test_the_order_of_the_trace_is_not_that_of_the_lock():
    assert sum(misses_as_logged(recorded(seed, prompt=True).capture()) for seed in range(5)) > 5


@given(seed=SEEDS)
def test_no_more_go_wrong_than_depend_on_an_order_not_told(seed):
    recorder = recorded(seed, prompt=False)
    result = replay_capture(recorder.capture(), engine="plain")
    assert np.count_nonzero(~result.exact) <= result.ambiguous <= len(result.exact)
    assert result.as_dict()["final_pcp_identical"]
    result.machine.check()


@given(seed=SEEDS)
def test_each_cpus_requests_stay_in_their_order(seed):
    capture = recorded(seed, prompt=False).capture()
    rows = replay_capture(capture, engine="plain").asked.rows
    for cpu in (0, 1):
        assert (np.diff(rows.event[capture.events.cpu[rows.event] == cpu]) >= 0).all()
    assert sorted(rows.event.tolist()) == np.sort(asked_of(capture, "hints", "plain").rows.event).tolist()


def test_nothing_is_ambiguous_where_one_cpu_waits_for_the_other():
    """A trace whose CPUs take turns of their own, each a request before and after that needs no lock."""
    recorder = two_cpus(3, high=1000)
    for turn in range(40):
        cpu = turn % 2
        quiet = recorder.alloc(0, "GFP_KERNEL", cpu)
        recorder.free(recorder.alloc(5, "GFP_KERNEL", cpu), cpu)
        recorder.free(quiet, cpu)
    result = replay_capture(recorder.capture(), engine="plain")
    assert (result.followed.misses, result.ambiguous) == ([], 0)


def test_what_one_cpu_does_is_not_put_in_another_order():
    recorder = two_cpus(4)
    for _ in range(150):
        recorder.act()
    capture = recorder.capture()
    assert not is_counted(capture.events)
    result = replay_capture(capture, engine="plain")
    assert (np.diff(result.asked.rows.event) >= 0).all()
    assert (result.followed.misses, result.ambiguous) == ([], 0)


def test_a_clock_of_time_tells_no_order():
    events = recorded(5, prompt=True).capture().events
    assert is_counted(events)
    assert not is_counted(replace(events, clock="us"))


def test_an_allocation_of_many_records_began_before_what_was_logged_among_them():
    """CPU 0 frees at tick 12, while CPU 1, whose three records and answer are 11, 13, 14 and 15, held the lock."""
    lines = [
        (1, 11, "mm_page_alloc_zone_locked: page=1 pfn=0x10 order=0 migratetype=0 percpu_refill=1"),
        (0, 12, "mm_page_free: page=1 pfn=0x20 order=5"),
        (1, 13, "mm_page_alloc_zone_locked: page=1 pfn=0x11 order=0 migratetype=0 percpu_refill=1"),
        (1, 14, "mm_page_alloc_zone_locked: page=1 pfn=0x12 order=0 migratetype=0 percpu_refill=1"),
        (1, 15, "mm_page_alloc: page=1 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL"),
    ]
    capture = capture_of(lines)
    rows = asked_of(capture, "hints", "plain").rows
    assert rows.kind.tolist() == [script.FREE, script.ALLOC]
    assert begun_order(capture.events, rows, np.array([0, 3])).tolist() == [1, 0]
    assert begun_order(capture.events, rows, np.array([0, 2])).tolist() == [0, 1]


def test_a_prediction_of_too_many_records_moves_nothing_before_its_own_cpus_requests():
    lines = [
        (1, 11, "mm_page_free: page=1 pfn=0x20 order=5"),
        (0, 12, "mm_page_free: page=1 pfn=0x40 order=5"),
        (1, 13, "mm_page_alloc: page=1 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL"),
    ]
    capture = capture_of(lines)
    rows = asked_of(capture, "hints", "plain").rows
    assert begun_order(capture.events, rows, np.array([0, 0, 9])).tolist() == [0, 2, 1]


def test_calls_of_two_cpus_that_cross_each_return_to_their_own():
    lines = [
        (0, 11, "bulk: (a+0x0/0x1) gfp=0xcc0 nid=0 n=4"),
        (1, 12, "bulk: (a+0x0/0x1) gfp=0x100cca nid=0 n=7"),
        (0, 13, "bulk_r: (a+0x0/0x1 <- __alloc_pages_bulk) n=4"),
        (1, 14, "bulk_r: (a+0x0/0x1 <- __alloc_pages_bulk) n=7"),
    ]
    assert bulk_calls(lines) == [(4, 0xCC0, 0), (7, 0x100CCA, 1)]


def test_a_return_whose_call_was_before_the_trace_is_nobodys():
    lines = [
        (0, 11, "bulk_r: (a+0x0/0x1 <- __alloc_pages_bulk) n=3"),
        (0, 12, "bulk: (a+0x0/0x1) gfp=0xcc0 nid=0 n=4"),
        (0, 13, "bulk_r: (a+0x0/0x1 <- __alloc_pages_bulk) n=4"),
        (0, 14, "bulk: (a+0x0/0x1) gfp=0xcc0 nid=0 n=5"),
    ]
    assert bulk_calls(lines) == [(4, 0xCC0, 0)]


def bulk_calls(lines):
    """What the bulk rows of a trace ask for: pages, gfp, CPU."""
    rows = asked_of(capture_of(lines), "hints", "plain").rows
    assert (rows.kind == script.BULK).all()
    return list(zip(rows.order.tolist(), rows.at.tolist(), rows.cpu.tolist(), strict=True))


def capture_of(lines):
    """A capture of these lines: CPU, tick, and what happened; each CPU runs a task of its own."""
    text = "".join(f"  init-{7 + cpu} [{cpu:03}] .....   {time}: {what}\n" for cpu, time, what in lines)
    return replace(two_cpus(1).capture(), events=read_trace(io.BytesIO(text.encode())))
