"""Opening what a command was given to read, and saying what is wrong with it."""

from __future__ import annotations

import sys

from structpage.errors import TraceError, must
from structpage.traces import Capture, Events, open_workload


def opened(name: str, *, strict: bool) -> Capture | Events:
    """Return the workload of a name or path; bad lines are told on stderr, with `strict` they are an error."""
    source = open_workload(name)
    events = source.events if isinstance(source, Capture) else source
    if events.bad_lines:
        told = f"{events.bad_lines} bad lines, the first is line {events.first_bad_line}"
        if strict:
            raise TraceError(must(f"trace {name}", "without bad lines", f"one with {told}"))
        print(f"{name}: {told}; they are left out", file=sys.stderr)
    return source
