"""Tracks: who allocated an object, and who freed it last, as STORE_USER notes them behind the object.

Terminology: a *track* is the kernel's struct of that name, 32 bytes: the caller's address in the code, a handle of its
stack (here always 0: stacks are not kept), CPU, PID, and when, in jiffies. A caller's address may be a recorded one; a
name is given an address of its own, and is printed again in its place. An *age* is the time since then.

Followed: Linux 6.1 mm/slub.c, `struct track`, `set_track_update`, `print_track`.
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from structpage.arguments import at_least, between
from structpage.errors import InvalidArgument, must
from structpage.slab.addresses import TEXT

_TRACK = struct.Struct("<QIii4xQ")
_FUNCTION_BYTES = 16


class Who(NamedTuple):
    """Who makes a call."""

    caller: int | str | None = None
    """The return address, or a name for it; `None` for the function that called this package."""
    cpu: int = 0
    pid: int = 0
    when: int | None = None
    """In jiffies; `None` for one more than at the call before."""


def a_who(who: Who) -> Who:
    """Return who makes a call, if a track can note it; raises `InvalidArgument`."""
    if not isinstance(who, Who):
        raise InvalidArgument(must("who", "a Who", repr(who)))
    if not (who.caller is None or isinstance(who.caller, str)):
        between("caller of who", who.caller, 0, (1 << 64) - 1)
    between("cpu of who", who.cpu, 0, (1 << 31) - 1)
    between("pid of who", who.pid, 0, (1 << 31) - 1)
    if who.when is not None:
        at_least("when of who", who.when, 0)
    return who


class Track(NamedTuple):
    """A track, decoded."""

    caller: str
    cpu: int
    pid: int
    when: int


class Tracks:
    """Packs and unpacks tracks; knows the names of callers, and what time it is."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self.now = 0

    def tick(self, who: Who) -> None:
        """Let time go on to that of a call; it never goes back."""
        self.now = self.now + 1 if who.when is None else max(self.now, who.when)

    def pack(self, who: Who) -> bytes:
        """Return the bytes of a track of now."""
        caller = calling_function() if who.caller is None else who.caller
        if isinstance(caller, str):
            caller = self._names.setdefault(caller, TEXT + _FUNCTION_BYTES * len(self._names))
        return _TRACK.pack(caller, 0, who.cpu, who.pid, self.now)

    def unpack(self, data: bytes) -> Track | None:
        """Return a track, `None` for one that was never written."""
        address, _, cpu, pid, when = _TRACK.unpack(data)
        if not address:
            return None
        names = {known: name for name, known in self._names.items()}
        return Track(names.get(address, f"{address:#x}"), cpu, pid, when)

    def lines(self, allocated: Track | None, freed: Track | None) -> list[str]:
        """Return the lines a report has of an object's two tracks."""
        return [
            f"{what} in {track.caller} age={self.now - track.when} cpu={track.cpu} pid={track.pid}"
            for what, track in (("Allocated", allocated), ("Freed", freed))
            if track is not None
        ]


def calling_function() -> str:
    """Return the name of the innermost function on the stack that is not of this package, as the kernel prints one."""
    package = __name__.split(".")[0]
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        frame = frame.f_back
    return f"{frame.f_code.co_qualname} [{frame.f_globals.get('__name__', '?')}]"
