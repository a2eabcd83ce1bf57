"""The story of a miss: what was asked, predicted and recorded, where both frames were, and what touched them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from recorded_kernel import BLOCK, kernel

from structpage import Zone
from structpage.fidelity import replay_capture


def swapped(capture, order, name="Movable"):
    """The capture with the first two blocks of a list in the other order at its start; their PFNs."""
    before = copy.deepcopy(capture.before)
    pfns = before["nodes"][0]["zones"][0]["free_area"][order]["lists"][name]
    pfns[:2] = pfns[1::-1]
    return replace(capture, before=before), pfns[1], pfns[0]


def removed(pfn):
    return f"removed {pfn:#x} of order 4, Movable"


@pytest.fixture
def recorder():
    """Of one zone, in whose memory every other block of order 4 is free, and nothing waits on a CPU's lists."""
    recorder = kernel(
        1, zones=[Zone("Normal", BLOCK, 4 * BLOCK)], watermarks=False, batch=1, high=0, warm=0, holes=False
    )
    pfns = [recorder.alloc(4, "GFP_HIGHUSER_MOVABLE") for _ in range(3 * BLOCK // 16)]
    for pfn in pfns[::2]:
        recorder.free(pfn)
    recorder.lines.clear()
    recorder.begin()
    return recorder


def test_two_blocks_of_a_list_in_the_other_order(recorder):
    pfn = recorder.alloc(4, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO")
    recorder.free(pfn)
    capture, first, second = swapped(recorder.capture(), 4)
    assert pfn == first
    result = replay_capture(capture, engine="plain")
    assert result.as_dict()["first_miss"] == 0
    story = result.followed.stories[0].splitlines()
    event = int(result.asked.rows.event[result.followed.misses[0]])
    time = capture.events.time[event]
    assert story[:3] == [
        f"allocation, event {event} at {time}: order 4, cpu 0, GFP_HIGHUSER_MOVABLE|__GFP_ZERO",
        f"  answer: predicted {second:#x}, recorded {first:#x}",
        f"  record 0: predicted {removed(second)}, recorded {removed(first)}",
    ]
    listed = [line for line in story if line.startswith("  frame ")]
    lists = capture.before["nodes"][0]["zones"][0]["free_area"][4]["lists"]["Movable"]
    shown = " ".join(f"{other:#x}" for other in lists[:8]) + " ..."
    for line, frame in zip(listed, sorted((first, second)), strict=True):
        where = f"number {lists.index(frame)} of {len(lists)} on list Normal Movable order 4"
        assert line == f"  frame {frame:#x} before: free, block {frame:#x} of order 4, {where}: {shown}"


def test_what_touched_the_frames_before(recorder):
    first, second = recorder.machine.free_list(4, zone="Normal", migratetype=1)[:2]
    for _ in range(10):
        pfn = recorder.alloc(4, "GFP_HIGHUSER_MOVABLE")
        assert pfn == first
        recorder.free(pfn)
    recorder.machine.lists.remove(first)
    recorder.machine.lists.push_back(recorder.machine.core.orders * (2 << 3 | 1) + 4, first)
    assert recorder.machine.free_list(4, zone="Normal", migratetype=1)[0] == second
    recorder.alloc(4, "GFP_HIGHUSER_MOVABLE")
    capture = recorder.capture()
    result = replay_capture(capture, engine="plain")
    assert result.as_dict()["first_miss"] == 10
    story = result.followed.stories[0].splitlines()
    at = next(i for i, line in enumerate(story) if line.startswith(f"  frame {first:#x} before"))
    history = [line for line in story[at + 1 :] if line.startswith("    event ")]
    kinds = ("mm_page_alloc_zone_locked", "mm_page_alloc", "mm_page_free")
    last = len(capture.events) - 2
    assert history[:8] == [
        f"    event {event} at {capture.events.time[event]}, cpu 0: {kinds[(event - 1) % 3]} {first:#x} order 4"
        for event in range(last - 8, last)
    ]


def test_a_wrong_record_comes_before_the_first_wrong_answer():
    """A frame that waits on a CPU's list in the wrong place is drained first; only later is an answer wrong."""
    recorder = kernel(5, zones=[Zone("Normal", BLOCK, 4 * BLOCK)], watermarks=False, batch=2, high=6, warm=0)
    pfns = [recorder.alloc(0, "GFP_KERNEL") for _ in range(12)]
    for pfn in pfns[:5]:
        recorder.free(pfn)
    recorder.lines.clear()
    recorder.begin()
    for pfn in pfns[5:]:
        recorder.free(pfn)
    for _ in range(9):
        recorder.alloc(0, "GFP_KERNEL")
    capture = recorder.capture()
    before = copy.deepcopy(capture.before)
    waiting = before["nodes"][0]["zones"][0]["pcp"][0]["lists"][0]
    waiting[-1], waiting[-2] = waiting[-2], waiting[-1]
    result = replay_capture(replace(capture, before=before), engine="plain")
    story = result.followed.stories[0].splitlines()
    assert story[0].startswith("free, event ")
    assert story[1].startswith("  record 0: predicted drained ")
    place = [line for line in story if " before: block " in line]
    assert all("on per-CPU list 0 of cpu 0, zone Normal: " in line for line in place)
    assert len(place) == 2
    text = str(result)
    assert "the first request that did not go as recorded:\nfree, event " in text


def test_a_replay_without_a_miss_has_no_story(recorder):
    recorder.alloc(4, "GFP_HIGHUSER_MOVABLE")
    result = replay_capture(recorder.capture(), engine="plain")
    assert result.followed.stories == []
    assert "the first" not in str(result)
