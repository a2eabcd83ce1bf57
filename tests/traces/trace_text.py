"""Traces as text for tests: lines by hand, random lines, and the rendering of an `Events` back into text."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from structpage.gfp import format_gfp
from structpage.traces import Events, read_trace
from structpage.traces.events import ABSENT, COLUMNS

PREFIX = "            init-122     [000] d..3.     8.822809: "
ALLOC = PREFIX + (
    "mm_page_alloc: page=(____ptrval____) pfn=0x101bc8 order=2 migratetype=1 "
    "gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO\n"
)
FREE = PREFIX + "mm_page_free: page=00000000deadbeef pfn=0x101bc8 order=2\n"


def capture_folder(name: str) -> Path:
    """The folder of a capture; skips the test where there is none."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "captures"
    folder = Path(os.environ.get("STRUCTPAGE_CAPTURES", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"no capture {name}; set STRUCTPAGE_CAPTURES")
    return folder


def read(text: str | bytes, *, strict: bool = False) -> Events:
    return read_trace(io.BytesIO(text.encode() if isinstance(text, str) else text), strict=strict)


def said(events: Events) -> list[tuple[object, ...]]:
    """What each event says: its columns, with texts for codes, and its details, all of them as texts."""
    columns = {name: getattr(events, name).tolist() for name in COLUMNS}
    columns["kind"] = [events.kinds[code] for code in columns["kind"]]
    columns["context"] = [events.contexts[code] for code in columns["context"]]
    details: list[dict[str, str]] = [{} for _ in range(len(events))]
    for kind, table in events.details.items():
        for name in table.dtype.names[1:]:
            coded = table.dtype[name].itemsize == 4
            values = events.texts(kind, name) if coded else table[name].tolist()
            for event, value in zip(table["event"].tolist(), values, strict=True):
                if value not in (None, ABSENT):
                    details[event][name] = str(value)
    return list(zip(*columns.values(), (str(sorted(detail.items())) for detail in details), strict=True))


def render(events: Events) -> str:
    """The text of a trace that `read_trace` reads as the same `Events`."""
    details = {kind: {int(row["event"]): row for row in table} for kind, table in events.details.items()}
    lines = []
    for row in range(len(events)):
        kind = events.kinds[events.kind[row]]
        words = [_stamp(events, row), f"{kind}:"]
        detail = details.get(kind, {}).get(row)
        words += _where(events, detail)
        if events.pfn[row] >= 0:
            words += ["page=0000000012345678", f"pfn={int(events.pfn[row]):#x}"]
        elif kind == "mm_page_alloc":
            words += ["page=0000000000000000", "pfn=0x0"]
        words += [f"{n}={getattr(events, n)[row]}" for n in ("order", "migratetype") if getattr(events, n)[row] >= 0]
        if kind in ("mm_page_alloc", "kmalloc"):
            words.append(f"gfp_flags={format_gfp(int(events.gfp[row]))}")
        lines.append(" ".join([*words, *_others(events, detail)]) + "\n")
    return "".join(lines)


def _stamp(events, row):
    time = int(events.time[row])
    stamp = f"{time // 10**6}.{time % 10**6:06}" if events.clock == "us" else str(time)
    context = events.contexts[events.context[row]]
    flags = f" {context}" if context else " "
    return f"task-{events.pid[row]}  [{events.cpu[row]:03}]{flags}  {stamp}:"


def _where(events, detail):
    if detail is None or "where" not in detail.dtype.names or detail["where"] < 0:
        return []
    return [f"({events.strings[detail['where']]})"]


def _others(events, detail):
    words, text = [], []
    for name in detail.dtype.names if detail is not None else ():
        value = int(detail[name])
        if name in ("event", "where"):
            continue
        if detail.dtype[name].itemsize == 4:
            if value >= 0:
                target = text if name == "text" else words
                target.append(events.strings[value] if name == "text" else f"{name}={events.strings[value]}")
        elif value != ABSENT:
            words.append(f"{name}={value}")
    return words + text


_pfns = st.integers(1, (1 << 52) - 1)
_orders = st.integers(0, 10)
_types = st.integers(0, 5)
_gfps = st.integers(0, (1 << 28) - 1).map(format_gfp)
_words = st.text("abcxyz_+/", min_size=1, max_size=8)
_numbers = st.integers(ABSENT + 1, (1 << 63) - 1)

_pointers = st.integers(0, (1 << 48) - 1).map("ffff{:012x}".format)
_hexadecimal = st.integers(0, (1 << 64) - 1).map("{:#x}".format)
_bits = st.sampled_from("01")


def _line(template, *fields):
    return st.builds(template.format, *fields)


_bodies = st.one_of(
    _line("mm_page_alloc: page=0 pfn={:#x} order={} migratetype={} gfp_flags={}", _pfns, _orders, _types, _gfps),
    _line("mm_page_alloc: page=0 pfn=0x0 order={} migratetype={} gfp_flags={}", _orders, _types, _gfps),
    _line("mm_page_free: page=(____ptrval____) pfn={:#x} order={}", _pfns, _orders),
    _line("mm_page_free_batched: page=1 pfn={:#x} order=0", _pfns),
    _line(
        "mm_page_alloc_zone_locked: page=1 pfn={:#x} order={} migratetype={} percpu_refill={}",
        *(_pfns, _orders, _types, _bits),
    ),
    _line(
        "kmalloc: call_site={}+0x1/0x2 ptr={} bytes_req={} gfp_flags={} accounted={}",
        *(_words, _pointers, _orders, _gfps, st.sampled_from(["true", "false"])),
    ),
    _line("kfree: call_site={}+0x1/0x2 ptr={}", _words, _pointers),
    _line("steal: ({}+0x0/0x320) zone={} page={} whole={}", _words, _numbers, _hexadecimal, _bits),
    _line("bulk_r: ({} <- {}) n={}", _words, _words, _numbers),
    _line("mm_lru_insertion: page=00000000abcdef01 pfn={:#x} lru={} flags={}", _pfns, _orders, _words),
    _line("tracing_mark_write: {} {}", _words, _words),
    st.just("vmfold: (refresh_cpu_vm_stats+0x0/0x230)"),
    st.just("bare:"),
)
_tasks = st.sampled_from(["init", "kworker/0:2", "<idle>", "Web Content", "a-b", "x 1", "[w]", "d[0]"])
_flags = st.sampled_from([".....", "d..3.", "dNs5.", "....", "d.h1", ""])


@st.composite
def trace_lines(draw, *, clock: str = "us"):
    """A list of lines, each an event, with their newlines."""
    lines = []
    for body in draw(st.lists(_bodies, min_size=1, max_size=12)):
        task, pid, cpu = draw(_tasks), draw(st.integers(0, 99999)), draw(st.integers(0, 300))
        time = draw(st.integers(0, 10**10))
        stamp = f"{time // 10**6:5}.{time % 10**6:06}" if clock == "us" else str(time)
        flags = draw(_flags)
        lines.append(f"{task:>16}-{pid:<7} [{cpu:03}] {flags} {stamp:>12}: {body}\n")
    return lines


changes = st.lists(st.tuples(st.integers(0, 200), st.sampled_from(":.[] 0159afx=pn#-_A\t\1")), max_size=3)
"""Letters to be put at places of a line."""


def changed(line: str, change: list[tuple[int, str]]) -> str:
    """A line with `changes`; its newline stays."""
    for place, letter in change:
        at = place % (len(line) - 1)
        line = line[:at] + letter + line[at + 1 :]
    return line
