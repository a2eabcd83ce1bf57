"""The descriptor of a frame, bit by bit: the only place that knows where anything lies.

Terminology: `allocator` is the word that says who hands the frame out and in what state it is;
`allocatee` says who has it, and belongs to the placement while the frame is free. A *tail* is a
frame of an allocated block other than its first, the *head*.

States. A word of zeros is *reserved*: what a memmap is made of before anybody wrote it, so neither a
boot that hands over a terabyte nor the inside of a free block has to touch descriptors. A frame
inside a free block, or inside a block whose head alone is stamped, is told by its head: look for it
at the PFN rounded down to each order. No word other than a free head's has bit 0 set, which makes the
free test one load and one mask. Bit 1 of a free head's tag says that the block was reported to the
host; any write of a new state clears it, as any unlink clears PageReported in Linux.

What the one-word layout cannot keep: while free it has no zone, node or migratetype, which then come
from the zone's bounds and from the list; its owner has 36 bits and not 60.
"""

from __future__ import annotations

from structpage.core.field import Field, Layout

TYPE_NAMES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")
"""Migratetypes by number (Linux 6.1, mm/vmstat.c, `migratetype_names`)."""
TYPES = len(TYPE_NAMES)
UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE = range(TYPES)
DEFAULT_TYPE = MOVABLE
"""The one migratetype in use until zones have fallback: that of most of the memory."""

ZIDS = 8
"""Zone slots per node; a zone's index is `node * ZIDS + zid`, as it stands in the word."""

LANE_SHIFT = 3
"""A *lane* is a zone and a migratetype, `zone << LANE_SHIFT | migratetype`, as they stand in the word."""

TAGS = {"reserved": 0, "free": 1, "allocated": 2, "tail": 4, "pcp": 6, "slab": 8, "offline": 10}
FREE_BIT = 1
REPORTED_BIT = 2
ALIASES = {FREE_BIT | REPORTED_BIT: "free"}

_ALL = frozenset(TAGS)
_FREE = frozenset({"free"})
_BLOCK = frozenset({"allocated", "tail", "pcp", "slab"})
_OWNED = frozenset({"allocated", "tail", "slab"})
_ZONED = _BLOCK | _FREE
_ON_A_LIST = frozenset({"free", "pcp"})


def _only(*states: str) -> frozenset[str]:
    return frozenset(states)


_LISTED = (
    (
        Field("next", 1, 0, 32, _ON_A_LIST, "node after this one; PFN, or frames + list", "in-words"),
        Field("prev", 1, 32, 32, _ON_A_LIST, "node before this one", "in-words"),
    ),
    (Field("next", 1, 0, 60, _ON_A_LIST, "node after this one; PFN, or frames + list", "singly-linked"),),
    (Field("list", 1, 0, 32, _ON_A_LIST, "number of the list", "bitmap"),),
    (
        Field("slot", 1, 0, 36, _ON_A_LIST, "where in the arrays the PFN is", "array-index"),
        Field("list", 1, 36, 27, _ON_A_LIST, "number of the list", "array-index"),
    ),
    (Field("node", 1, 0, 63, _ON_A_LIST, "byte address of the block's node", "slab-nodes"),),
    (
        Field("index", 1, 0, 40, _ON_A_LIST, "index in the list's tree", "radix-tree"),
        Field("list", 1, 40, 23, _ON_A_LIST, "number of the list", "radix-tree"),
    ),
)
"""What the `allocatee` of a block on a list says, by the placement that the word is left to."""

TWO_WORD = Layout(
    "two-word",
    2,
    TAGS,
    ALIASES,
    (
        Field("tag", 0, 0, 4, _ALL, "the state; bit 0 is set in free heads and nowhere else"),
        Field("order", 0, 4, 6, _ZONED, "log2 of the frames in the block"),
        Field("migratetype", 0, 10, 3, _ZONED, "free: the list it stands on; else the type asked for"),
        Field("zid", 0, 13, 3, _ZONED, "zone within the node: DMA, DMA32, Normal, HighMem, Movable, Device"),
        Field("nid", 0, 16, 10, _ZONED, "node"),
        Field("head", 0, 32, 32, _only("tail"), "PFN of the block's head"),
        Field("cache", 0, 32, 32, _only("slab"), "index of the slab cache"),
        *(field for placement in _LISTED for field in placement),
        Field("owner_kind", 1, 0, 4, _OWNED, "what the owner reference points to"),
        Field("owner", 1, 4, 60, _OWNED, "owner reference: a 16-byte aligned pointer, or an index"),
    ),
)

ONE_WORD = Layout(
    "one-word",
    1,
    TAGS,
    ALIASES,
    (
        Field("tag", 0, 0, 4, _ALL, "the state; bit 0 is set in free heads and nowhere else"),
        Field("order", 0, 4, 4, _ZONED, "log2 of the frames in the block, 0 to 15"),
        Field("next", 0, 8, 28, _only("free", "pcp"), "node after this one; PFN, or frames + list"),
        Field("prev", 0, 36, 28, _only("free", "pcp"), "node before this one"),
        Field("migratetype", 0, 8, 3, _OWNED, "the type asked for"),
        Field("zid", 0, 11, 3, _OWNED, "zone within the node"),
        Field("nid", 0, 14, 10, _OWNED, "node"),
        Field("owner_kind", 0, 24, 4, _OWNED, "what the owner reference points to"),
        Field("owner", 0, 28, 36, _OWNED, "owner reference: an index"),
    ),
)

LAYOUTS = {layout.name: layout for layout in (TWO_WORD, ONE_WORD)}

# The same facts as plain ints, which is what a compiled method can use.
FREE, ALLOCATED, TAIL, PCP, SLAB = (TAGS[state] for state in ("free", "allocated", "tail", "pcp", "slab"))
TAG_MASK = TWO_WORD.field("tag").mask
ORDER_SHIFT = TWO_WORD.field("order").shift
TYPE_MASK = TWO_WORD.field("migratetype").max
LANE_AT = TWO_WORD.field("migratetype").shift
LANE_MASK = (TWO_WORD.field("nid").max * ZIDS + TWO_WORD.field("zid").max) << LANE_SHIFT | TYPE_MASK
ORDER_MASK = TWO_WORD.field("order").max
HEAD_SHIFT = TWO_WORD.field("head").shift
LINK_SHIFT = TWO_WORD.field("prev", "free", "in-words").shift
LINK_MASK = TWO_WORD.field("next", "free", "in-words").max
LINK_SIGN = (LINK_MASK + 1) >> 1
ONE_WAY_MASK = TWO_WORD.field("next", "free", "singly-linked").max
LISTED_MASK = TWO_WORD.field("list", "free", "bitmap").max
INDEX_MASK = TWO_WORD.field("slot", "free", "array-index").max
INDEX_LIST_SHIFT = TWO_WORD.field("list", "free", "array-index").shift

ONE_ORDER_MASK = ONE_WORD.field("order").max
ONE_LANE_AT = ONE_WORD.field("migratetype").shift
ONE_OWNER_SHIFT = ONE_WORD.field("owner_kind").shift
ONE_OWNER_MASK = ONE_WORD.field("owner").max * 16 + 15
ONE_OWNER_SIGN = (ONE_OWNER_MASK + 1) >> 1
ONE_NEXT_SHIFT = ONE_WORD.field("next").shift
ONE_PREV_SHIFT = ONE_WORD.field("prev").shift
ONE_LINK_MASK = ONE_WORD.field("next").max
ONE_LINK_SIGN = (ONE_LINK_MASK + 1) >> 1
ONE_STATE_MASK = (1 << ONE_NEXT_SHIFT) - 1
