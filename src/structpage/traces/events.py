"""The in-memory form of a trace: one row per event, one numpy column per thing an event can say.

Terminology
    *Event*: one line of the trace. *Row*: its number here, from 0, in the order of the trace.
    *Kind*: the event's name. *Coded*: a small number that stands for a text in a table of this trace.
    *Details*: per kind, a table of the fields that have no column of their own.

At rest
    The columns are of one length, and read in step. What an event does not have is -1 (`gfp`: 0). `pfn` is
    filled for every event whose fields start with `page= pfn=`; `order`, `migratetype` and `gfp` for kinds
    of the kernel's kmem system only, so that a kprobe's argument of the same name is found in its details.
    A detail table is a structured array, rows ascending in its first field `event` (int64, the row here).
    An int64 field holds a number (a pointer is its 64 bits, so negative from 1 << 63 on; `true` is 1), an
    int32 field a code into `strings`. A field an event lacks is `ABSENT`, or -1 where coded.
    Two fields are made by the reader: `where` is the location that a kprobe line has in parentheses, and
    `text` whatever is left when all `name=value` pairs are taken out of the line.

Not kept: the name and thread group of the task, and `page=` where a `pfn=` follows it (the same frame, mostly
hashed). Everything else of a line is in a column or in the details.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import InvalidArgument, UnknownName, must

EVENT_KINDS: Final[tuple[str, ...]] = (
    "mm_page_alloc",
    "mm_page_free",
    "mm_page_free_batched",
    "mm_page_alloc_zone_locked",
    "mm_page_pcpu_drain",
    "mm_page_alloc_extfrag",
    "kmalloc",
    "kmem_cache_alloc",
    "kfree",
    "kmem_cache_free",
    "kmalloc_node",
    "kmem_cache_alloc_node",
    "mm_setup_per_zone_wmarks",
    "mm_setup_per_zone_lowmem_reserve",
    "mm_calculate_totalreserve_pages",
    "mm_alloc_contig_migrate_range_info",
    "rss_stat",
)
"""The events of the kmem system: the first names of `Events.kinds` of every trace, so with fixed codes."""

MM_PAGE_ALLOC: Final = 0
MM_PAGE_FREE: Final = 1

MARKS: Final = frozenset({"tracing_mark_write", "print", "bprint", "bputs"})
"""Kinds that are a user's or developer's free text."""

ABSENT: Final = -(1 << 63)
"""The value of an int64 detail field in a row whose event does not have the field."""

COLUMNS: Final = ("kind", "time", "cpu", "pid", "context", "pfn", "order", "migratetype", "gfp")
"""The names of the columns of `Events`."""

Details = dict[str, NDArray[np.void]]


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """The events of a trace in order, as columns. `len()` is their number, a slice a part of them.

    The module's text says what is in a column where an event lacks it.
    """

    kinds: tuple[str, ...]
    """Event names; `EVENT_KINDS`, and then those met in this trace."""
    contexts: tuple[str, ...]
    """Texts of the interrupt and preemption flags (`d..3.`; four characters before 5.16; `""`: not shown)."""
    strings: tuple[str, ...]
    """Texts of the coded detail fields."""
    clock: str
    """Unit of `time`: `"us"`, or `"counter"` for a trace_clock that counts (counter, uptime, x86-tsc)."""
    kind: NDArray[np.integer[Any]]
    """Code into `kinds`: uint8 (uint16 in a trace of more than 256 kinds)."""
    time: NDArray[np.int64]
    """Time stamp in the unit `clock`, as the trace has it (finer than 1 us is rounded down)."""
    cpu: NDArray[np.int32]
    """Processor the event ran on."""
    pid: NDArray[np.int32]
    """Task the event ran in; 0 is the idle task."""
    context: NDArray[np.uint16]
    """Code into `contexts`."""
    pfn: NDArray[np.int64]
    """Frame number; also -1 for a failed allocation."""
    order: NDArray[np.int8]
    """log2 of the number of frames."""
    migratetype: NDArray[np.int8]
    """0 Unmovable, 1 Movable, 2 Reclaimable, 3 HighAtomic, 4 CMA, 5 Isolate."""
    gfp: NDArray[np.uint32]
    """Allocation flags; `gfp.format_gfp` names them."""
    details: Details = field(default_factory=dict)
    """Kind -> its table of further fields; no entry for a kind without any."""
    lost: int = 0
    """Events the tracer says it lost before or while it wrote this trace; -1: some, not said how many."""
    bad_lines: int = 0
    """Lines that are neither event nor comment and were skipped."""
    first_bad_line: int | None = None
    """Number of the first of them, from 1."""
    notes: tuple[str, ...] = ()
    """Sentences on what is wrong with the trace as a whole, such as that its end is missing."""

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        kinds = len(self.counts())
        extra = f", {self.bad_lines} bad lines" if self.bad_lines else ""
        if self.lost:
            extra += ", events lost" if self.lost < 0 else f", {self.lost} lost"
        return f"<Events {len(self)} of {kinds} kinds, clock {self.clock}{extra}>"

    def __getitem__(self, part: slice) -> Events:
        """Return the events of a slice of step 1, rows counted from 0 again; copies only the details."""
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise InvalidArgument(must("index of events", "a slice of step 1", part))
        start, stop, _ = part.indices(len(self))
        stop = max(start, stop)
        columns = {name: getattr(self, name)[start:stop] for name in COLUMNS}
        details = {}
        for name, table in self.details.items():
            first, last = np.searchsorted(table["event"], [start, stop])
            if last > first:
                details[name] = table[first:last].copy()
                details[name]["event"] -= start
        return replace(self, **columns, details=details)

    def counts(self) -> dict[str, int]:
        """Return the number of events of each kind that occurs, by name. Cost: one pass over `kind`."""
        numbers = np.bincount(self.kind, minlength=len(self.kinds)).tolist()
        return {name: count for name, count in zip(self.kinds, numbers, strict=True) if count}

    @property
    def unknown(self) -> dict[str, int]:
        """Number of events per kind that is neither kmem nor a mark nor has any `name=value` or location.

        They are rows like all others, with their words in the detail `text`.
        """
        return {name: count for name, count in self.counts().items() if self._is_unknown(name)}

    def _is_unknown(self, name: str) -> bool:
        if name in EVENT_KINDS or name in MARKS:
            return False
        table = self.details.get(name)
        return table is None or set(table.dtype.names or ()) <= {"event", "text"}

    def code(self, name: str) -> int:
        """Return the code of a kind in the column `kind`, or -1 if the trace has no such kind."""
        return self.kinds.index(name) if name in self.kinds else -1

    def texts(self, kind: str, name: str) -> list[str | None]:
        """Return a coded detail field as texts, `None` where an event lacks it.

        Raises:
            UnknownName: the trace has no such detail.
            InvalidArgument: the detail holds numbers.

        Cost: one look-up per event of the kind.

        """
        table = self.details.get(kind)
        if table is None or name not in (table.dtype.names or ()):
            raise UnknownName(must("detail", "one that the trace has", f"{kind}.{name}"))
        if table.dtype[name] != np.dtype(np.int32):
            raise InvalidArgument(must("detail", "a coded text", f"{kind}.{name} of {table.dtype[name]}"))
        return [self.strings[code] if code >= 0 else None for code in table[name].tolist()]

    def equals(self, other: Events) -> bool:
        """Whether two traces are the same in every attribute, values and dtypes alike. Cost: one pass."""
        plain = ("kinds", "contexts", "strings", "clock", "lost", "bad_lines", "first_bad_line", "notes")
        return (
            all(getattr(self, name) == getattr(other, name) for name in plain)
            and all(_same(getattr(self, name), getattr(other, name)) for name in COLUMNS)
            and list(self.details) == list(other.details)
            and all(_same(table, other.details[name]) for name, table in self.details.items())
        )


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and bool(np.array_equal(one, other))
