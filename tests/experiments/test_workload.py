"""`Workload`: a capture's memory as its first request found it."""

import re

import numpy as np
import pytest

from structpage.errors import InvalidArgument
from structpage.experiments.workload import Workload, frames_of
from structpage.traces import open_workload


@pytest.fixture(scope="module")
def work():
    return Workload.load("mixed", limit=100)


def test_lists_start_in_the_recorded_order(work):
    before = open_workload("mixed").before
    buddy = work.allocator("side-table")
    for zone, recorded in zip(buddy.zones, before["nodes"][0]["zones"], strict=True):
        assert zone.name == recorded["name"]
        for area in recorded["free_area"]:
            kinds = [area["lists"].get(kind, []) for kind in ("Unmovable", "Movable", "Reclaimable")]
            expected = [pfn for kind in kinds for pfn in kind]
            listed = buddy.free_list(area["order"], zone=zone.name)
            loose = {pfn for pfn, _, _ in work.loose}
            known = [pfn for pfn in listed if pfn in set(expected)]
            assert known == [pfn for pfn in expected if pfn in set(listed)]
            assert len(expected) - len(known) <= len(loose)


def test_per_cpu_pages_are_free_too(work):
    before = open_workload("mixed").before
    zones = before["nodes"][0]["zones"]
    listed = sum(zone["free_pages_from_lists"] for zone in zones)
    loose = sum(1 << order for _, order, _ in work.loose)
    assert loose > 0
    assert work.allocator("in-words").free_frames == listed + loose


def test_the_start_is_sound_in_every_placement(work):
    for placement in ("side-table", "in-page", "in-words", "one-word"):
        work.allocator(placement).check()


def test_the_whole_capture_replays_and_nothing_is_dropped():
    work = Workload.load("mixed")
    counts = work.counts
    recorded = open_workload("mixed").events.counts()
    assert counts["allocations"] == recorded["mm_page_alloc"]
    assert counts["frees"] + counts["releases"] + counts["foreign"] >= recorded["mm_page_free"]
    replay = work.allocator("in-words").replay(work.requests)
    assert replay.failures == 0
    assert len(replay.pfns) == counts["allocations"]
    assert len(np.unique(work.requests.slot[work.requests.kind == 0])) == work.requests.slots


@pytest.mark.parametrize(("size", "frames"), [("4096", 1), ("512M", 131072), ("1GiB", 262144), (8192, 2), ("4k", 1)])
def test_sizes(size, frames):
    assert frames_of(size) == frames


@pytest.mark.parametrize("size", ["", "4 apples", "-1", "1.5G"])
def test_a_size_is_a_number_and_a_unit(size):
    message = f"memory must be a size such as 512M or 4G, not {size!r}"
    with pytest.raises(InvalidArgument, match=f"^{re.escape(message)}$"):
        frames_of(size)


def test_memory_of_zero_frames():
    with pytest.raises(InvalidArgument, match=r"^memory in bytes must be at least 4096, not 0$"):
        frames_of("0")
