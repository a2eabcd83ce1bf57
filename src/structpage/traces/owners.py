"""Who owns which frames while a trace is gone through, and the requests that follow: ints over flat buffers, as `core`.

Terminology: a frame is *held* if it has been in use since before the trace, and *live* if it is in a block that the
trace allocated.

At rest
    `frame[pfn]` is `HELD`, or for the head of a live block `(entry + 1) << 6 | order`, or 0. Blocks are aligned and
    do not overlap; no held frame is in one.
    An *entry* is four words of `entries` about an allocation of which a part is live: `FIRST`, its PFN; `LEFT`, its
    live frames; `SLOT`, the name it has in requests; `WANTED`, its type and zone as in a row. Entries that are free
    are a list, linked by their `FIRST` words.
    `tally` holds single numbers, as the constants from `ROWS` on say.

A row of the trace, and of the requests that are made of it, begins with a word of small fields: kind in bits 0-1,
order in bits 2-7, migratetype (modulo 256) in bits 8-15, zone from bit 16 on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from structpage.core.buffers import Buffer
from structpage.core.script import ALLOC, FREE, RELEASE, SPLIT

HELD = 1
ORDER_BITS = 6
ORDER_MASK = (1 << ORDER_BITS) - 1
FIRST_HEAD = 1 << ORDER_BITS
FIRST, LEFT, SLOT, WANTED = range(4)
ENTRY_WORDS = 4
KIND_BITS = 2
KIND_MASK = (1 << KIND_BITS) - 1
WANTED_SHIFT = KIND_BITS + ORDER_BITS

ROWS = 0
"""Requests in the output that nobody has fetched yet."""
SLOTS = 1
"""Allocations so far."""
ENTRIES = 2
"""Entries that have ever been in use."""
SPARE = 3
"""The first free entry, plus 1; 0 if there is none below `ENTRIES`."""
ORDERS = 4
"""Bit `order` is set for the order of every row so far and of those that are given to the loop."""
NEXT = 5
"""The frame at which an interrupted event goes on; 0 if none was interrupted."""
FOREIGN = 6
FAILED = 7
REALLOCATED = 8
MISALIGNED = 9
TALLIES = 10
"""Number of words in `tally`; the last four are those of `TracedRequests`, in its order."""


class Output(NamedTuple):
    """Requests that were made and not fetched yet, a word in each buffer for each."""

    what: Buffer
    slot: Buffer
    offset: Buffer
    event: Buffer
    """The row of the trace, counted from the first that the loop was given."""


class Owners(NamedTuple):
    """Who has which frames at one point of a trace, and the requests that follow from each event."""

    frame: Buffer
    entries: Buffer
    tally: Buffer
    out: Output
    recycle: int
    """Whether a slot is used again when its allocation is all free; else every allocation has one of its own."""

    def add(self, what: int, slot: int, offset: int, event: int) -> None:
        """Append a request to the output."""
        out = self.out
        row = self.tally[ROWS]
        out.what[row] = what
        out.slot[row] = slot
        out.offset[row] = offset
        out.event[row] = event
        self.tally[ROWS] = row + 1

    def alloc(self, pfn: int, order: int, what: int, event: int) -> bool:
        """Take an allocation; whether that was done. If not, it is to be taken again when the output has room.

        O(frames of the block + orders in use).
        """
        used = self.frame[pfn] != 0 or (order > 0 and self.in_use(pfn + 1, pfn + (1 << order)))
        if (used or self.covering(pfn, order) >= 0) and not self.free_unseen(pfn, order, event):
            return False
        tally, entries = self.tally, self.entries
        entry = tally[SPARE] - 1
        if entry >= 0:
            tally[SPARE] = entries[entry * ENTRY_WORDS + FIRST]
        else:
            entry = tally[ENTRIES]
            tally[ENTRIES] = entry + 1
        slot = entry
        if not self.recycle:
            slot = tally[SLOTS]
            tally[SLOTS] = slot + 1
        base = entry * ENTRY_WORDS
        entries[base + FIRST] = pfn
        entries[base + LEFT] = 1 << order
        entries[base + SLOT] = slot
        entries[base + WANTED] = what >> WANTED_SHIFT
        self.frame[pfn] = (entry + 1) << ORDER_BITS | order
        self.add(what, slot, 0, event)
        return True

    def free(self, pfn: int, order: int, event: int) -> bool:
        """Take a free; whether that was done. If not, it is to be taken again when the output has room.

        O(1) for a block as it was allocated.
        """
        owner = self.frame[pfn]
        if owner < FIRST_HEAD or owner & ORDER_MASK != order:
            whole = self.covering(pfn, order)
            if whole < 0:
                return self.free_pieces(pfn, order, event, 1)
            self.split(whole, order, event)
            owner = self.frame[pfn]
        self.free_block(pfn, owner, event)
        return True

    def free_block(self, pfn: int, owner: int, event: int) -> None:
        """Free the live block at `pfn`, whose word is `owner`. The output has room."""
        tally, entries = self.tally, self.entries
        self.frame[pfn] = 0
        order = owner & ORDER_MASK
        entry = (owner >> ORDER_BITS) - 1
        base = entry * ENTRY_WORDS
        what = entries[base + WANTED] << WANTED_SHIFT | order << KIND_BITS | FREE
        self.add(what, entries[base + SLOT], pfn - entries[base + FIRST], event)
        left = entries[base + LEFT] - (1 << order)
        if left:
            entries[base + LEFT] = left
        else:
            entries[base + FIRST] = tally[SPARE]
            tally[SPARE] = entry + 1

    def split(self, pfn: int, order: int, event: int) -> None:
        """Make the live block at `pfn` into blocks of `order`. The output has room."""
        owner = self.frame[pfn]
        for head in range(pfn, pfn + (1 << (owner & ORDER_MASK)), 1 << order):
            self.frame[head] = owner & ~ORDER_MASK | order
        base = ((owner >> ORDER_BITS) - 1) * ENTRY_WORDS
        what = self.entries[base + WANTED] << WANTED_SHIFT | order << KIND_BITS | SPLIT
        self.add(what, self.entries[base + SLOT], pfn - self.entries[base + FIRST], event)

    def free_unseen(self, pfn: int, order: int, event: int) -> bool:
        """Free the whole blocks and held frames in the way of an allocation; whether that was done."""
        whole = self.covering(pfn, order)
        if whole < 0:
            return self.free_pieces(pfn, order, event, 0)
        self.tally[REALLOCATED] += 1
        self.free_block(whole, self.frame[whole], event)
        return True

    def free_pieces(self, pfn: int, order: int, event: int, seen: int) -> bool:
        """Free what is in use of a range that no block covers, piece by piece; whether all was done.

        A piece is a live block, or the largest aligned range of frames that are all held, or all not known to be in
        use. `seen` is 1 for a free that the trace has, 0 for one that is made up. Leaves room for one request.
        """
        stop = pfn + (1 << order)
        pfn = self.tally[NEXT] if self.tally[NEXT] else pfn
        while pfn < stop:
            owner = self.frame[pfn]
            if owner == 0:
                self.tally[FOREIGN] += seen
                pfn += self.piece(pfn, stop)
            elif self.tally[ROWS] < len(self.out.what) - 1:
                self.tally[REALLOCATED] += 1 - seen
                if owner == HELD:
                    pfn += self.release(pfn, self.piece(pfn, stop), event)
                else:
                    self.free_block(pfn, owner, event)
                    pfn += 1 << (owner & ORDER_MASK)
            else:
                self.tally[NEXT] = pfn
                return False
        self.tally[NEXT] = 0
        return True

    def piece(self, pfn: int, stop: int) -> int:
        """Return the frames of the largest aligned range at `pfn` below `stop` that are all as the first is."""
        word = self.frame[pfn]
        size = 1
        while pfn & size == 0 and pfn + (size << 1) <= stop:
            for other in range(pfn + size, pfn + (size << 1)):
                if self.frame[other] != word:
                    return size
            size <<= 1
        return size

    def release(self, pfn: int, size: int, event: int) -> int:
        """Free held frames, as many as a block has; return how many. The output has room."""
        order = 0
        while 1 << order < size:
            order += 1
        for held in range(pfn, pfn + size):
            self.frame[held] = 0
        self.add(order << KIND_BITS | RELEASE, -1, pfn, event)
        return size

    def in_use(self, start: int, stop: int) -> bool:
        """Whether a frame of a range is held or the head of a live block."""
        for pfn in range(start, stop):  # noqa: SIM110  numba compiles loops, not generators
            if self.frame[pfn]:
                return True
        return False

    def covering(self, pfn: int, order: int) -> int:
        """Return the head of the live block that is larger than the range and holds it, or -1."""
        larger = self.tally[ORDERS] & -(2 << order)
        while larger:
            size = larger & -larger
            owner = self.frame[pfn & -size]
            if owner >= FIRST_HEAD and 1 << (owner & ORDER_MASK) >= size:
                return pfn & -size
            larger ^= size
        return -1


def pair(owners: Owners, rows: Iterable[tuple[int, int]], first: int, stop: int) -> int:
    """Take the rows of a trace, each its word and its PFN; events are counted from `first` on in the output.

    Stops before a row when `stop` requests are in the output, and in a row for which the output has no room: that
    one is to be given again. Precondition: the output has room for two more than `stop`; there is an entry for each
    row, and `frame` has all their frames. Returns the number of rows that were done.
    """
    tally = owners.tally
    done = 0
    for what, pfn in rows:
        if tally[ROWS] >= stop:
            break
        order = what >> KIND_BITS & ORDER_MASK
        if pfn < 0:
            tally[FAILED] += 1
        elif pfn & ((1 << order) - 1):
            tally[MISALIGNED] += 1
        elif what & KIND_MASK == ALLOC:
            if not owners.alloc(pfn, order, what, first + done):
                break
        elif not owners.free(pfn, order, first + done):
            break
        done += 1
    return done
