"""What follows the event's name on a line of a trace: `name=value` pairs, a location, other words.

`read_fields` turns one such text into a `Fields`: the three columns that kmem events share, and the rest as
details. The same text always gives the same answer, so the reader of a trace calls it once per distinct one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from structpage.errors import TraceError, must
from structpage.gfp import parse_gfp
from structpage.traces.events import EVENT_KINDS, MARKS

MAX_FIELDS: Final = 128
"""Fields of one event that are kept apart; those after are left in `text` (a report of 32 pages has 65)."""

# The fields without which a line of this kind is no such event; most are what a request is made of.
_REQUIRED: Final = {
    "mm_page_alloc": ("order", "migratetype", "gfp_flags"),
    "mm_page_free": ("order",),
    "mm_page_free_batched": (),
    "mm_page_alloc_zone_locked": ("order", "migratetype"),
    "mm_page_pcpu_drain": ("order", "migratetype"),
    "mm_page_alloc_extfrag": ("alloc_order", "fallback_order", "alloc_migratetype", "fallback_migratetype"),
}
_KMEM: Final = frozenset(EVENT_KINDS)

# A value ends at a blank or comma; a symbol may be followed by its module in brackets.
_PAIR: Final = re.compile(r'([\w.-]+)=("[^"]*"|\([^()]*\)|[^\s,]+(?: \[[\w-]+\])?),?')
_WHERE: Final = re.compile(r"\(([^()]*)\)(?: |$)")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}\Z|0x[0-9a-f]{1,16}\Z")
# %p of a 64-bit kernel: 16 digits without 0x, so it starts with a zero or has a letter (or is a user's 0).
_POINTER: Final = re.compile(r"(?=0|[0-9]*[a-f])[0-9a-f]{16}\Z")
_WORDS: Final = {"true": 1, "false": 0, "(null)": 0, "(nil)": 0}
_RESERVED: Final = frozenset({"event", "where", "text"})

Value = int | str


class Fields(NamedTuple):
    """The fields of one event; -1 (`gfp`: 0) where it has none."""

    order: int
    migratetype: int
    gfp: int
    details: dict[str, Value]


def read_fields(name: str, rest: str) -> Fields:
    """Return the fields of one event.

    Args:
        name: the event's kind, without the system.
        rest: the line's text after the name, or after `pfn=` where the line starts with `page= pfn=`.

    Raises:
        TraceError: a kmem event lacks a field that it must have, or has one of a value that cannot be.

    Cost: one regular expression over the text.

    """
    if name in MARKS:
        return Fields(-1, -1, 0, {"text": rest} if rest else {})
    details = read_pairs(rest)
    for field in _REQUIRED.get(name, ()):
        if field not in details:
            raise TraceError(must(f"event {name}", f"one with {field}=", repr(rest[:60])))
    if name not in _KMEM:
        return Fields(-1, -1, 0, details)
    order = _small(details, "order", 63)
    migratetype = _small(details, "migratetype", 127)
    gfp = details.pop("gfp_flags", 0)
    bits = parse_gfp(hex(gfp) if isinstance(gfp, int) else gfp)
    return Fields(order, migratetype, bits, details)


def read_pairs(rest: str) -> dict[str, Value]:
    """Return all fields of a text: its pairs, `where` (the leading location) and `text` (what is left).

    Numbers are int: decimal, 0x hexadecimal, pointers of 16 digits, true and false. Beyond 63 bits they are
    the int64 of the same bits. A name that comes again, or that the reader itself uses, gets `_` appended.

    Cost: one regular expression over the text.
    """
    fields: dict[str, Value] = {}
    where = _WHERE.match(rest) if rest.startswith("(") else None
    if where is not None:
        fields["where"] = where[1]
        rest = rest[where.end() :]
    # Left over, name, value, left over, name, ...
    parts = _PAIR.split(rest, maxsplit=MAX_FIELDS - len(fields))
    for name, value in zip(parts[1::3], parts[2::3], strict=True):
        while name in fields or name in _RESERVED:
            name += "_"
        fields[name] = _value(value)
    text = " ".join(filter(None, map(str.strip, parts[::3])))
    if text:
        fields["text"] = text
    return fields


@lru_cache(maxsize=4096)
def _value(text: str) -> Value:
    if _INTEGER.match(text):
        number = int(text, 16 if text.startswith("0x") else 10)
    elif _POINTER.match(text):
        number = int(text, 16)
    else:
        return _WORDS.get(text, text)
    if number >= 1 << 63:
        number -= 1 << 64
    return number if -(1 << 63) < number < 1 << 63 else text


def _small(details: dict[str, Value], name: str, most: int) -> int:
    number = details.pop(name, -1)
    if not isinstance(number, int) or not -1 <= number <= most:
        raise TraceError(must(f"field {name}", f"a number up to {most}", repr(number)[:60]))
    return number
