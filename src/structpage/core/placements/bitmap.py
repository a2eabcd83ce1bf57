"""`bitmap`: a bit for each block of each order, and for each list a summary of where its bits are.

Terminology: a *group* is 64 blocks of an order, side by side, and their word of `bits`, which all lists share: a bit
is set while its block is on any list. A list knows its lowest group; its *summary* is a tree over the other groups of
its order: a bit of level 1 is set while its group has a block of this list, and a bit of a level above while its word
of the level below is not zero. The level of one word is the top.

Record: the `allocatee` word of a free head is its list. A list has `ROW` words in `head`, and an order, which has lists
alike, `ROW` words in `shape`. In `bits` the orders lie one behind the other, in `summary` the lists, level 1 first.

===============  ========================================================================
`head[ORDER]`    the order of the list's blocks
`head[BITS]`     the place of its order's bits
`head[LEVEL]`    the place of level 1 of its summary
`head[LOWEST]`   the lowest group with a block of this list, `NONE` when the list is empty
`shape[BITS]`    the place of the order's bits
`shape[LAST]`    the last group
`shape[TOP]`     the place of the top, from that of level 1 on
`shape[SHIFT]`   6 times the number of levels
===============  ========================================================================

Idea: the next block of a list is looked for in its group, by asking the bits whose they are, and then up and down the
summary, a word at each level; so is the lowest group when the one that was has no block any more. A list that comes
and goes with one group never touches its summary. Every operation is O(levels + blocks of other lists in the group). A
list has no order but that of addresses: `first` is its lowest block and `last` its highest, wherever it was put in, so
whoever allocates gets the lowest address. There are no links, so nothing can point to a wrong place.

The bits are 0.25 byte a frame for all lists together; a summary is a 64th of its order's bits, for each list, of which
most have no block and cost address space alone. All bits count on being zeros at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT
from structpage.core.words import LISTED_MASK

TOP_BIT = -1 << 63  # bit 63 of a signed word
NONE = 1 << 62
MAX_ORDER = 30
ROW = 4
ORDER, BITS, LEVEL, LOWEST = range(ROW)
LAST, TOP, SHIFT = 0, 2, 3


class Bitmap(NamedTuple):
    """Free blocks as bits, in the order of their addresses."""

    word: Buffer
    bits: Buffer
    summary: Buffer
    head: Buffer
    shape: Buffer
    lists: int

    @classmethod
    def build(cls, room: Room) -> Bitmap:
        orders = [lst % room.orders if room.order_of is None else room.order_of(lst) for lst in range(room.lists)]
        shape = room.buffer("shape", ROW * (MAX_ORDER + 1))
        head = room.buffer("head", ROW * room.lists)
        place = 0
        for order in range(MAX_ORDER + 1):
            groups, *levels = cls.levels(room.frames, order)
            shape[ROW * order + LAST], shape[ROW * order + BITS] = groups - 1, place
            shape[ROW * order + TOP], shape[ROW * order + SHIFT] = sum(levels) - 1, 6 * len(levels)
            place += groups
        bits = room.buffer("bits", place)
        place = 0
        for lst, order in enumerate(orders):
            head[ROW * lst + ORDER], head[ROW * lst + BITS] = order, shape[ROW * order + BITS]
            head[ROW * lst + LEVEL], head[ROW * lst + LOWEST] = place, NONE
            place += sum(cls.levels(room.frames, order)[1:])
        return cls(room.word, bits, room.buffer("summary", place), head, shape, room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(
            max_order=MAX_ORDER, max_nodes=LISTED_MASK + 1, keeps_order=False, by_address=True, needs_zeros=True
        )

    @staticmethod
    def levels(frames: int, order: int) -> list[int]:
        """Return the words at each level over an order: groups, level 1, and so on to the top, which is one."""
        sizes = [-(-max(frames >> order, 1) >> 6)]
        while len(sizes) == 1 or sizes[-1] > 1:
            sizes.append(-(-sizes[-1] >> 6))
        return sizes

    @staticmethod
    def bytes_needed(frames: int, lists: int, order_of: Callable[[int], int] = lambda lst: 0) -> int:
        groups = sum(Bitmap.levels(frames, order)[0] for order in range(MAX_ORDER + 1))
        summaries = sum(sum(Bitmap.levels(frames, order_of(lst))[1:]) for lst in range(lists))
        return 8 * (groups + summaries + ROW * (lists + MAX_ORDER + 1))

    # Putting in and taking out

    def push_front(self, lst: int, pfn: int) -> None:
        head = self.head
        row = ROW * lst
        block = pfn >> head[row + ORDER]
        group = block >> 6
        at = block & 63
        self.word[2 * pfn + 1] = lst
        self.bits[head[row + BITS] + group] |= 1 << at if at < 63 else TOP_BIT
        lowest = head[row + LOWEST]
        if group < lowest:
            head[row + LOWEST] = group
            if lowest != NONE:
                self.add(row, lowest)
        elif group > lowest:
            self.add(row, group)

    def push_back(self, lst: int, pfn: int) -> None:
        self.push_front(lst, pfn)

    def remove(self, pfn: int) -> int:
        head = self.head
        lst = self.word[2 * pfn + 1]
        if not 0 <= lst < self.lists:
            return CORRUPT
        row = ROW * lst
        order = head[row + ORDER]
        block = pfn >> order
        group = block >> 6
        at = block & 63
        place = head[row + BITS] + group
        bit = 1 << at if at < 63 else TOP_BIT
        rest = self.bits[place]
        if rest & bit == 0:
            return CORRUPT
        rest ^= bit
        self.bits[place] = rest
        if rest:
            near = (group << 6 | ((rest & -rest).bit_length() - 1)) << order
            if self.word[2 * near + 1] == lst or self.lowest(rest, group, order, lst) >= 0:
                return 0
        if group == head[row + LOWEST]:
            group = self.lowest_group(row)
            head[row + LOWEST] = group
        if group != NONE:
            self.drop(row, group)
        return 0

    def add(self, row: int, group: int) -> None:
        """Put a group into the summary; O(levels)."""
        summary = self.summary
        place = self.head[row + LEVEL]
        index = group >> 6
        at = group & 63
        old = summary[place + index]
        summary[place + index] = old | (1 << at if at < 63 else TOP_BIT)
        last = self.shape[ROW * self.head[row + ORDER] + LAST] >> 6 if old == 0 else 0
        while last and old == 0:
            place += last + 1
            last >>= 6
            at = index & 63
            index >>= 6
            old = summary[place + index]
            summary[place + index] = old | (1 << at if at < 63 else TOP_BIT)

    def drop(self, row: int, group: int) -> None:
        """Take a group out of the summary; O(levels)."""
        summary = self.summary
        place = self.head[row + LEVEL]
        index = group >> 6
        at = group & 63
        rest = summary[place + index] & ~(1 << at if at < 63 else TOP_BIT)
        summary[place + index] = rest
        last = self.shape[ROW * self.head[row + ORDER] + LAST] >> 6 if rest == 0 else 0
        while last and rest == 0:
            place += last + 1
            last >>= 6
            at = index & 63
            index >>= 6
            rest = summary[place + index] & ~(1 << at if at < 63 else TOP_BIT)
            summary[place + index] = rest

    # Looking for

    def lowest(self, rest: int, group: int, order: int, lst: int) -> int:
        """Return the first block of a list among bits of a group, -1 if there is none."""
        while rest:
            at = (rest & -rest).bit_length() - 1
            pfn = (group << 6 | at) << order
            if self.word[2 * pfn + 1] == lst:
                return pfn
            rest ^= 1 << at if at < 63 else TOP_BIT
        return -1

    def lowest_group(self, row: int) -> int:
        """Return the first group in the summary, `NONE` if there is none or a word of it is wrong."""
        shape = ROW * self.head[row + ORDER]
        place = self.head[row + LEVEL] + self.shape[shape + TOP]
        if self.summary[place] == 0:
            return NONE
        return self.group_below(shape, place, self.shape[shape + SHIFT], 0)

    def group_below(self, shape: int, place: int, shift: int, index: int) -> int:
        """Return the first group below a word of a summary, the one of `index` on the level at `place`, or `NONE`."""
        while shift:
            rest = self.summary[place + index]
            if rest == 0:
                return NONE
            index = index << 6 | ((rest & -rest).bit_length() - 1)
            shift -= 6
            place -= (self.shape[shape + LAST] >> shift) + 1
        return index

    def in_group(self, row: int, group: int, lst: int) -> int:
        """Return the first block of a list in a group that has one."""
        order = self.head[row + ORDER]
        pfn = self.lowest(self.bits[self.head[row + BITS] + group], group, order, lst)
        return pfn if pfn >= 0 else CORRUPT

    def first(self, lst: int) -> int:
        head = self.head
        row = ROW * lst
        group = head[row + LOWEST]
        if group == NONE:
            return -1
        rest = self.bits[head[row + BITS] + group]
        if rest:
            pfn = (group << 6 | ((rest & -rest).bit_length() - 1)) << head[row + ORDER]
            if self.word[2 * pfn + 1] == lst:
                return pfn
        return self.in_group(row, group, lst)

    def next(self, lst: int, pfn: int) -> int:
        row = ROW * lst
        order = self.head[row + ORDER]
        shape = ROW * order
        at = pfn >> order & 63
        index = pfn >> order >> 6
        rest = self.bits[self.head[row + BITS] + index] & (-2 << at if at < 63 else 0)
        found = self.lowest(rest, index, order, lst)
        if found >= 0:
            return found
        last = self.shape[shape + LAST]
        place = self.head[row + LEVEL]
        shift = 0
        while last or shift == 0:
            at = index & 63
            index >>= 6
            rest = self.summary[place + index] & (-2 << at if at < 63 else 0)
            if rest:
                index = index << 6 | ((rest & -rest).bit_length() - 1)
                if shift:
                    place -= (self.shape[shape + LAST] >> shift) + 1
                group = self.group_below(shape, place, shift, index)
                return CORRUPT if group == NONE else self.in_group(row, group, lst)
            last >>= 6
            place += last + 1
            shift += 6
        return -1

    def last(self, lst: int) -> int:
        row = ROW * lst
        order = self.head[row + ORDER]
        shape = ROW * order
        place = self.head[row + LEVEL] + self.shape[shape + TOP]
        shift = self.shape[shape + SHIFT]
        index = 0
        if self.summary[place] == 0:
            index = self.head[row + LOWEST]
            shift = 0
        if index == NONE:
            return -1
        while shift:
            rest = self.summary[place + index]
            if rest == 0:
                return CORRUPT
            index = index << 6 | (63 if rest < 0 else rest.bit_length() - 1)
            shift -= 6
            place -= (self.shape[shape + LAST] >> shift) + 1
        rest = self.bits[self.head[row + BITS] + index]
        while rest:
            at = 63 if rest < 0 else rest.bit_length() - 1
            pfn = (index << 6 | at) << order
            if self.word[2 * pfn + 1] == lst:
                return pfn
            rest ^= 1 << at if at < 63 else TOP_BIT
        return CORRUPT

    def reset(self, lst: int) -> None:
        row = ROW * lst
        pfn = self.first(lst)
        while pfn >= 0 and self.remove(pfn) == 0:
            pfn = self.first(lst)
        if pfn != -1:
            start = self.head[row + LEVEL]
            for place in range(start, start + self.shape[ROW * self.head[row + ORDER] + TOP] + 1):
                self.summary[place] = 0
            self.head[row + LOWEST] = NONE
