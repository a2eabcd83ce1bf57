import json
import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_capture import LISTS
from trace_text import ALLOC, FREE, PREFIX, read, trace_lines

from structpage.errors import LimitExceeded, TraceError
from structpage.traces import Capture, Events, load, save
from structpage.traces.archive import load_lists, stream_pages
from structpage.traces.packing import pack, unpack
from structpage.traces.pairing import PageEvents

MIXED = read(ALLOC + FREE + PREFIX + "steal: (f+0x0/0x1) zone=0xffff88811ffd4c00 x=a\n" + "rubbish\n" + FREE)
PARTS = {"name": "n", "kernel": "6.1", "meta": {"a": [1, None]}, "before": LISTS, "after": LISTS}
CAPTURE = Capture(**PARTS, proc={"before/x": "ü\0"}, probes="p", events=MIXED)

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@given(
    st.sampled_from([np.int8, np.int32, np.int64, np.uint8, np.uint16, np.uint32]).flatmap(
        lambda dtype: arrays(dtype, st.integers(0, 20))
    )
)
def test_packing_gives_every_column_back(column):
    packed = pack(column)
    assert packed.dtype == np.uint8
    found = unpack(packed, column.dtype)
    assert found.dtype == column.dtype
    assert found.tolist() == column.tolist()


def test_a_packed_column_is_as_wide_as_its_largest_number():
    assert pack(np.array([5, 6, 7], np.int64)).shape == (1, 3)
    assert pack(np.zeros(3, np.int64)).shape == (0, 3)
    assert pack(np.array([0, 300], np.uint32)).shape == (2, 2)


def test_a_column_wider_than_its_dtype_is_refused():
    with pytest.raises(TraceError, match=r"^packed column must be of at most 1 bytes a row, not 2$"):
        unpack(np.zeros((2, 3), np.uint8), np.dtype(np.int8))


@SHARED
@given(lines=st.sampled_from(["us", "counter"]).flatmap(lambda clock: trace_lines(clock=clock)))
def test_a_trace_is_saved_exactly(tmp_path, lines):
    events = read("CPU:0 [LOST EVENTS]\nrubbish\n" + "".join(lines))
    save(tmp_path / "t.npz", events)
    assert events.equals(load(tmp_path / "t.npz"))


def test_a_trace_without_events_is_saved_exactly(tmp_path):
    save(tmp_path / "t.npz", MIXED[2:2])
    assert MIXED[2:2].equals(load(tmp_path / "t.npz"))


def test_a_capture_is_saved_exactly(tmp_path):
    save(tmp_path / "c.npz", CAPTURE)
    found = load(tmp_path / "c.npz")
    assert isinstance(found, Capture)
    assert found.events.equals(CAPTURE.events)
    for name in ("name", "kernel", "meta", "before", "after", "proc", "probes"):
        assert getattr(found, name) == getattr(CAPTURE, name)


def test_the_same_trace_gives_the_same_file_that_numpy_reads(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, CAPTURE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        assert json.loads(archive["header"].tobytes())["format"] == "structpage trace"
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.uint8)}


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    save(path, MIXED)

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", lambda number: fail(None, None))
    with pytest.raises(OSError, match="disk full"):
        save(path, CAPTURE)
    assert [file.name for file in tmp_path.iterdir()] == ["c.npz"]
    assert MIXED.equals(load(path))


def test_too_large_a_trace_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("structpage.traces.archive.MAX_BYTES", 100)
    with pytest.raises(LimitExceeded, match=r"^trace to save must be of at most 100 bytes, not \d+$"):
        save(tmp_path / "x", MIXED)
    assert list(tmp_path.iterdir()) == []


def members(data):
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array):
    stream = BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def write(path, parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def good(tmp_path):
    save(tmp_path / "good.npz", CAPTURE)
    return members((tmp_path / "good.npz").read_bytes())


def header(good, **changes):
    found = json.loads(np.load(BytesIO(good["header.npy"])).tobytes())
    return npy(np.frombuffer(json.dumps(found | changes).encode(), np.uint8))


def refused(tmp_path, parts):
    with pytest.raises(TraceError) as caught:
        load(write(tmp_path / "bad.npz", parts))
    return str(caught.value)


def test_other_formats_and_versions(tmp_path, good):
    expected = "file bad.npz: format must be 'structpage trace', version 1, not 'structpage trace', version 2"
    assert refused(tmp_path, good | {"header.npy": header(good, version=2)}) == expected
    expected = "file bad.npz: archive must be one with a member header, not x.npy"
    assert refused(tmp_path, {"x.npy": npy([1])}) == expected


MISFITS = [
    np.zeros((1, 3), np.uint8),
    np.zeros((9, 4), np.uint8),
    np.zeros((1, 4), np.int8),
    np.zeros(4, np.uint8),
    np.array([[None]]),
    np.full((1, 4), 255, np.uint8),
]


@pytest.mark.parametrize("name", ["c0.npy", "c5.npy", "d0.1.npy"])
@pytest.mark.parametrize("array", MISFITS)
def test_columns_that_do_not_fit(tmp_path, good, name, array):
    if name != "c0.npy" and array.size and array.flat[0] == 255:
        array = array[:, :3]
    assert refused(tmp_path, good | {name: npy(array)}).startswith("file bad.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 1 << 60},
        {"rows": -1},
        {"rows": "4"},
        {"kinds": 5},
        {"kinds": [1, 2]},
        {"contexts": []},
        {"strings": []},
        {"details": [["steal", 1 << 50, [["event", "<i8"]]]]},
        {"details": [["steal", 1, [["event", "|O"]]]]},
        {"details": [["steal", 1, []]]},
        {"details": 5},
    ],
)
def test_headers_that_do_not_fit(tmp_path, good, changes):
    assert refused(tmp_path, good | {"header.npy": header(good, **changes)}).startswith("file bad.npz")


@pytest.mark.parametrize("rows", [-1, 1 << 60, "4", 4.0, True])
def test_a_number_of_rows_that_cannot_be(tmp_path, good, rows):
    expected = f"file bad.npz: rows must be a number up to {(1 << 31) // 34}, not {rows!r}"
    assert refused(tmp_path, good | {"header.npy": header(good, rows=rows)}) == expected


def test_an_absurd_shape_allocates_nothing(tmp_path, good):
    data = npy(np.zeros((1, 4), np.uint8)).replace(b"(1, 4)", b"(1, 4000000000000)".ljust(6))
    assert refused(tmp_path, good | {"c0.npy": data}).startswith("file bad.npz")


def test_missing_members_and_pieces(tmp_path, good):
    for name in good:
        if name != "capture.npy":
            rest = {key: data for key, data in good.items() if key != name}
            assert refused(tmp_path, rest).startswith("file bad.npz")
    parts = {name: getattr(CAPTURE, name) for name in ("name", "kernel", "meta", "before", "after", "proc", "probes")}
    for name in parts:
        for wrong in (parts | {name: 3}, {key: value for key, value in parts.items() if key != name}):
            data = npy(np.frombuffer(json.dumps(wrong).encode(), np.uint8))
            assert refused(tmp_path, good | {"capture.npy": data}).startswith("file bad.npz")


def test_damage_anywhere_is_typed(tmp_path):
    path = tmp_path / "t.npz"
    save(path, MIXED)
    data = path.read_bytes()
    for end in range(0, len(data), 3):
        path.write_bytes(data[:end])
        with pytest.raises(TraceError, match=r"^file t.npz"):
            load(path)
    for place in range(0, len(data), 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = load(path)
        except TraceError:
            continue
        assert isinstance(found, Events)


@SHARED
@given(data=st.binary(max_size=200))
def test_random_bytes_are_typed(tmp_path, data):
    (tmp_path / "t.npz").write_bytes(data)
    for reader in (load, load_lists, lambda path: list(stream_pages(path, 2))):
        with pytest.raises(TraceError, match=r"^file t.npz"):
            reader(tmp_path / "t.npz")


def test_lists_and_pages_are_those_of_the_whole(tmp_path):
    for name, trace, lists in (("c", CAPTURE, LISTS), ("t", MIXED, None)):
        save(tmp_path / name, trace)
        assert load_lists(tmp_path / name) == lists
        for rows in (1, 2, 100):
            parts = list(stream_pages(tmp_path / name, rows))
            assert [len(part.pfn) for part in parts[:-1]] == [rows] * (len(parts) - 1)
            for column in PageEvents._fields:
                joined = np.concatenate([getattr(part, column) for part in parts])
                assert joined.dtype == getattr(MIXED, column).dtype
                assert joined.tolist() == getattr(MIXED, column).tolist()


@pytest.mark.parametrize("array", MISFITS)
def test_pages_that_do_not_fit(tmp_path, good, array):
    path = write(tmp_path / "bad.npz", good | {"c5.npy": npy(array)})
    if array.size and array.flat[0] == 255:
        assert next(stream_pages(path, 9)).pfn.tolist() == [-128, -256, -384, -512]
        return
    with pytest.raises(TraceError, match=r"^file bad.npz: "):
        list(stream_pages(path, 9))


def test_damage_of_pages_is_typed(tmp_path):
    path = tmp_path / "t.npz"
    save(path, MIXED)
    data = path.read_bytes()
    for place in range(0, len(data), 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            rows = sum(len(part.pfn) for part in stream_pages(path, 3))
        except TraceError:
            continue
        assert rows == len(MIXED)
