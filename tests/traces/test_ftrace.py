import bz2
import gzip
import io
import lzma

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trace_text import ALLOC, FREE, PREFIX, capture_folder, changed, changes, read, render, said, trace_lines

from structpage.errors import InvalidArgument, TraceError
from structpage.traces import read_trace
from structpage.traces.capture import read_json
from structpage.traces.events import ABSENT, COLUMNS

RULE = "text of ftrace, trace-cmd report or perf script"


def row(events, number=0):
    context = events.contexts[events.context[number]]
    kind = events.kinds[events.kind[number]]
    columns = (events.time, events.cpu, events.pid, events.pfn, events.order, events.migratetype)
    return kind, context, *(int(column[number]) for column in columns)


def test_an_allocation_of_6_1():
    events = read("# tracer: nop\n#\n" + ALLOC, strict=True)
    assert row(events) == ("mm_page_alloc", "d..3.", 8822809, 0, 122, 0x101BC8, 2, 1)
    assert events.gfp.tolist() == [0x140DCA]
    assert (events.clock, events.details, events.bad_lines, events.lost) == ("us", {}, 0, 0)
    dtypes = "uint8 int64 int32 int32 uint16 int64 int8 int8 uint32"
    for name, dtype in zip(COLUMNS, dtypes.split(), strict=True):
        assert getattr(events, name).dtype == dtype


@pytest.mark.parametrize(
    ("head", "pid", "context"),
    [
        ("     kworker/0:2-45      [003] .....", 45, "....."),
        ("          <idle>-0       [003] d.h1.", 0, "d.h1."),
        ("     Web Content-123     [003] d..1", 123, "d..1"),
        ("            a-b-7 (   7) [003] .....", 7, "....."),
        ("            a-b-7 (-----) [003] .....", 7, "....."),
        ("      foo[1] [2]-9       [003] dNs5.", 9, "dNs5."),
        ("            bash-1234  [003]", 1234, ""),
        ("perf  6429 [003]", 6429, ""),
        ("my prog 6429/6430 [003]", 6429, ""),
    ],
)
def test_heads(head, pid, context):
    events = read(f"{head}  5280.610411: mm_page_free: page=0x1 pfn=0x42f00 order=3\n", strict=True)
    assert row(events) == ("mm_page_free", context, 5280610411, 3, pid, 0x42F00, 3, -1)


def test_counter_clock():
    text = "init-1 [001] .....   3: mm_page_free: page=1 pfn=0x1 order=0\n"
    events = read(text + text.replace("  3", " 25"), strict=True)
    assert (events.clock, events.time.tolist()) == ("counter", [3, 25])


def test_nanoseconds_are_rounded_down():
    assert read(ALLOC.replace("822809:", "822809999:")).time.tolist() == [8822809]


def test_a_time_stamp_of_the_other_clock_is_bad():
    events = read(ALLOC + FREE.replace("8.822809", "8822809") + FREE)
    assert (len(events), events.bad_lines, events.first_bad_line) == (2, 1, 2)


@pytest.mark.parametrize("page", ["(____ptrval____)", "00000000a1b2c3d4", "ffffea0004", "(null)", "0x176a17"])
@pytest.mark.parametrize("pfn", ["0x176a17", "1534487"])
def test_frames(page, pfn):
    events = read(PREFIX + f"mm_page_free: page={page} pfn={pfn} order=0\n", strict=True)
    assert events.pfn.tolist() == [1534487]


@pytest.mark.parametrize("pfn", ["0x0", "0", "18446744073709551615", "0xffffffffffffffff"])
def test_a_failed_allocation_has_no_frame(pfn):
    assert read(ALLOC.replace("0x101bc8", pfn), strict=True).pfn.tolist() == [-1]


def test_frame_zero_can_be_freed():
    assert read(FREE.replace("0x101bc8", "0x0"), strict=True).pfn.tolist() == [0]


def test_kprobes():
    text = (
        PREFIX + "steal: (steal_suitable_fallback+0x0/0x320) zone=0xffff88811ffd4c00 page=0xffffea0004660000 "
        "af=0x901 mt=0 whole=1\n"
        + PREFIX + "bulk_r: (__vmalloc_node_range+0x264/0x880 <- __alloc_pages_bulk) n=4\n"
        + PREFIX + "report: (free_page_report+0x0/0x120 [virtio_balloon]) nents=2 order=-1\n"
        + PREFIX + "vmfold: (refresh_cpu_vm_stats+0x0/0x230)\n"
    )  # fmt: skip
    events = read(text, strict=True)
    steal = events.details["steal"]
    assert steal.dtype.names == ("event", "where", "zone", "page", "af", "mt", "whole")
    zone, page = 0xFFFF88811FFD4C00 - (1 << 64), 0xFFFFEA0004660000 - (1 << 64)
    assert steal[0].tolist() == (0, 0, zone, page, 0x901, 0, 1)
    assert events.texts("bulk_r", "where") == ["__vmalloc_node_range+0x264/0x880 <- __alloc_pages_bulk"]
    assert events.texts("report", "where") == ["free_page_report+0x0/0x120 [virtio_balloon]"]
    assert events.details["report"][["event", "nents", "order"]][0].tolist() == (2, 2, -1)
    assert events.details["vmfold"].dtype.names == ("event", "where")
    assert events.order.tolist() == [-1] * 4
    assert events.unknown == {}


def test_slab_events():
    text = PREFIX + (
        "kmem_cache_alloc: call_site=copy_process+0x20e/0x1ae0 [mod] ptr=ffff888005508000 name=a:b "
        "bytes_req=6144 bytes_alloc=6144 gfp_flags=GFP_KERNEL node=-1 accounted=true\n"
    )
    events = read(text + text.replace("ptr=ffff888005508000", "ptr=0000000000000000"), strict=True)
    assert events.gfp.tolist() == [0xCC0] * 2
    table = events.details["kmem_cache_alloc"]
    fields = ("event", "call_site", "ptr", "name", "bytes_req", "bytes_alloc", "node", "accounted")
    assert table.dtype.names == fields
    assert table[0].tolist() == (0, 0, 0xFFFF888005508000 - (1 << 64), 1, 6144, 6144, -1, 1)
    assert table["ptr"][1] == 0
    assert events.texts("kmem_cache_alloc", "call_site") == ["copy_process+0x20e/0x1ae0 [mod]"] * 2


def test_other_events_keep_all_their_words():
    text = PREFIX + "mm_compaction_begin: zone_start=0x1000 zone_end=0xffda, mode=sync and more\n"
    events = read(text + PREFIX + "mm_compaction_begin: event=1 text=x where=2 a=1 a=2\n", strict=True)
    table = events.details["mm_compaction_begin"]
    assert table["zone_end"].tolist() == [0xFFDA, ABSENT]
    assert events.texts("mm_compaction_begin", "mode") == ["sync", None]
    assert events.texts("mm_compaction_begin", "text") == ["and more", None]
    assert events.texts("mm_compaction_begin", "text_") == [None, "x"]
    assert [table[name][1] for name in ("event_", "where_", "a", "a_")] == [1, 2, 1, 2]


@pytest.mark.parametrize("where", ["", "(f+0x1/0x2) "])
def test_fields_beyond_the_first_128_are_text(where):
    events = read(PREFIX + f"probe: {where}" + " ".join(f"f{n}={n}" for n in range(130)) + "\n", strict=True)
    names = events.details["probe"].dtype.names
    kept = 127 if where else 128
    assert names == ("event", *(["where"] if where else []), *(f"f{n}" for n in range(kept)), "text")
    assert events.texts("probe", "text") == [" ".join(f"f{n}={n}" for n in range(kept, 130))]


def test_a_field_that_turns_into_text_keeps_its_numbers():
    text = "".join(PREFIX + f"probe: (f) x={value}\n" for value in ("0x10", "7", "abc", "8"))
    assert read(text).texts("probe", "x") == ["16", "7", "abc", "8"]


def test_extfrag():
    text = PREFIX + (
        "mm_page_alloc_extfrag: page=(____ptrval____) pfn=0x119800 alloc_order=0 fallback_order=10 "
        "pageblock_order=9 alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1\n"
    )
    events = read(text, strict=True)
    assert (events.pfn.tolist(), events.order.tolist()) == ([0x119800], [-1])
    assert events.details["mm_page_alloc_extfrag"][0].tolist() == (0, 0, 10, 9, 0, 1, 0, 1)


def test_perf_script():
    text = (
        "# ========\n"
        "perf  6429 [000]    22.498450:             kmem:mm_page_alloc: page=0x176a17 pfn=1534487 order=0 "
        "migratetype=0 gfp_flags=GFP_KERNEL\n"
        "        ffffffffbe23e32e __alloc_pages_nodemask+0x22e ([kernel.kallsyms])\n"
        "            7f1b2c3d4e5f [unknown] (/usr/lib/libc.so)\n"
        "\n"
        "perf  6429 [000]    22.498460:             kmem:mm_page_free: page=0x176a17 pfn=1534487 order=0\n\n"
    )
    events = read(text, strict=True)
    assert row(events) == ("mm_page_alloc", "", 22498450, 0, 6429, 1534487, 0, 0)
    assert row(events, 1) == ("mm_page_free", "", 22498460, 0, 6429, 1534487, 0, -1)


def test_trace_cmd_report():
    text = (
        "version = 7\nCPU 1 is empty\ncpus=8\n"
        "            bash-1234  [002]  5280.610411: mm_page_alloc:        page=0xffffea00010bc000 pfn=0x42f00 "
        "order=3 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_COMP\n"
        "            bash-1234  [002] 15280.610411: mm_page_free:         page=0xffffea00010bc000 pfn=0x42f00 "
        "order=3\n"
    )
    events = read(text, strict=True)
    assert row(events) == ("mm_page_alloc", "", 5280610411, 2, 1234, 0x42F00, 3, 0)
    assert row(events, 1) == ("mm_page_free", "", 15280610411, 2, 1234, 0x42F00, 3, -1)


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("CPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST 3 EVENTS]\n", 15),
        ("CPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST EVENTS]\n", -1),
        ("CPU:1 [5 EVENTS DROPPED]\n", 5),
        ("# entries-in-buffer/entries-written: 631583/631600   #P:1\n", 17),
        ("# entries-in-buffer/entries-written: 631583/631583   #P:1\n", 0),
    ],
)
def test_lost_events_are_told(line, lost):
    assert read(line + ALLOC, strict=True).lost == lost


def test_crlf_and_stack_traces_are_no_bad_lines():
    text = ALLOC + PREFIX + "<stack trace>\n => __alloc_pages\n => f\n" + FREE
    assert len(read(text.replace("\n", "\r\n"), strict=True)) == 2


BAD = [
    "rubbish\n",
    FREE.replace("order=2", ""),
    FREE.replace("order=2", "order=64"),
    FREE.replace("order=2", "order=x"),
    FREE.replace("pfn=0x101bc8", "pfn=0x10zz"),
    FREE.replace("pfn=0x101bc8", "pfn=-5"),
    FREE.replace("pfn=0x101bc8", f"pfn={1 << 52:#x}"),
    FREE.replace("pfn=0x101bc8", "pfn=99999999999999999999999"),
    FREE.replace("page=00000000deadbeef pfn=0x101bc8", ""),
    FREE.replace("8.822809", "8.8228"),
    FREE.replace("8.822809", "8.x"),
    FREE.replace("-122 ", "     "),
    FREE.replace("-122 ", "-99999999999 "),
    FREE.replace("[000]", "[9999999]"),
    ALLOC.replace("__GFP_ZERO", "__GFP_ZE"),
    ALLOC.replace("migratetype=1", "migratetype=128"),
    ALLOC.replace("migratetype=1 ", ""),
    "x" * 70000 + "\n",
    "x" * 70000 + ALLOC,
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_lines_are_counted_or_refused(bad):
    events = read(ALLOC + "# comment\n" + bad + FREE + bad + FREE)
    assert (len(events), events.bad_lines, events.first_bad_line) == (3, 2, 3)
    assert events.kind.tolist() == [0, 1, 1]
    with pytest.raises(TraceError, match=r"^trace trace, line 3 must be an event or a comment, not '.{0,79}$"):
        read(ALLOC + "# comment\n" + bad + FREE, strict=True)


def test_the_first_bad_line_is_the_first_of_any_kind():
    bad = FREE.replace("pfn=0x101bc8", "pfn=0x10zz")
    assert read(ALLOC + bad + "rubbish\n" + bad).first_bad_line == 2
    assert read(ALLOC + "rubbish\n" + bad).first_bad_line == 2


def test_an_endless_line_is_bad_and_never_an_event_in_part():
    long = FREE.replace("\n", " note=") + "x" * 3_000_000 + ": y\n"
    events = read(ALLOC + long + FREE)
    assert (len(events), events.bad_lines, events.first_bad_line) == (2, 1, 2)


def test_the_message_of_a_bad_line():
    with pytest.raises(TraceError) as caught:
        read(ALLOC + "rubbish\n", strict=True)
    assert str(caught.value) == "trace trace, line 2 must be an event or a comment, not 'rubbish'"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\n", "a file of 1 lines without an event"),
        (b"hello\n# there\n", "a file of 2 lines without an event"),
        (b"\x00\x01\x02", "binary data"),
        (b"\x17\x08\x44tracing6", "a trace.dat file (run trace-cmd report on it)"),
        (b"PERFILE2", "a perf.data file (run perf script on it)"),
        (gzip.compress(b"", mtime=0), "an empty file"),
    ],
)
def test_files_that_are_no_traces(data, found):
    with pytest.raises(TraceError) as caught:
        read(data)
    assert str(caught.value) == f"trace trace must be {RULE}, not {found}"


def test_a_text_file_object_is_refused():
    with pytest.raises(InvalidArgument, match=r"^trace file must be open in binary mode, not one that reads str$"):
        read_trace(io.StringIO(ALLOC))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "none")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_compression_is_told_by_the_first_bytes(tmp_path, compress):
    path = tmp_path / "trace.dat"
    path.write_bytes(compress((ALLOC * 2000).encode()) + compress(FREE.encode()))
    assert read_trace(path, strict=True).counts() == {"mm_page_alloc": 2000, "mm_page_free": 1}


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("tail", [b"", b"PK rubbish"])
def test_damaged_compression_keeps_what_was_read(compress, tail):
    data = compress(b"".join(ALLOC.replace("pfn=0x101bc8", f"pfn={n:#x}").encode() for n in range(1, 60000)))
    events = read(data[: len(data) * 2 // 3] + tail)
    assert events.pfn.tolist() == list(range(1, len(events) + 1))
    assert len(events) > 5000
    assert events.first_bad_line == len(events) + 1
    # Rubbish may be decompressed to rubbish with newlines before it is noticed.
    assert events.bad_lines == 1 if not tail else events.bad_lines >= 1
    assert len(events.notes) == 1
    rule = "complete, not the compressed data " if not tail else "(complete|line|an event)"
    with pytest.raises(TraceError, match=rf"^trace trace(, line \d+)? must be {rule}"):
        read(data[: len(data) * 2 // 3] + tail, strict=True)


@given(trace_lines(), st.sampled_from(["us", "counter"]), st.data())
def test_lines_and_their_events_agree(lines, clock, data):
    lines = data.draw(trace_lines(clock=clock))
    events = read("".join(lines), strict=True)
    assert len(events) == len(lines)
    assert events.clock == clock
    names = [line.split(": ")[1].split(":")[0].strip() for line in lines]
    assert [events.kinds[kind] for kind in events.kind] == names
    pfns = [int(line.split("pfn=")[1].split()[0], 0) or -1 if "pfn=" in line else -1 for line in lines]
    assert events.pfn.tolist() == pfns


@given(st.sampled_from(["us", "counter"]).flatmap(lambda clock: trace_lines(clock=clock)))
def test_rendered_events_are_read_as_the_same(lines):
    events = read("".join(lines), strict=True)
    assert events.equals(read(render(events), strict=True))


@given(trace_lines(), st.lists(changes, max_size=9), st.integers(1, 2))
def test_a_line_is_read_the_same_wherever_it_stands(lines, damage, times):
    lines = [*map(changed, lines, damage), *lines[len(damage) :]] * times
    whole = read(ALLOC + "".join(lines))
    alone = [read(ALLOC + line) for line in lines]
    assert said(whole) == said(whole[:1]) + [row for events in alone for row in said(events)[1:]]
    assert whole.bad_lines == sum(events.bad_lines for events in alone)


def test_a_bad_line_leaves_no_trace():
    zone_locked = PREFIX + "mm_page_alloc_zone_locked: page=1 pfn=0x5 order=0 migratetype=1 percpu_refill=1\n"
    bad = zone_locked.replace("refill=1", "refill=x")
    for old, new in (("pfn=0x5", "pfn=0x5z"), ("8.822809", "8.8x2809"), ("order=0", "order=99"), ("page=1 ", "")):
        events = read(bad.replace(old, new) + zone_locked)
        assert (events.bad_lines, events.strings) == (1, ())
        assert events.details["mm_page_alloc_zone_locked"]["percpu_refill"].tolist() == [1]


def test_a_control_character_does_no_harm():
    odd = FREE.replace("init", "in\1t")
    text = "\n" + ALLOC + "\n" + odd + "\1\n" + FREE + "# \1\n \1.\1\1\n\n"
    events = read(text)
    assert (len(events), events.bad_lines, events.first_bad_line) == (3, 2, 5)
    assert said(events) == [row for line in (ALLOC, FREE, FREE) for row in said(read(line))]
    assert len(read(ALLOC + "\n" + FREE + "x" * 600 + "\1\n" + ALLOC)) == 3


def test_a_line_that_is_no_event_hides_none(monkeypatch):
    event = "      abcd x-1       [000] d..3.     8.822809: vmfold: (f)\n"
    chain = event.replace("8.822809", "\1.\1\1\1\1\1\1")
    assert read(ALLOC + chain).bad_lines == 0
    monkeypatch.setattr("structpage.traces.decoding.BLOCK", len(event))
    assert read(chain + event).counts() == {"vmfold": 1}


def test_chunks_do_not_matter(monkeypatch):
    text = "".join([ALLOC, FREE, PREFIX + "steal: (f+0x0/0x1) zone=0x1\n", "rubbish\n", FREE, ALLOC] * 40)
    whole = read(text)
    for size in (1, 100, 333):
        monkeypatch.setattr("structpage.traces.decoding.BLOCK", size)
        monkeypatch.setattr("structpage.traces.columns._REMEMBERED", 1)
        assert whole.equals(read(text))


SMALL = (ALLOC + FREE + PREFIX + "steal: (f+0x0/0x1) zone=0x1 page=0x2\n# comment\n\n" + ALLOC) * 3


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_truncation_anywhere_is_typed_and_loses_nothing_before(compress):
    data, whole = compress(SMALL.encode()), read(SMALL)
    for end in range(max(0, len(data) - 1024), len(data)):
        try:
            events = read(data[:end])
        except TraceError:
            assert end < 400 or compress is not bytes
            continue
        assert events.pfn.tolist() == whole.pfn.tolist()[: len(events)]
        if compress is bytes:
            kept = [line for line in SMALL[:end].split("\n")[:-1] if line and line[0] != "#"]
            assert len(events) == len(kept)
            rest = SMALL[:end].rpartition("\n")[2]
            assert events.bad_lines == (rest != "" and rest[0] != "#")


@settings(max_examples=300)
@given(st.binary(max_size=300))
@example(b"\x1f\x8b\x08")
@example(b"\xfd7zXZ\0")
@example(b"BZh9")
def test_random_bytes_are_a_typed_error_or_a_trace(data):
    for text in (data, ALLOC.encode() + data, b"\x1f\x8b" + data, b"\xfd7zXZ\0" + data, b"BZh" + data):
        try:
            found = read(text)
        except TraceError:
            continue
        assert len(found) > 0


@settings(max_examples=300)
@example(at=52, byte=32)
@given(at=st.integers(0, 90), byte=st.integers(0, 255))
def test_one_changed_byte_costs_one_line_at_most(at, byte):
    """A blank within a time stamp was once taken for two of them."""
    line = b"     Web Content-0       [000] .....     0.000005: vmfold: (refresh_cpu_vm_stats+0x0/0x230)\n"
    changed = bytearray(line)
    changed[at % (len(line) - 1)] = byte
    try:
        events = read_trace(io.BytesIO(bytes(changed) + line))
    except TraceError:
        assert byte == 0  # which makes it a binary file
    else:
        assert len(events) >= 1


@settings(max_examples=300)
@given(trace_lines(), st.data())
def test_flipped_bytes_never_lose_other_lines(lines, data):
    victim = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[victim].encode())
    for _ in range(3):
        line[data.draw(st.integers(0, len(line) - 2))] = data.draw(st.integers(32, 255))
    damaged = [
        *(text.encode() for text in lines[:victim]),
        bytes(line),
        *(text.encode() for text in lines[victim + 1 :]),
    ]
    events = read(ALLOC.encode() + b"".join(damaged))
    whole = read(ALLOC + "".join(lines))
    assert events.pfn[: victim + 1].tolist() == whole.pfn[: victim + 1].tolist()
    after = len(lines) - victim - 1
    assert events.pfn[len(events) - after :].tolist() == whole.pfn[len(whole) - after :].tolist()
    assert len(events) + events.bad_lines >= len(whole) - 1


@pytest.mark.parametrize("name", ["mixed", "slab", "mixed_smp2"])
def test_counts_of_a_recorded_trace(name):
    folder = capture_folder(name)
    events = read_trace(folder / "trace.txt.xz", strict=True)
    assert events.counts() == read_json(folder, "meta.json")["events"]
    assert (events.lost, events.bad_lines, events.unknown) == (0, 0, {})
