"""What the algorithms ask of the things they run on, as types only.

A *buffer* is a flat run of 64-bit ints: a memoryview (plain), a numpy array (compiled) or a `Probe`.
A *placement* says where the links of the free lists live. Lists are circular; node n is frame n for
n < `frames`, and the head of list `n - frames` above that. So a removal needs no list number, no
branch on the ends, and both ends are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Buffer(Protocol):
    """A flat run of signed 64-bit ints."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...
    def __len__(self) -> int: ...


class Fill(Protocol):
    """Writes the same to many words: the only bulk operation; each engine brings its own."""

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        """Write `value` to words `start`, `start + step`, ... below `stop`."""

    def pairs(self, start: int, stop: int, value: int, other: int) -> None:
        """Write `value` and `other` in turn to the words from `start` to below `stop`, an even number of them."""


class Declaration(NamedTuple):
    """What a placement says of itself; every field has the default of a plain linked list."""

    layout: str = "two-word"
    """The word layout it needs."""
    max_order: int = 30
    """The largest order it can hold."""
    max_nodes: int = 1 << 60
    """Frames and list heads together must not exceed it."""
    keeps_order: bool = True
    """Whether lists keep the order of insertion."""
    by_address: bool = False
    """Whether lists are in the order of addresses instead."""
    removes_by_walking: bool = False
    """Whether a removal may take a time that grows with the list."""
    touches_free_pages: bool = False
    """Whether links lie in the free pages' own memory."""
    frees_without_allocating: bool = True
    """Whether a free never needs memory of its own."""
    needs_zeros: bool = False
    """Whether it reads words of its buffers that it never wrote, and counts on their being zeros."""
    node_bytes: int = 0
    """Size of the nodes that it allocates, 0 if it has none."""


class Room(NamedTuple):
    """What a placement is built from: sizes, what exists already, and a source of buffers."""

    frames: int
    """Number of frames; nodes below it are frames."""
    lists: int
    """Number of list heads: nodes `frames` to `frames + lists - 1`."""
    word: Buffer
    """The memmap, two words per frame or one."""
    memory: Buffer
    """The frames' content, 512 words per frame; empty unless `touches_free_pages` is declared, or nodes lie in it."""
    buffer: Callable[[str, int], Buffer]
    """Makes a new buffer of zeros from a name and a number of words."""
    orders: int
    """Number of orders; lists of free blocks come first, and `lst % orders` is the order of one."""
    nodes: int = -1
    """For a placement that has nodes: how many it has at first, in `memory`; -1 if they lie in a buffer of its own."""
    nodes_at: int = 0
    """Where in `memory` the first of them lies, in words."""
    order_of: Callable[[int], int] | None = None
    """Returns the order of the blocks on a list; `None` if `lst % orders` is that of every list."""


class Placement(Protocol):
    """Where the links of the free lists live: the pluggable part.

    The allocator calls `push_*` after it marked the head's word free, and `remove` while the word
    still says so. A block is on one list at a time. `remove` validates what it reads before it
    writes: `CORRUPT` if a link leads outside the nodes.
    """

    def first(self, lst: int) -> int:
        """Return the PFN at the head of a list, -1 when it is empty."""

    def last(self, lst: int) -> int:
        """Return the PFN at the tail of a list, -1 when it is empty."""

    def next(self, lst: int, pfn: int) -> int:
        """Return the PFN after `pfn` on its list, -1 at the end, `CORRUPT` for a link to nowhere."""

    def prev(self, lst: int, pfn: int) -> int:
        """Return the PFN before `pfn` on its list, -1 at the start, `CORRUPT` for a link to nowhere."""

    def push_front(self, lst: int, pfn: int) -> None:
        """Insert a block at the head of a list."""

    def push_back(self, lst: int, pfn: int) -> None:
        """Insert a block at the tail of a list."""

    def remove(self, pfn: int) -> int:
        """Unlink a block from wherever it is; 0, or `CORRUPT`."""

    def reset(self, lst: int) -> None:
        """Make a list empty, whatever its links say."""


class Memmap(Protocol):
    """Reading and writing the descriptors of frames, whatever their layout."""

    @property
    def stamp(self) -> int:
        """1 if the tails of a block name its owner too."""

    def is_free_block(self, pfn: int, order: int) -> bool:
        """Whether `pfn` is the head of a free block of exactly this order."""

    def is_reserved(self, pfn: int) -> bool:
        """Whether the word is all zeros: reserved, or inside a block that its head tells."""

    def is_free_head(self, pfn: int) -> bool:
        """Whether `pfn` is the head of a free block."""

    def is_allocated_head(self, pfn: int) -> bool:
        """Whether `pfn` is the head of an allocated block."""

    def is_pcp_head(self, pfn: int) -> bool:
        """Whether `pfn` is the head of a block on a per-CPU list."""

    def is_slab_head(self, pfn: int) -> bool:
        """Whether `pfn` is the head of a block that the slab layer has."""

    def is_block_head(self, pfn: int) -> bool:
        """Whether `pfn` is the head of a block: free, allocated, of a slab, or on a per-CPU list."""

    def order_of(self, pfn: int) -> int:
        """Return the order of a head."""

    def lane_of(self, pfn: int) -> int:
        """Return the lane of an allocated head."""

    def owner_of(self, pfn: int) -> int:
        """Return the owner reference of an allocated head."""

    def mark_free(self, pfn: int, order: int, lane: int) -> None:
        """Make `pfn` the head of a free block."""

    def mark_pcp(self, pfn: int, order: int, lane: int) -> None:
        """Make `pfn` the head of a block on a per-CPU list, of the type that it is to be freed to."""

    def list_type(self, pfn: int) -> int:
        """Return the type of a free block's list, or that a per-CPU block is to be freed to; -1 if it is not kept."""

    def mark_allocated(self, pfn: int, order: int, lane: int, owner: int) -> None:
        """Make the block allocated: the head's words, and with stamping every tail's."""

    def mark_slab(self, pfn: int, cache: int) -> None:
        """Make the head of an allocated block that of a slab of a cache; owner and tails stay as they are."""

    def unmark_slab(self, pfn: int) -> None:
        """Make the head of a slab that of an allocated block again."""

    def mark_reported(self, pfn: int) -> None:
        """Note on a free head that the host was told."""

    def is_reported(self, pfn: int) -> bool:
        """Whether the host was told of this free block."""

    def unmark(self, pfn: int) -> None:
        """Make a head an ordinary word inside a block again."""

    def unmark_allocated(self, pfn: int, order: int) -> int:
        """Take back what `mark_allocated` wrote and return the lane; -1 if there is no such block."""
