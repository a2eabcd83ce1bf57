"""The placements that come with the package; each module explains one.

The table maps names to classes. What a class must have is `core.buffers.Placement`, plus the class method
`build(room)` and, where the defaults of `Declaration` do not hold, the static method `declares()`.
"""

from __future__ import annotations

from structpage.core.placements.array_index import ArrayIndex
from structpage.core.placements.bitmap import Bitmap
from structpage.core.placements.in_page import InPage
from structpage.core.placements.in_words import InWords
from structpage.core.placements.one_word import OneWordLinks
from structpage.core.placements.per_order_table import PerOrderTable
from structpage.core.placements.radix_tree import RadixTree
from structpage.core.placements.side_table import SideTable
from structpage.core.placements.singly_linked import SinglyLinked
from structpage.core.placements.slab_nodes import SlabNodes

BUILTIN: dict[str, type] = {
    "side-table": SideTable,
    "in-page": InPage,
    "in-words": InWords,
    "one-word": OneWordLinks,
    "singly-linked": SinglyLinked,
    "per-order-table": PerOrderTable,
    "bitmap": Bitmap,
    "array-index": ArrayIndex,
    "slab-nodes": SlabNodes,
    "radix-tree": RadixTree,
}
