"""`radix-tree`: each list an array of PFNs in a radix tree, whose nodes are allocated as it grows.

Terminology: an *entry* is an index of the array with the PFN there; a *leaf* has entries, an inner node has nodes. The
array ends at the head of the list: what came last is taken first. What is put to the tail goes to entry 0, and what was
there to the end, so the order of a list is not kept.

Record: a node has 64 slots after five words of its own, 72 words in all, as large as Linux 6.1's `struct xa_node`. Of
list `lst`, `tree[3 * lst]` is the place of the root, `tree[3 * lst + 1]` the height, the number of levels from root to
leaf, both 0 while the list is empty, and `tree[3 * lst + 2]` the number of entries. A free page's `allocatee` is the
list in its upper bits and the index below, so a block is found in its array without a search; removed from the middle,
it is replaced by the last entry. Operations are O(height).

A block that becomes free may need a node, up to one a level and one more: freeing allocates.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Declaration, Room
from structpage.core.placements.nodes import DRY, SPARE, Nodes
from structpage.core.status import CORRUPT

ROOT, HEIGHT, COUNT = range(3)
TREE_WORDS = 3
FAN_SHIFT = 6
FAN = 1 << FAN_SHIFT
SLOTS = 5
NODE_WORDS = 72
LIST_SHIFT = 40
INDEX_MASK = (1 << LIST_SHIFT) - 1


class RadixTree(NamedTuple):
    """Free lists as arrays of PFNs in radix trees."""

    word: Buffer
    tree: Buffer
    nodes: Nodes
    lists: int

    @classmethod
    def build(cls, room: Room) -> RadixTree:
        nodes = Nodes.build(room, NODE_WORDS, cls.nodes_needed(room.frames, room.lists))
        return cls(room.word, room.buffer("tree", TREE_WORDS * room.lists), nodes, room.lists)

    @staticmethod
    def declares() -> Declaration:
        return Declaration(keeps_order=False, frees_without_allocating=False, node_bytes=8 * NODE_WORDS)

    @staticmethod
    def bytes_needed(frames: int, lists: int) -> int:
        return 8 * TREE_WORDS * lists

    @staticmethod
    def nodes_needed(blocks: int, lists: int) -> int:
        nodes, trees = 0, min(lists, blocks)
        while trees:
            blocks = (blocks >> FAN_SHIFT) + trees
            nodes += blocks
            trees = min(trees, blocks >> 1)  # those of two nodes or more have another level
        return nodes

    def nodes_at_most(self, added: int, moved: int, lists: int) -> int:
        levels = 1
        while len(self.word) > 2 << FAN_SHIFT * levels:
            levels += 1
        return (added + moved >> FAN_SHIFT) + levels * min(added + moved, lists)

    def nodes_to_push(self, lst: int) -> int:
        return self.missing(self.tree[TREE_WORDS * lst + COUNT], self.tree[TREE_WORDS * lst + HEIGHT])

    def nodes_to_move(self, lst: int, lists: int) -> int:
        return sum(self.nodes_to_push(other) for other in range(lst, lst + lists))

    def untouched_bytes(self) -> int:
        return self.nodes.fresh_bytes()

    def slot(self, lst: int, index: int) -> int:
        """Return the place of the slot of an entry."""
        node = self.tree[TREE_WORDS * lst + ROOT]
        shift = FAN_SHIFT * (self.tree[TREE_WORDS * lst + HEIGHT] - 1)
        while shift > 0:
            node = self.nodes.store[node + SLOTS + (index >> shift & FAN - 1)]
            shift -= FAN_SHIFT
        return node + SLOTS + (index & FAN - 1)

    def entry(self, lst: int, index: int) -> int:
        if not 0 <= index < self.tree[TREE_WORDS * lst + COUNT]:
            return -1
        pfn = self.nodes.store[self.slot(lst, index)]
        return pfn if pfn >= 0 else CORRUPT

    def set_entry(self, lst: int, index: int, pfn: int) -> None:
        self.nodes.store[self.slot(lst, index)] = pfn
        self.word[2 * pfn + 1] = lst << LIST_SHIFT | index

    def missing(self, index: int, height: int) -> int:
        """Return how many nodes a tree of a height lacks for the entry that follows its last one."""
        if index & FAN - 1:
            return 0
        if height == 0 or index >> FAN_SHIFT * height:
            return height + 1
        count = 0
        for level in range(1, height):
            if index & (1 << FAN_SHIFT * level) - 1:
                return count
            count += 1
        return count

    def append(self, lst: int, pfn: int) -> bool:
        """Put a PFN at the end of a list's array; False, and nothing is changed, if a node is missing."""
        tree, store, base = self.tree, self.nodes.store, TREE_WORDS * lst
        index = tree[base + COUNT]
        height = tree[base + HEIGHT]
        missing = self.missing(index, height)
        if missing:
            if missing > self.nodes.state[SPARE]:
                self.nodes.state[DRY] += 1
                return False
            if height == 0 or index >> FAN_SHIFT * height:
                root = self.nodes.take()
                store[root + SLOTS] = tree[base + ROOT]
                tree[base + ROOT] = root
                height += 1
                tree[base + HEIGHT] = height
            node = tree[base + ROOT]
            shift = FAN_SHIFT * (height - 1)
            while shift > 0:
                at = node + SLOTS + (index >> shift & FAN - 1)
                if index & (1 << shift) - 1 == 0:
                    store[at] = self.nodes.take()
                node = store[at]
                shift -= FAN_SHIFT
        tree[base + COUNT] = index + 1
        self.set_entry(lst, index, pfn)
        return True

    def drop(self, lst: int) -> None:
        """Take the last entry away, and the nodes that have none any more."""
        tree, store, base = self.tree, self.nodes.store, TREE_WORDS * lst
        index = tree[base + COUNT] - 1
        height = tree[base + HEIGHT]
        tree[base + COUNT] = index
        if index & FAN - 1:
            return
        root = tree[base + ROOT]
        node = root
        shift = FAN_SHIFT * (height - 1)
        while shift > 0:
            node = store[node + SLOTS + (index >> shift & FAN - 1)]
            if index & (1 << shift) - 1 == 0:
                self.nodes.give(node)
            shift -= FAN_SHIFT
        if index == 0:
            tree[base + ROOT] = 0
            tree[base + HEIGHT] = 0
            self.nodes.give(root)
        elif height > 1 and index == 1 << FAN_SHIFT * (height - 1):
            tree[base + ROOT] = store[root + SLOTS]
            tree[base + HEIGHT] = height - 1
            self.nodes.give(root)

    def first(self, lst: int) -> int:
        return self.entry(lst, self.tree[TREE_WORDS * lst + COUNT] - 1)

    def last(self, lst: int) -> int:
        return self.entry(lst, 0)

    def next(self, lst: int, pfn: int) -> int:
        return self.entry(lst, (self.word[2 * pfn + 1] & INDEX_MASK) - 1)

    def reset(self, lst: int) -> None:
        for field in range(TREE_WORDS):
            self.tree[TREE_WORDS * lst + field] = 0

    def push_front(self, lst: int, pfn: int) -> None:
        self.append(lst, pfn)

    def push_back(self, lst: int, pfn: int) -> None:
        tail = self.entry(lst, 0)
        if tail < 0:
            self.append(lst, pfn)
        elif self.append(lst, tail):
            self.set_entry(lst, 0, pfn)

    def remove(self, pfn: int) -> int:
        links = self.word[2 * pfn + 1]
        lst = links >> LIST_SHIFT
        index = links & INDEX_MASK
        if not 0 <= lst < self.lists or self.entry(lst, index) != pfn:
            return CORRUPT
        end = self.tree[TREE_WORDS * lst + COUNT] - 1
        if index < end:
            self.set_entry(lst, index, self.entry(lst, end))
        self.drop(lst)
        return 0
