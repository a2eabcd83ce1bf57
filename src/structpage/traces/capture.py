"""A capture: a trace, and the free lists of the same kernel before its first and after its last event.

A capture is recorded by stopping the machine twice, and reading its free lists out of its memory at both
stops. The guest marks the stops in the trace: the events between the marks lead from the one state to the
other. The folder's own README says what each file is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from structpage.errors import TraceError, must
from structpage.traces.events import Events
from structpage.traces.ftrace import read_trace, stream_trace

START_MARK: Final = "ORACLE STOP0"
END_MARK: Final = "ORACLE STOP1"

TEXT_FOLDERS: Final = ("before", "after", "proc")
"""Folders of a capture whose files are kept, whole, in `Capture.proc`."""

_VERSION: Final = re.compile(r"(?:^|\s)(\d+\.\d+(?:\.\d+)?)(?=[-+\s]|$)")


@dataclass(frozen=True, eq=False, repr=False)
class Capture:
    """A trace with the state of the allocator at both its ends."""

    name: str
    """What it is called; the folder's name."""
    kernel: str
    """Version of the kernel, such as `6.1.192`; `""` if the capture does not say."""
    meta: dict[str, Any]
    """How it was recorded: the whole of `meta.json`."""
    events: Events
    """The events between the marks of the two stops (the marks themselves are not among them)."""
    before: dict[str, Any]
    """The free lists at the first stop, as in the JSON: nodes > zones > free_area, pcp, pageblocks."""
    after: dict[str, Any]
    """The free lists at the second stop."""
    proc: dict[str, str]
    """Texts read in the guest: `before/zoneinfo`, `after/vmstat`, `proc/version` and so on."""
    probes: str
    """The definitions of the kprobes in the trace, one a line; `""` if there were none."""

    def __repr__(self) -> str:
        return f"<Capture {self.name} of Linux {self.kernel or 'unknown'}, {self.events!r}>"


class ZoneSpan(NamedTuple):
    """A zone of a capture: its name, and its frames `start` up to, but not including, `end`."""

    name: str
    start: int
    end: int


def read_capture(folder: str | os.PathLike[str]) -> Capture:
    """Read a capture from its folder.

    Args:
        folder: has `trace.txt` (plain, or compressed with `.gz`, `.xz`, `.bz2`), `meta.json`, and
            `freelists_before.json` and `freelists_after.json` (plain or compressed likewise).

    Raises:
        TraceError: a file is missing, cannot be read as what it should be, or the trace lacks a mark.
        OSError: the folder or a file cannot be read.

    Cost: that of `read_trace`.

    """
    path = _complete(folder)
    meta = read_json(path, "meta.json")
    before, after = read_lists(path, "before"), read_lists(path, "after")
    proc = {f"{name}/{file.name}": _text(file) for name in TEXT_FOLDERS for file in _files(path / name)}
    probes = _find(path, "kprobe_events")
    (events,) = replay_window([read_trace(_find(path, "trace.txt") or path)], path.name)
    kernel, definitions = kernel_version(meta, proc), _text(probes) if probes else ""
    return Capture(path.name, kernel, meta, events, before, after, proc, definitions)


def stream_capture(folder: str | os.PathLike[str], at_once: int) -> tuple[dict[str, Any], Iterator[Events]]:
    """Return the free lists of a capture at its start, and its events between the marks, part by part.

    `at_once` is as for `stream_trace`.

    Raises:
        TraceError: as `read_capture`; for the trace, when the part is read.
        OSError: the folder or a file cannot be read.

    Cost: that of `stream_trace`.

    """
    path = _complete(folder)
    parts = stream_trace(_find(path, "trace.txt") or path, at_once=at_once)
    return read_lists(path, "before"), replay_window(parts, path.name)


def _complete(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    needed = ("meta.json", "trace.txt", "freelists_before.json", "freelists_after.json")
    missing = [name for name in needed if _find(path, name) is None]
    if missing:
        raise TraceError(must(f"capture {path.name}", "a folder with " + missing[0], _what(path)))
    return path


def read_lists(folder: Path, when: str) -> dict[str, Any]:
    """Return the free lists of a capture, `"before"` or `"after"`; raises `TraceError` as `read_capture` does."""
    lists = read_json(folder, f"freelists_{when}.json")
    check_lists(lists, f"{folder.name}/freelists_{when}.json")
    return lists


def replay_window(parts: Iterable[Events], name: str) -> Iterator[Events]:
    """Yield the events strictly between the two marks of the stops, of a trace that comes in parts.

    Raises:
        TraceError: a mark is missing, or the second stands before the first; `name` is the trace's.

    """
    begun = False
    for events in parts:
        stop = _row_of(events, END_MARK)
        start = -1 if begun else _row_of(events, START_MARK)
        if not begun and stop > -1 and not -1 < start < stop:
            raise TraceError(must(f"capture {name}", "a trace with its marks in order", f"{END_MARK} first"))
        begun = begun or start > -1
        if begun:
            yield events[start + 1 : stop if stop > -1 else None]
            if stop > -1:
                return
    mark = END_MARK if begun else START_MARK
    raise TraceError(must(f"capture {name}", f"a trace with the mark {mark}", "one without"))


def _row_of(events: Events, mark: str) -> int:
    # The row of the first such mark, or -1.
    table = events.details.get("tracing_mark_write")
    if table is None or "text" not in (table.dtype.names or ()):
        return -1
    texts = events.texts("tracing_mark_write", "text")
    return int(table["event"][texts.index(mark)]) if mark in texts else -1


def kernel_version(meta: dict[str, Any], proc: dict[str, str]) -> str:
    """Return the kernel's version from what a capture says of itself; `""` if it says nothing."""
    for text in (meta.get("kernel"), meta.get("proc_version"), proc.get("proc/version")):
        versions = _VERSION.findall(text) if isinstance(text, str) else []
        if versions:
            # A distribution's name of the package (6.1.0-56) comes first, the version of the source last.
            return str(versions[-1])
    return ""


def zone_spans(lists: dict[str, Any]) -> list[ZoneSpan]:
    """Return the zones of a capture's free lists that have frames, by start."""
    zones = [zone for node in lists["nodes"] for zone in node["zones"]]
    spans = [ZoneSpan(str(z["name"]), z["start_pfn"], z["start_pfn"] + z["spanned"]) for z in zones]
    return sorted((span for span in spans if span.end > span.start), key=lambda span: span.start)


def free_blocks(lists: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield (PFN, order) of every block on a free list, then of every page on a per-CPU list."""
    for node in lists["nodes"]:
        for zone in node["zones"]:
            for area in zone["free_area"]:
                for pfns in area["lists"].values():
                    yield from ((pfn, area["order"]) for pfn in pfns)
            for cpu in zone["pcp"]:
                for index, pfns in enumerate(cpu["lists"]):
                    yield from ((pfn, pcp_order(index, len(cpu["lists"]))) for pfn in pfns)


def pcp_order(index: int, count: int) -> int:
    """Return the order of the pages on per-CPU list `index` of `count`.

    Three migrate types for each of the orders 0 to 3, then those of huge pages (order 9): two lists, or one
    before they were kept apart by movability. Without huge pages there are twelve.
    """
    return index // 3 if index < 12 <= count else 9 if index >= 12 else 0


def check_lists(lists: object, name: str) -> None:
    """Check that free lists have the shape that `zone_spans` and `free_blocks` rely on.

    Raises:
        TraceError: they have not; `name` is the file's.

    """
    try:
        _walk(lists)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        found = f"one with {type(error).__name__} {error}"
        rule = "free lists: nodes > zones > free_area and pcp"
        raise TraceError(must(f"file {name}", rule, found)) from error


def _walk(lists: Any) -> None:
    # Raises KeyError, TypeError, ValueError and the like where something is not as expected.
    for node in lists["nodes"]:
        for zone in node["zones"]:
            numbers = (zone["start_pfn"], zone["spanned"])
            if not all(type(number) is int and 0 <= number < 1 << 52 for number in numbers):
                raise ValueError(f"zone {zone['name']}: start_pfn and spanned {numbers}")
    for pfn, order in free_blocks(lists):
        if type(pfn) is not int or type(order) is not int or not (0 <= pfn < 1 << 52 and 0 <= order < 64):
            raise ValueError(f"block {pfn!r} of order {order!r}")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file, plain or compressed.

    Raises:
        TraceError: it is damaged, no JSON, or not an object.

    """
    found = read_any_json(folder, name)
    if not isinstance(found, dict):
        raise TraceError(must(f"file {folder.name}/{name}", "a JSON object", type(found).__name__))
    return found


def has_file(folder: Path, name: str) -> bool:
    """Say whether a capture has a file, plain or compressed."""
    return _find(folder, name) is not None


def read_any_json(folder: Path, name: str) -> Any:
    """Return what is in a JSON file, plain or compressed; raises `TraceError` if it is missing, damaged, or no JSON."""
    import json

    from structpage.traces.decoding import BrokenStream, read_blocks

    path = _find(folder, name)
    if path is None:
        raise TraceError(must(f"capture {folder.name}", f"a folder with {name}", _what(folder)))
    try:
        with path.open("rb") as stream:
            found = json.loads(b"".join(read_blocks(stream)))
    except (BrokenStream, ValueError, RecursionError) as error:
        raise TraceError(must(f"file {folder.name}/{path.name}", "JSON", f"damaged ({error})")) from error
    return found


def _find(folder: Path, name: str) -> Path | None:
    names = (folder / (name + ending) for ending in ("", ".xz", ".gz", ".bz2"))
    return next((path for path in names if path.is_file()), None)


def _what(folder: Path) -> str:
    if not folder.is_dir():
        return "a path that does not exist" if not folder.exists() else "a file"
    return "one that has " + (", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")
