"""`array-index`: for each list an array of PFNs, and in the block's word where in the array it stands.

Record: the `allocatee` word of a free head is its list (bits 36-62) and its *slot* (bits 0-35), a place in `pool`,
which holds its PFN. An array is made of *chunks* of `CHUNK` words: a header, which is the slot of the last entry before
this chunk, 0 in the first, and 31 entries. Chunks that are no longer used are chained by their headers, each any place
in the next, 0 at the end. The heads are two words a list: the slot of the last entry, 0 when the list is empty, and
that of the first one. Chunk 0 is not one: `pool[SPARE]` is a place in the first chunk that may be used again, and
`pool[FRESH]` the place of the first one never used.

Idea: the end of the array is the head of the list. A removal puts the last entry in the place of the one that goes, and
tells the block that was moved, so nothing is walked and nothing shifted; but the order of the list is lost. Neighbours
in a list are neighbours in memory, 8 to a line. The memory is 8 bytes a free block, and up to a chunk a list more;
what the worst case needs, every frame a free block, is set aside at boot, and costs what is touched. So a free never
allocates. Every operation is O(1).
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.status import CORRUPT
from structpage.core.words import INDEX_LIST_SHIFT, INDEX_MASK

CHUNK = 32
IN_CHUNK = CHUNK - 1  # entries, and the bits of a slot that say which
SPARE, FRESH = range(2)


class ArrayIndex(NamedTuple):
    """Free lists as arrays of PFNs; a block's list and slot are in its `allocatee` word."""

    word: Buffer
    pool: Buffer
    head: Buffer
    frames: int
    lists: int
    size: int

    @classmethod
    def build(cls, room: Room) -> ArrayIndex:
        size = cls.pool_words(room.frames, room.lists)
        pool, head = room.buffer("pool", size), room.buffer("head", 2 * room.lists)
        pool[SPARE], pool[FRESH] = 0, CHUNK
        for lst in range(room.lists):
            head[2 * lst] = 0
        return cls(room.word, pool, head, room.frames, room.lists, size)

    @staticmethod
    def declares() -> Declaration:
        # The pool has at most 33 words for each of them.
        return Declaration(max_nodes=(INDEX_MASK + 1) // (2 * CHUNK), keeps_order=False)

    @staticmethod
    def pool_words(frames: int, lists: int) -> int:
        """Return the words of chunks for every frame a free block, each list with one that is all but empty."""
        return CHUNK * (1 + -(-frames // IN_CHUNK) + min(frames, lists))

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 8 * ArrayIndex.pool_words(frames, lists) + 16 * lists

    def first(self, lst: int) -> int:
        slot = self.head[2 * lst]
        return self.pool[slot] if slot else -1

    def last(self, lst: int) -> int:
        return self.pool[self.head[2 * lst + 1]] if self.head[2 * lst] else -1

    def next(self, lst: int, pfn: int) -> int:
        slot = self.word[2 * pfn + 1] ^ lst << INDEX_LIST_SHIFT
        if slot <= CHUNK or slot >= self.size or self.pool[slot] != pfn:
            return CORRUPT
        if slot == self.head[2 * lst + 1]:
            return -1
        slot = self.below(slot)
        if slot <= CHUNK or slot >= self.size:
            return CORRUPT
        after = self.pool[slot]
        return after if 0 <= after < self.frames else CORRUPT

    def reset(self, lst: int) -> None:
        top = self.head[2 * lst]
        if top:
            self.pool[self.head[2 * lst + 1] - 1] = self.pool[SPARE]
            self.pool[SPARE] = top
        self.head[2 * lst] = 0

    def push_front(self, lst: int, pfn: int) -> None:
        slot = self.another(lst)
        self.pool[slot] = pfn
        self.word[2 * pfn + 1] = lst << INDEX_LIST_SHIFT | slot

    def push_back(self, lst: int, pfn: int) -> None:
        slot = self.another(lst)
        bottom = self.head[2 * lst + 1]
        if slot != bottom:
            moved = self.pool[bottom]
            self.pool[slot] = moved
            self.word[2 * moved + 1] = lst << INDEX_LIST_SHIFT | slot
        self.pool[bottom] = pfn
        self.word[2 * pfn + 1] = lst << INDEX_LIST_SHIFT | bottom

    def remove(self, pfn: int) -> int:
        pool = self.pool
        at = self.word[2 * pfn + 1]
        slot = at & INDEX_MASK
        lst = at >> INDEX_LIST_SHIFT
        if lst < 0 or lst >= self.lists or slot >= self.size or pool[slot] != pfn:
            return CORRUPT
        top = self.head[2 * lst]
        if top <= CHUNK or top >= self.size:
            return CORRUPT
        moved = pool[top]
        below = self.below(top)
        if moved < 0 or moved >= self.frames or below < 0 or below >= self.size:
            return CORRUPT
        if moved != pfn:
            pool[slot] = moved
            self.word[2 * moved + 1] = at
        if top & IN_CHUNK == 1:
            pool[top - 1] = pool[SPARE]
            pool[SPARE] = top
        self.head[2 * lst] = below
        return 0

    def below(self, slot: int) -> int:
        """Return the slot of the entry before one, 0 for the first."""
        return self.pool[slot - 1] if slot & IN_CHUNK == 1 else slot - 1

    def another(self, lst: int) -> int:
        """Return a slot at the end of a list's array, made its last, in a chunk of its own where the last is full."""
        pool = self.pool
        top = self.head[2 * lst]
        slot = top + 1
        if top == 0 or slot & IN_CHUNK == 0:
            chunk = pool[SPARE] & ~IN_CHUNK
            if chunk:
                pool[SPARE] = pool[chunk]
            else:
                chunk = pool[FRESH]
                pool[FRESH] = chunk + CHUNK
            pool[chunk] = top
            slot = chunk + 1
            if top == 0:
                self.head[2 * lst + 1] = slot
        self.head[2 * lst] = slot
        return slot
