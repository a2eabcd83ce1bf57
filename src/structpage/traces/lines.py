"""The lines of a trace as text: where the parts of an event stand, and which lines are no events.

Three programs write nearly the same line, `TASK-PID [CPU] FLAGS TIME: NAME: FIELDS`::

    init-122     [000] d..3.     8.822809: mm_page_free: page=(____ptrval____) pfn=0x101bd4 order=0    ftrace
    bash-1234  [002]  5280.610411: mm_page_free:      page=0xffffea00010bc000 pfn=0x42f00 order=3    trace-cmd
    perf  6429 [000]    22.498450:       kmem:mm_page_free: page=0x176a17 pfn=1534487 order=0    perf script

ftrace may put the thread group in parentheses after the PID, shows four flags before Linux 5.16, and no flags
when irq-info is off. A task's name may have blanks, dashes and brackets in it.

A `Parts` is an event cut into five byte strings: *head* (all up to the flags), time, name (with system and colon),
pfn (empty unless the fields start with `page= pfn=`), and rest.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from structpage.errors import TraceError, must
from structpage.traces.numbers import MARK

MAX_LINE: Final = 1 << 16
"""Bytes of the longest line that is read as an event; ftrace's own limit is a page or less."""


def _event(time: bytes, pfn: bytes, never: bytes) -> re.Pattern[bytes]:
    # A line whose time and PFN are as said, and that has the byte `never` nowhere else but in the page.
    return re.compile(
        rb"(?!#)([^\[%(n)b]*+\[\d++\](?: [^ \d%(n)b][^ %(n)b]*+)?) ++(%(time)b): ++([^ <%(n)b][^ %(n)b]*+) *+"
        rb"(?:page=[^ ]++ pfn=(%(pfn)b)(?: |\Z)|(?!page=[^ ]++ pfn=[^ ]))([^%(n)b]*+)"
        % {b"time": time, b"pfn": pfn, b"n": never}
    )


_LINE: Final = _event(rb"\d[^:\n]*+", rb"[^ ]++", b"\n")
_BLANKED: Final = _event(rb"~{1,12}\.~{6,9}|~{1,18}".replace(b"~", MARK), rb"(?:0x)?" + MARK + b"++", MARK)
# A bracket in the task's name: the first [n] that a time follows is the processor.
_BRACKETS: Final = re.compile(
    rb"([^\n]*?\[\d+\](?: [^ \d][^ ]*)?) +(\d[^: ]*): +([^ <][^ ]*) *(?:page=[^ ]+ pfn=([^ ]+) ?)?(.*)"
)
_HEAD: Final = re.compile(
    r" *(?P<task>.*)(?:-| +)(?P<pid>\d{1,10})(?:/\d+)? +(?:\([ \d-]+\) +)?"
    r"\[(?P<cpu>\d{1,5})\](?: (?P<flags>.{1,8}))?"
)
_LOST: Final = re.compile(rb"CPU:\d+ \[(?:LOST (\d*) ?EVENTS|(\d*) ?EVENTS DROPPED)\]")
_OVERRUN: Final = re.compile(rb"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})")
# Stack traces of ftrace (=> symbol) and call chains of perf (address symbol), and what trace-cmd says first.
_NO_EVENT: Final = re.compile(
    rb"\s*$|#| ?=> |\s+[0-9a-f]{4,16} .*\)\s*$|.*: <(?:user )?stack trace>$"
    rb"|cpus=\d+$|version = \w+$|CPU \d+ is empty$|trace-cmd "
)


class Parts(NamedTuple):
    """An event, cut."""

    head: bytes
    time: bytes
    name: bytes
    pfn: bytes
    rest: bytes


class Head(NamedTuple):
    """What stands before the time of an event."""

    cpu: int
    pid: int
    context: str


def cut_blanked(line: bytes) -> Parts | None:
    """Return the parts of a line of `numbers.blanked`; `None` if its marks are not just where an event has numbers.

    Cost: about 1 us.
    """
    parts = _BLANKED.fullmatch(line)
    return Parts(*parts.groups(b"")) if parts else None


def cut_line(line: bytes) -> Parts | None:
    """Return the parts of a line as it stands in a trace; `None` if it is known to be no event.

    Raises:
        TraceError: it is neither.

    """
    parts = _LINE.fullmatch(line)
    if parts is None:
        if _NO_EVENT.match(line):
            return None
        parts = _BRACKETS.fullmatch(line) if len(line) < MAX_LINE else None
        if parts is None:
            raise TraceError(must("line", "an event or a comment", shown(line)))
    return Parts(*parts.groups(b""))


def cut_head(head: bytes) -> Head:
    """Return processor, PID and flags of the head of an event; flags are `""` if it shows none.

    Raises:
        TraceError: it is no head.

    """
    parts = _HEAD.fullmatch(head.decode("utf-8", "replace")) if len(head) < MAX_LINE else None
    if parts is None or int(parts["pid"]) >= 1 << 31:
        raise TraceError(must("start of line", "TASK-PID [CPU] FLAGS", shown(head)))
    return Head(int(parts["cpu"]), int(parts["pid"]), parts["flags"] or "")


def lost_events(line: bytes) -> int | None:
    """Return how many events a line says were lost: -1 if not how many, `None` if it says nothing.

    The header of ftrace counts too: entries written that are not in the buffer any more.
    """
    overrun = _OVERRUN.match(line)
    if overrun is not None:
        return max(0, int(overrun[2]) - int(overrun[1])) or None
    lost = _LOST.match(line)
    if lost is None:
        return None
    number = lost[1] or lost[2]
    return int(number[:18]) if number else -1


def shown(line: bytes) -> str:
    """Return a line for a message: printable, at most 80 characters."""
    text = repr(line[:200].decode("utf-8", "replace"))
    return text if len(text) <= 80 else text[:77] + "..."
