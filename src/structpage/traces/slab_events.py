"""The slab events of a trace as one structured array: what was allocated and freed, where, for whom.

Terminology
    *Slab event*: kmalloc, kmem_cache_alloc, kfree, kmem_cache_free, and the _node events that kernels before 6.1
    have for allocations that name a node. *Own*: the row of an event's allocation, or free, here.

A kernel prints kfree before it looks at the pointer, so a free of NULL is an event too. Pointers are addresses only if
the kernel was told so (no_hash_pointers): otherwise they are names that are as good for pairing, and nothing else.
Not printed are objects that kmem_cache_alloc_bulk gave, and those freed in bulk (kfree_rcu, kmem_cache_free_bulk).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.events import ABSENT, Events

KMALLOC, CACHE_ALLOC, KFREE, CACHE_FREE = range(4)
KINDS: Final = {
    "kmalloc": KMALLOC,
    "kmem_cache_alloc": CACHE_ALLOC,
    "kfree": KFREE,
    "kmem_cache_free": CACHE_FREE,
    "kmalloc_node": KMALLOC,
    "kmem_cache_alloc_node": CACHE_ALLOC,
}
"""The code of each event that is a slab event."""

SLAB_EVENT: Final = np.dtype(
    [
        ("event", np.int64),
        ("time", np.int64),
        ("kind", np.int8),
        ("cpu", np.int32),
        ("pid", np.int32),
        ("context", np.uint16),
        ("ptr", np.uint64),
        ("bytes_req", np.int64),
        ("bytes_alloc", np.int64),
        ("gfp", np.uint32),
        ("node", np.int32),
        ("accounted", np.int8),
        ("call_site", np.int32),
        ("name", np.int32),
    ]
)
"""Row in the trace; time, cpu, pid and context as there; code of `KINDS`; the object's address, 0 for NULL; bytes asked
for and given; flags; node asked for, -1 for any; 1 if charged to a memory cgroup; codes of where it was called from and
of the cache's name. What an event lacks is -1 (`gfp`: 0)."""

_NUMBERS: Final = ("bytes_req", "bytes_alloc", "node", "accounted")
_REQUIRED: Final = {KMALLOC: ("ptr", "bytes_alloc"), CACHE_ALLOC: ("ptr", "bytes_alloc"), KFREE: ("ptr",)}
_REQUIRED[CACHE_FREE] = _REQUIRED[KFREE]


@dataclass(frozen=True, eq=False, repr=False)
class SlabEvents:
    """The slab events of a trace, in its order."""

    rows: NDArray[np.void]
    """A row of `SLAB_EVENT` per event."""
    strings: tuple[str, ...]
    """What `call_site` and `name` are codes of."""
    contexts: tuple[str, ...]
    """What `context` is a code of."""

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        numbers = np.bincount(self.rows["kind"], minlength=4).tolist()
        told = ", ".join(f"{number} {name}" for name, number in zip(KINDS, numbers, strict=False))
        return f"<SlabEvents {len(self)}: {told}>"


def slab_events(events: Events) -> SlabEvents:
    """Return the slab events of a trace; there may be none.

    Raises:
        TraceError: an event has no pointer, or an allocation no number of bytes.

    Cost: a dozen numpy passes over the slab events.

    """
    strings = list(events.strings)
    parts = [
        _rows(events, events.details[kind], code, kind, strings)
        for kind, code in KINDS.items()
        if kind in events.details
    ]
    _all_have_details(events)
    rows = np.concatenate([np.empty(0, SLAB_EVENT), *parts])
    return SlabEvents(rows[np.argsort(rows["event"], kind="stable")], tuple(strings), events.contexts)


def _rows(events: Events, table: NDArray[np.void], code: int, kind: str, strings: list[str]) -> NDArray[np.void]:
    names = table.dtype.names or ()
    for name in _REQUIRED[code]:
        if name not in names:
            raise TraceError(must(f"event {kind}", f"one with {name}=", "one without"))
        if table.dtype[name] == np.int32:
            wrong = next(strings[text] for text in table[name].tolist() if not _is_number(strings[text]))
            raise TraceError(must(f"{name} of an event {kind}", "a number", repr(wrong)))
        if (table[name] == ABSENT).any():
            raise TraceError(must(f"event {kind}", f"one with {name}=", "one without"))
    rows = np.empty(len(table), SLAB_EVENT)
    rows["event"] = at = table["event"]
    for name in ("time", "cpu", "pid", "context", "gfp"):
        rows[name] = getattr(events, name)[at]
    rows["kind"] = code
    rows["ptr"] = table["ptr"].view(np.uint64) if table["ptr"].flags.contiguous else table["ptr"].astype(np.uint64)
    for name in _NUMBERS:
        rows[name] = _numbers(table, name)
    for name in ("call_site", "name"):
        rows[name] = _codes(table, name, strings)
    return rows


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _numbers(table: NDArray[np.void], name: str) -> NDArray[np.int64] | int:
    if name not in (table.dtype.names or ()) or table.dtype[name] != np.int64:
        return -1
    found: NDArray[np.int64] = np.where(table[name] == ABSENT, -1, table[name])
    return found


def _codes(table: NDArray[np.void], name: str, strings: list[str]) -> NDArray[Any] | int:
    # A call site without a symbol is a number: it is kept as the kernel's pointer.
    if name not in (table.dtype.names or ()):
        return -1
    if table.dtype[name] == np.int32:
        coded: NDArray[Any] = table[name]
        return coded
    values, which = np.unique(table[name], return_inverse=True)
    first = len(strings)
    strings.extend(f"{value & (1 << 64) - 1:016x}" for value in values.tolist())
    return np.where(table[name] == ABSENT, -1, which + first)


def _all_have_details(events: Events) -> None:
    for kind in KINDS:
        found = len(events.details.get(kind, ()))
        wanted = int(np.count_nonzero(events.kind == events.code(kind)))
        if found < wanted:
            raise TraceError(must(f"event {kind}", "one with ptr=", "one without fields"))
