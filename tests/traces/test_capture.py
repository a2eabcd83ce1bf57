import json
import lzma

import pytest
from trace_text import ALLOC, FREE, PREFIX, capture_folder

from structpage.errors import TraceError
from structpage.traces import read_capture
from structpage.traces.capture import free_blocks, kernel_version, pcp_order, zone_spans

ZONE = {
    "name": "DMA32",
    "idx": 1,
    "start_pfn": 1024,
    "spanned": 2048,
    "free_area": [{"order": 0, "lists": {"Movable": [1030]}}, {"order": 10, "lists": {"Unmovable": [2048]}}],
    "pcp": [{"cpu": 0, "lists": [[1031], [], [], [1032]] + [[]] * 8 + [[], [1536]]}],
    "pageblock_first": 2,
    "pageblocks": [0, 2, 1, None],
}
LISTS = {"nodes": [{"node": 0, "zones": [ZONE]}]}


def mark(text):
    return PREFIX + f"tracing_mark_write: {text}\n"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tiny"
    (path / "before").mkdir(parents=True)
    (path / "before" / "vmstat").write_text("nr_free_pages 5\n")
    (path / "meta.json").write_text(json.dumps({"kernel": "Debian linux-image-6.1.0-56-amd64 6.1.192-2"}))
    (path / "kprobe_events").write_text("p:px/steal steal\n")
    for when in ("before", "after"):
        (path / f"freelists_{when}.json.xz").write_bytes(lzma.compress(json.dumps(LISTS).encode()))
    trace = FREE + mark("ORACLE STOP0") + mark("ORACLE RESUME0") + ALLOC + mark("ORACLE STOP1") + FREE
    (path / "trace.txt").write_text(trace)
    return path


def test_a_capture_is_the_window_between_the_marks_and_all_texts(folder):
    capture = read_capture(folder)
    assert (capture.name, capture.kernel, capture.probes) == ("tiny", "6.1.192", "p:px/steal steal\n")
    assert capture.events.counts() == {"tracing_mark_write": 1, "mm_page_alloc": 1}
    assert capture.events.texts("tracing_mark_write", "text") == ["ORACLE RESUME0"]
    assert capture.before == capture.after == LISTS
    assert capture.proc == {"before/vmstat": "nr_free_pages 5\n"}
    assert repr(capture) == "<Capture tiny of Linux 6.1.192, <Events 2 of 2 kinds, clock us>>"


def test_blocks_and_spans_of_free_lists():
    assert list(free_blocks(LISTS)) == [(1030, 0), (2048, 10), (1031, 0), (1032, 1), (1536, 9)]
    assert zone_spans(LISTS) == [("DMA32", 1024, 3072)]
    assert [pcp_order(index, 14) for index in range(14)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 9, 9]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Debian linux-image-6.1.0-56-cloud-amd64 6.1.192-2", "6.1.192"),
        ("Linux version 6.12.3 (x@y) (gcc 12)", "6.12.3"),
        ("7.3.4", "7.3.4"),
        ("unknown", ""),
    ],
)
def test_kernel_versions(text, version):
    assert kernel_version({"kernel": text}, {}) == version
    assert kernel_version({}, {"proc/version": text}) == version


@pytest.mark.parametrize("name", ["meta.json", "trace.txt", "freelists_before.json", "freelists_after.json"])
def test_a_missing_file_is_named(folder, name):
    next(path for path in folder.iterdir() if path.name.startswith(name)).unlink()
    with pytest.raises(TraceError, match=rf"^capture tiny must be a folder with {name}, not one that has \w"):
        read_capture(folder)


def test_paths_that_are_no_folders(folder):
    with pytest.raises(
        TraceError, match=r"^capture x must be a folder with meta.json, not a path that does not exist$"
    ):
        read_capture(folder / "x")
    with pytest.raises(TraceError, match=r"^capture meta.json must be a folder with meta.json, not a file$"):
        read_capture(folder / "meta.json")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json(folder, data):
    (folder / "meta.json").write_bytes(data)
    with pytest.raises(TraceError, match=r"^file tiny/meta.json must be JSON, not damaged \("):
        read_capture(folder)


def test_truncated_lists(folder):
    path = folder / "freelists_after.json.xz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TraceError, match=r"^file tiny/freelists_after.json.xz must be JSON, not damaged \("):
        read_capture(folder)


def test_json_of_another_kind(folder):
    (folder / "meta.json").write_text("[1]")
    with pytest.raises(TraceError, match=r"^file tiny/meta.json must be a JSON object, not list$"):
        read_capture(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"start_pfn": "1"},
        {"start_pfn": -1},
        {"spanned": 1 << 60},
        {"spanned": 1.5},
        {"free_area": None},
        {"free_area": [{"order": 0, "lists": []}]},
        {"free_area": [{"order": 64, "lists": {"Movable": [1]}}]},
        {"free_area": [{"order": 0, "lists": {"Movable": ["x"]}}]},
        {"free_area": [{"order": 0, "lists": {"Movable": [True]}}]},
        {"pcp": [{}]},
        {"pcp": 7},
    ],
)
def test_lists_of_the_wrong_shape(folder, change):
    lists = {"nodes": [{"zones": [ZONE | change]}]}
    (folder / "freelists_before.json.xz").write_bytes(lzma.compress(json.dumps(lists).encode()))
    rule = "free lists: nodes > zones > free_area and pcp"
    with pytest.raises(TraceError, match=rf"^file tiny/freelists_before.json must be {rule}, not one with \w+Error "):
        read_capture(folder)


def test_marks_must_be_there_in_order(folder):
    first, last = mark("ORACLE STOP0"), mark("ORACLE STOP1")
    (folder / "trace.txt").write_text(ALLOC + first)
    with pytest.raises(TraceError, match=r"^capture tiny must be a trace with the mark ORACLE STOP1, not one without$"):
        read_capture(folder)
    (folder / "trace.txt").write_text(ALLOC)
    with pytest.raises(TraceError, match=r"^capture tiny must be a trace with the mark ORACLE STOP0, not one without$"):
        read_capture(folder)
    (folder / "trace.txt").write_text(last + ALLOC + first)
    with pytest.raises(
        TraceError, match=r"^capture tiny must be a trace with its marks in order, not ORACLE STOP1 first$"
    ):
        read_capture(folder)


def test_a_boot_capture_has_no_trace():
    with pytest.raises(TraceError, match=r"^capture boot_61_256 must be a folder with trace.txt, not one that has "):
        read_capture(capture_folder("boot_61_256"))


def test_a_recorded_capture():
    capture = read_capture(capture_folder("slab"))
    assert (capture.kernel, capture.meta["workload"]) == ("6.1.192", "slab")
    free = sum(1 << order for _, order in free_blocks(capture.before))
    pcp = sum(cpu["count"] for zone in capture.before["nodes"][0]["zones"] for cpu in zone["pcp"])
    assert free == pcp + sum(zone["free_pages_from_lists"] for zone in capture.before["nodes"][0]["zones"])
