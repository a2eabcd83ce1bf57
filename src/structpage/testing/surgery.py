"""Opening an allocator up: what is on its lists, and a way to write any link, field or count.

For `structpage.testing.corruptions`; nothing here keeps any invariant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from structpage.allocator import BuddyAllocator
from structpage.core.words import DEFAULT_TYPE, LANE_SHIFT, TAGS

NEXT, PREV = 0, 1


class State:
    """What is on the lists, in the words and in the counts of an allocator, and a way to write each."""

    def __init__(self, buddy: BuddyAllocator) -> None:
        self.buddy, self.core, self.lists = buddy, buddy.core, buddy.lists
        self.pages = buddy.pages
        self.by_list: dict[int, list[int]] = {}
        for zone in buddy.zones:
            for order in range(buddy.core.orders):
                lst = (zone.number << LANE_SHIFT | DEFAULT_TYPE) * buddy.core.orders + order
                pfns = buddy.free_list(order, zone=zone.name, node=zone.node, migratetype=DEFAULT_TYPE)
                self.by_list |= {lst: pfns} if pfns else {}
        self.free = [(lst, pfn) for lst, pfns in self.by_list.items() for pfn in pfns]
        self.orders = {pfn: lst % buddy.core.orders for lst, pfn in self.free}

    @property
    def writes_links(self) -> bool:
        """Whether the links of this placement can be written one by one."""
        return hasattr(self.lists, "set_link") or hasattr(self.lists, "set_next") or hasattr(self.lists, "link")

    @property
    def writes_links_back(self) -> bool:
        """Whether there are links to the block before, and they can be written."""
        return self.writes_links and hasattr(self.lists, "prev")

    def head(self, lst: int) -> int:
        """Return the node of a list's head."""
        return self.pages.frames + lst

    def set_link(self, node: int, which: int, value: int) -> None:
        """Write the link of a node, a frame or a list's head, as a node."""
        lists: Any = self.lists
        if hasattr(lists, "set_link"):
            lists.set_link(node, which, value)
        elif hasattr(lists, "set_next"):
            (lists.set_prev if which else lists.set_next)(node, value)
        else:
            lists.link[2 * node + which] = 2 * value

    def set_field(self, pfn: int, name: str, state: str, value: int) -> None:
        """Write a field of a frame's own words, where it lies in a state."""
        field = self.pages.layout.field(name, state)
        word = self.pages.words[field.word :: self.pages.layout.words]
        word[pfn] = field.put(int(word[pfn]), value) & (1 << 64) - 1

    def in_state(self, state: str) -> list[int]:
        """Return the PFNs whose own word says a state; for `reserved`, those of no block at all."""
        pfns: list[int] = np.flatnonzero(self.pages.tag == TAGS[state]).tolist()
        return [pfn for pfn in pfns if state != "reserved" or self.pages[pfn].state == state]

    @property
    def two_words(self) -> bool:
        """Whether a descriptor has two words."""
        return self.pages.layout.words == 2

    def links(self, places: list[Any]) -> list[Any]:
        """Return the places if links can be written, else none."""
        return places if self.writes_links else []

    def wide(self) -> list[tuple[int, int]]:
        """Return the listed blocks above order 0."""
        return [(lst, pfn) for lst, pfn in self.free if lst % self.core.orders]

    def count(self, lst: int, change: int) -> None:
        """Change the count that a list goes into."""
        zone, order = (lst // self.core.orders) >> LANE_SHIFT, lst % self.core.orders
        self.core.nr_free[zone * self.core.orders + order] += change

    def insert(self, lst: int, pfn: int) -> None:
        """List a block, whatever its frames are."""
        lane, order = divmod(lst, self.core.orders)
        self.core.memmap.mark_free(pfn, order, lane)
        self.lists.push_back(lst, pfn)
        self.count(lst, 1)
