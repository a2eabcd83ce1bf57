import bz2
import gzip
import io
import tracemalloc
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_capture import folder as folder  # a fixture
from trace_text import ALLOC, FREE, PREFIX, capture_folder, read, said, trace_lines

from structpage.errors import InvalidArgument, TraceError, UnknownName
from structpage.request import ALLOC as ALLOCATE
from structpage.traces import open_workload, requests_from, save, stream_requests, stream_trace

TEXT = "".join(
    [
        "CPU:0 [LOST 3 EVENTS]\n",
        *(ALLOC.replace("0x101bc8 order=2", f"{4 * n:#x} order={n % 3}") for n in range(1, 60)),
        "rubbish\n",
        PREFIX + "steal: (f+0x0/0x1) zone=0x1 page=0x2 a=b\n",
        *(FREE.replace("0x101bc8 order=2", f"{4 * n:#x} order={n % 3}") for n in range(20, 60)),
        PREFIX + "steal: (f+0x0/0x1) zone=x page=0x3\n",
        "CPU:0 [LOST 2 EVENTS]\n",
        *(ALLOC.replace("0x101bc8 order=2", f"{4 * n:#x} order=0") for n in range(1, 30)),
    ]
)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("structpage.traces.decoding.BLOCK", 500)


def parts_of(text, **options):
    return list(stream_trace(io.BytesIO(text.encode()), **options))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("at_once", [1, 10, 40, 1000])
def test_the_parts_of_a_trace_are_the_trace(at_once):
    whole, parts = read(TEXT), parts_of(TEXT, at_once=at_once)
    assert [row for part in parts for row in said(part)] == said(whole)
    assert sum(part.lost for part in parts) == whole.lost == 5
    assert [part.first_bad_line for part in parts if part.bad_lines] == [whole.first_bad_line] == [61]
    assert sum(part.bad_lines for part in parts) == 1
    assert all(len(part) >= at_once for part in parts[:-1])
    assert len(parts) == 1 if at_once == 1000 else len(parts) > 3


@given(trace_lines(), st.integers(1, 5))
def test_a_part_has_its_details(lines, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("structpage.traces.decoding.BLOCK", 300)
        parts = parts_of("".join(lines), at_once=at_once, strict=True)
    assert [row for part in parts for row in said(part)] == [row for line in lines for row in said(read(line))]


@pytest.mark.usefixtures("small_blocks")
def test_what_follows_the_last_event_is_told():
    first, *_, last = parts_of(ALLOC * 40 + "rubbish\n" * 200 + "end", at_once=40)
    assert (len(first), len(last)) == (40, 0)
    assert (first.bad_lines + last.bad_lines, first.first_bad_line) == (201, 41)
    assert len(parts_of(ALLOC * 40 + "# nothing\n" * 200, at_once=40)) == 1
    data = gzip.compress(TEXT.encode() * 4, mtime=0)
    *_, last = stream_trace(io.BytesIO(data[:-10]), at_once=10)
    assert len(last.notes) == 1


@pytest.mark.usefixtures("small_blocks")
def test_the_clock_is_that_of_the_first_event_of_all():
    parts = parts_of(ALLOC * 40 + FREE.replace("8.822809", "8822809") * 40, at_once=1)
    assert {part.clock for part in parts} == {"us"}
    assert sum(part.bad_lines for part in parts) == 40


def test_a_stream_without_events_is_refused():
    with pytest.raises(TraceError, match=r"^trace trace must be text of ftrace, .*, not a file of 1 lines without an"):
        parts_of("rubbish\n", at_once=1)
    with pytest.raises(InvalidArgument, match=r"^at_once must be at least 1, not 0$"):
        stream_trace(io.BytesIO(), at_once=0)


def joined(chunks):
    """All rows but slots; the rows with each slot as the number of the allocation it names; the counters."""
    chunks = list(chunks)
    columns = [
        np.concatenate(column).tolist() for column in zip(*((*c.columns(), c.event) for c in chunks), strict=True)
    ]
    kinds, slots = columns[0], columns.pop(2)
    owner, count, names = {-1: -1}, 0, []
    for kind, slot in zip(kinds, slots, strict=True):
        if kind == ALLOCATE:
            owner[slot] = count
            count += 1
        names.append(owner[slot])
    counters = [sum(getattr(c, name) for c in chunks) for name in ("foreign", "failed", "reallocated", "misaligned")]
    return columns, names, counters


def agree(source, whole, **options):
    whole = requests_from(whole, engine="plain")
    chunks = list(stream_requests(source, engine="plain", **options))
    assert joined(chunks) == joined([whole])
    assert chunks[-1].memory_frames == whole.memory_frames
    return chunks


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("at_once", [1, 7, 50, 5000])
def test_streamed_requests_of_a_trace_are_its_requests(tmp_path, at_once):
    events = read(TEXT)
    for name, data in (
        ("t", TEXT.encode()),
        ("t.gz", gzip.compress(TEXT.encode())),
        ("t.bz2", bz2.compress(TEXT.encode())),
    ):
        (tmp_path / name).write_bytes(data)
        agree(tmp_path / name, events, at_once=at_once)
    save(tmp_path / "t.npz", events)
    for source in (tmp_path / "t.npz", str(tmp_path / "t.npz"), events, stream_trace(tmp_path / "t", at_once=9)):
        chunks = agree(source, events, at_once=at_once)
        assert all(len(chunk) <= at_once + 2 for chunk in chunks)
        assert max(chunk.slots for chunk in chunks) < requests_from(events).slots
        assert len(chunks) >= len(events) // (2 * at_once)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("at_once", [3, 1000])
def test_streamed_requests_of_a_capture_are_its_requests(folder, tmp_path, at_once):
    marks = [PREFIX + f"tracing_mark_write: ORACLE STOP{n}\n" for n in range(2)]
    frees = [FREE.replace("0x101bc8 order=2", f"{pfn:#x} order=0") for pfn in range(1024, 1100)]
    (folder / "trace.txt").write_text(FREE * 20 + marks[0] + "".join(frees) + TEXT + marks[0] + TEXT + marks[1] + FREE)
    capture = open_workload(folder)
    save(tmp_path / "c.npz", capture)
    for source in (folder, tmp_path / "c.npz", capture):
        chunks = agree(source, capture, at_once=at_once)
        assert sum(chunk.releases for chunk in chunks) > 60
        assert chunks[0].memory_frames == 3072


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{0}" + ALLOC * 9, "a trace with the mark ORACLE STOP1, not one without"),
        (ALLOC * 9, "a trace with the mark ORACLE STOP0, not one without"),
        (ALLOC * 9 + "{1}" + ALLOC * 9 + "{0}", "a trace with its marks in order, not ORACLE STOP1 first"),
    ],
)
def test_a_streamed_capture_has_both_marks(folder, text, found):
    marks = [PREFIX + f"tracing_mark_write: ORACLE STOP{n}\n" for n in range(2)]
    (folder / "trace.txt").write_text(text.format(*marks))
    with pytest.raises(TraceError) as caught:
        list(stream_requests(folder, at_once=2, engine="plain"))
    assert str(caught.value) == f"capture tiny must be {found}"


def test_a_shipped_capture_streams():
    first = next(stream_requests("mixed", at_once=100, engine="plain"))
    assert len(first) > 50
    assert first.memory_frames == requests_from(open_workload("mixed"), limit=1).memory_frames


def test_a_recorded_folder_streams_as_its_archive():
    streams = (stream_requests(source, at_once=500, engine="plain") for source in (capture_folder("mixed"), "mixed"))
    folder, archive = (islice(stream, 20) for stream in streams)
    assert joined(folder) == joined(archive)


def test_what_cannot_be_streamed(tmp_path):
    with pytest.raises(UnknownName, match=r"^workload must be an existing path or one of mixed, not 'none'$"):
        stream_requests("none")
    with pytest.raises(InvalidArgument, match=r"^at_once must be at least 1, not 0$"):
        stream_requests("mixed", at_once=0)
    (tmp_path / "x.npz").write_bytes(b"hello")
    with pytest.raises(TraceError, match=r"^file x.npz must be a .npz file of a trace, not a damaged or foreign one"):
        stream_requests(tmp_path / "x.npz")
    (tmp_path / "x").write_bytes(b"hello\n")
    with pytest.raises(TraceError, match=r"^trace x must be text of ftrace"):
        next(stream_requests(tmp_path / "x"))


def test_damage_of_an_archive_is_typed_when_it_is_reached(tmp_path):
    path = tmp_path / "t.npz"
    rng = np.random.default_rng(1)
    events = read(ALLOC * 60_000)
    save(path, replace(events, pfn=rng.integers(0, 1 << 30, len(events))))
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 0xFF
    path.write_bytes(data)
    stream = stream_requests(path, at_once=100, engine="plain")
    assert len(next(stream)) > 0
    with pytest.raises(TraceError, match=r"^file t.npz"):
        list(stream)


def churn(rows):
    """The text of a trace of so many events, of few blocks."""
    lines = []
    for n in range(rows // 2):
        pfn = f"{8 * (n % 8 + 1):#x} order={n % 4}"
        lines += [ALLOC.replace("0x101bc8 order=2", pfn), FREE.replace("0x101bc8 order=2", pfn)]
    return "".join(lines)


def peak(path):
    """Most bytes in use while the requests of a file are made, beyond those in use before."""
    tracemalloc.start()
    try:
        rows = sum(map(len, stream_requests(path, at_once=500, engine="plain")))
        return rows, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gz", "npz"])
def test_memory_does_not_grow_with_the_trace(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("structpage.traces.decoding.BLOCK", 1 << 14)
    sizes, found = (500, 8000, 32_000), []  # the first is not compared: what is imported stays
    for rows in sizes:
        path, text = tmp_path / f"{rows}.{kind}", churn(rows)
        if kind == "npz":
            save(path, read(text))
        else:
            path.write_bytes(gzip.compress(text.encode()))
        found.append(peak(path))
    assert [rows for rows, _ in found] == list(sizes)
    (_, small), (_, large) = found[1:]
    assert large < small + 4 * (32_000 - 8000)  # a whole trace takes 30 bytes an event, and 56 a request
