"""`Requests`: what is asked of an allocator, a row per request, in arrays.

What the rows mean is in `structpage.core.script`, whose loop runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from structpage.core.script import ALLOC, FREE, RELEASE, SPLIT
from structpage.errors import InvalidArgument, must

Column = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Requests:
    """Requests to an allocator: int64 columns of one length."""

    kind: Column
    """`ALLOC`, `FREE`, `SPLIT` or `RELEASE`."""
    order: Column
    """log2 of the frames allocated or freed; of a SPLIT, those of each part."""
    slot: Column
    """Number of the allocation, from 0; -1 for RELEASE."""
    offset: Column
    """Frames from the start of the slot's allocation; of a RELEASE, the PFN."""
    migratetype: Column
    """The type asked for; of FREE and RELEASE, that of the list."""
    zone: Column
    """The highest zone that will do, `node * ZIDS + zid`."""

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: slice) -> Requests:
        return Requests(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[Column, ...]:
        """Return the six columns, in the order of the script."""
        return self.kind, self.order, self.slot, self.offset, self.migratetype, self.zone

    def of_type(self, migratetype: int) -> Requests:
        """Return the same requests, all of one migratetype: for an allocator whose memory is all of it."""
        kind, order, slot, offset, _, zone = self.columns()
        return Requests(kind, order, slot, offset, np.full_like(kind, migratetype), zone)

    def count(self, kind: int) -> int:
        """Return the number of rows of a kind."""
        return int(np.count_nonzero(self.kind == kind))

    @property
    def slots(self) -> int:
        """Number of slots: one more than the highest."""
        return int(self.slot.max(initial=-1)) + 1

    @property
    def allocations(self) -> int:
        """Number of ALLOC rows."""
        return self.count(ALLOC)

    @property
    def frees(self) -> int:
        """Number of FREE rows."""
        return self.count(FREE)

    @property
    def splits(self) -> int:
        """Number of SPLIT rows."""
        return self.count(SPLIT)

    @property
    def releases(self) -> int:
        """Number of RELEASE rows."""
        return self.count(RELEASE)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.allocations} allocations, {self.frees} frees, {self.splits} splits, "
            f"{self.releases} releases>"
        )


def requests(
    kind: npt.ArrayLike,
    order: npt.ArrayLike,
    slot: npt.ArrayLike,
    offset: npt.ArrayLike = 0,
    migratetype: npt.ArrayLike = 1,
    zone: npt.ArrayLike = 2,
) -> Requests:
    """Return requests from arrays, sequences or, for the last three, scalars; lengths must agree."""
    columns = [np.asarray(column, np.int64) for column in (kind, order, slot, offset, migratetype, zone)]
    try:
        columns = [column.copy() for column in np.broadcast_arrays(*columns)]
    except ValueError:
        lengths = ", ".join(str(column.size) for column in columns)
        raise InvalidArgument(must("columns", "of one length", lengths)) from None
    return Requests(*columns)


__all__ = ["ALLOC", "FREE", "RELEASE", "SPLIT", "Requests", "requests"]
