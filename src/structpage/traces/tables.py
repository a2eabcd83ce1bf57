"""Tables that grow while a trace is read: codes for things that come again, and the details of each kind."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError
from structpage.traces.events import ABSENT, Details
from structpage.traces.fields import Value

BAD: Final = -1
"""The code of a thing that cannot be read."""

Key = TypeVar("Key", bound=Hashable)


class Texts(dict[str, int]):
    """A dict from texts to codes 0, 1, 2, ... given on first sight; its keys are in order of their codes."""

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self)
        return code


class Codes(dict[Key, int], Generic[Key]):
    """A dict from things to codes, made on first sight: each stands for a row of `width` integers.

    `read` makes the row of a thing; where it raises TraceError the thing's code is `BAD`.
    """

    def __init__(self, read: Callable[[Key], tuple[int, ...]], width: int) -> None:
        super().__init__()
        self._read, self._width = read, width
        self._rows = array("q")

    def __missing__(self, key: Key) -> int:
        code = len(self._rows) // self._width
        try:
            self._rows.extend(self._read(key))
        except TraceError:
            code = BAD
        self[key] = code
        return code

    def rows(self) -> NDArray[np.int64]:
        """Return the rows of all codes, as an array of `width` columns. Cost: one copy."""
        return np.array(self._rows, np.int64).reshape(-1, self._width)

    def clear(self) -> None:
        """Forget everything; codes given out are void then."""
        super().clear()
        self._rows = array("q")


class _Column:
    # One field: `values[i]` is its value in the entry `entries[i]`; text codes once `coded`.
    def __init__(self) -> None:
        self.entries, self.values = array("q"), array("q")
        self.coded = False


class DetailTable:
    """The detail table of one kind, growing.

    At rest there is one *entry* for each distinct set of details (more, if it was forgotten and came again),
    and for each event of the kind with details the row of the event and the number of its entry.
    """

    def __init__(self, strings: Texts) -> None:
        self._strings = strings
        self._entries = 0
        self._columns: dict[str, _Column] = {}
        self._events: list[NDArray[np.int64]] = []
        self._which: list[NDArray[np.int64]] = []

    def add(self, details: dict[str, Value]) -> int:
        """Make an entry, and return its number. Cost: one step per field."""
        for name, value in details.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Column()
            if isinstance(value, str) and not column.coded:
                # From now on the field is text; the numbers it had until now are written in decimal.
                column.values = array("q", (self._strings[str(number)] for number in column.values))
                column.coded = True
            column.entries.append(self._entries)
            column.values.append(self._strings[str(value)] if column.coded else int(value))
        self._entries += 1
        return self._entries - 1

    def extend(self, events: NDArray[np.int64], which: NDArray[np.int64]) -> None:
        """Append events, ascending, with the numbers of their entries."""
        self._events.append(events)
        self._which.append(which)

    @property
    def used(self) -> bool:
        """Whether any event has details of this kind."""
        return bool(self._events)

    def array(self) -> NDArray[np.void]:
        """Return the table, which must be in use, as a structured array. Cost: one pass per field."""
        dtype: list[tuple[str, Any]] = [("event", np.int64)]
        dtype += [(name, np.int32 if column.coded else np.int64) for name, column in self._columns.items()]
        which = np.concatenate(self._which)
        table = np.empty(len(which), dtype)
        table["event"] = np.concatenate(self._events)
        for name, column in self._columns.items():
            values = np.full(self._entries, -1 if column.coded else ABSENT, np.int64)
            values[np.array(column.entries, np.int64)] = np.array(column.values, np.int64)
            table[name] = values[which]
        return table


class DetailTables(dict[str, DetailTable]):
    """The detail tables of all kinds, made on first use, and the texts they share."""

    def __init__(self) -> None:
        super().__init__()
        self.strings = Texts()

    def __missing__(self, kind: str) -> DetailTable:
        table = self[kind] = DetailTable(self.strings)
        return table

    def arrays(self) -> Details:
        """Return all that have events, as structured arrays."""
        return {kind: table.array() for kind, table in self.items() if table.used}
