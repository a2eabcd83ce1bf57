"""Opening what a command was given to read, and saying what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from structpage.errors import TraceError, must
from structpage.traces import Capture, Events, open_workload


def opened(name: str, *, strict: bool) -> Capture | Events:
    """Return the workload of a name or path.

    Bad lines, lost events and events of unknown kinds are told on stderr; with `strict` they are a `TraceError`.
    """
    source = open_workload(name)
    events = source.events if isinstance(source, Capture) else source
    for rule, found in _flaws(events):
        if strict:
            raise TraceError(must(f"trace {name}", rule, f"one with {found}"))
        print(f"{name}: {found}", file=sys.stderr)
    return source


def _flaws(events: Events) -> Iterator[tuple[str, str]]:
    if events.bad_lines:
        lines = "line" if events.bad_lines == 1 else "lines"
        found = f"{events.bad_lines} bad {lines}, left out; the first is line {events.first_bad_line}"
        yield "without bad lines", found
    if events.lost:
        count = events.lost if events.lost > 0 else "an unknown number of"
        yield "complete", f"{count} lost events"
    if events.unknown:
        kinds = ", ".join(sorted(events.unknown))
        yield "of kmem events and probes only", f"{sum(events.unknown.values())} events of unknown kinds: {kinds}"
