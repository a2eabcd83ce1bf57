"""Who owns which frames while a trace is gone through, and the requests that follow from each event.

At rest
    `_live[pfn]` is `slot << 6 | order` for the head of every allocated block; blocks are aligned and do not
    overlap. `_held[pfn]` is 1 for a frame in use since before the trace and not freed; no such frame is in a
    block. `rows` is flat: kind, order, slot, offset, event of every request so far.
"""

from __future__ import annotations

from typing import Final

_ALLOC, _FREE, _SPLIT, _RELEASE = range(4)  # as in requests.py, which says what they mean
_ORDER_BITS: Final = 6
_ORDER_MASK: Final = (1 << _ORDER_BITS) - 1


class Owners:
    """The owners of all frames at one point of a trace.

    Attributes: `rows`, `count` (requests but splits), `foreign` and `reallocated` (as in `TracedRequests`).
    """

    def __init__(self, held: bytearray) -> None:
        self.rows: list[int] = []
        self.count = self.foreign = self.reallocated = 0
        self._live: dict[int, int] = {}
        self._first: list[int] = []  # slot -> PFN
        self._orders: list[int] = []  # that any block ever had, ascending
        self._held = held

    def alloc(self, pfn: int, order: int, event: int) -> None:
        """Take the allocation of a block, aligned to its size. Cost: a look-up per frame and order in use."""
        if self._in_use(pfn, order):
            self._free_unseen(pfn, order, event)
        if order not in self._orders:
            self._orders = sorted([*self._orders, order])
        slot = len(self._first)
        self._first.append(pfn)
        self._live[pfn] = slot << _ORDER_BITS | order
        self.count += 1
        self.rows += (_ALLOC, order, slot, 0, event)

    def free(self, pfn: int, order: int, event: int) -> None:
        """Take the free of a block, aligned to its size. Cost: one look-up if it is as it was allocated."""
        owner = self._live.get(pfn)
        if owner is not None and owner & _ORDER_MASK == order:
            self._free_block(pfn, owner, event)
            return
        whole = self._covering(pfn, order)
        if whole is not None:
            self._split(whole, order, event)
        self._free_pieces(pfn, order, event)

    def _free_pieces(self, pfn: int, order: int, event: int) -> None:
        # No block is larger than the range and has part of it.
        owner = self._live.get(pfn)
        if owner is not None and owner & _ORDER_MASK == order:
            self._free_block(pfn, owner, event)
            return
        size = 1 << order
        held = self._held.find(1, pfn, pfn + size) >= 0
        if self._live_inside(pfn, order) or (held and self._held.count(1, pfn, pfn + size) < size):
            half = size >> 1
            self._free_pieces(pfn, order - 1, event)
            self._free_pieces(pfn + half, order - 1, event)
        elif held:
            self._held[pfn : pfn + size] = bytes(size)
            self.count += 1
            self.rows += (_RELEASE, order, -1, pfn, event)
        else:
            self.foreign += 1

    def _free_block(self, pfn: int, owner: int, event: int) -> None:
        del self._live[pfn]
        slot = owner >> _ORDER_BITS
        self.count += 1
        self.rows += (_FREE, owner & _ORDER_MASK, slot, pfn - self._first[slot], event)

    def _free_unseen(self, pfn: int, order: int, event: int) -> None:
        # Something of the range is in use, though it is being allocated: free the whole blocks in its way.
        foreign, before = self.foreign, self.count
        whole = self._covering(pfn, order)
        if whole is None:
            self._free_pieces(pfn, order, event)
        else:
            self._free_block(whole, self._live[whole], event)
        self.reallocated += self.count - before
        self.foreign = foreign

    def _split(self, pfn: int, order: int, event: int) -> None:
        slot, size = self._live[pfn] >> _ORDER_BITS, 1 << (self._live[pfn] & _ORDER_MASK)
        entry = slot << _ORDER_BITS | order
        self._live.update(dict.fromkeys(range(pfn, pfn + size, 1 << order), entry))
        if order not in self._orders:
            self._orders = sorted([*self._orders, order])
        self.rows += (_SPLIT, order, slot, pfn - self._first[slot], event)

    def _in_use(self, pfn: int, order: int) -> bool:
        return (
            pfn in self._live
            or self._held.find(1, pfn, pfn + (1 << order)) >= 0
            or self._covering(pfn, order) is not None
            or (order > 0 and self._live_inside(pfn, order))
        )

    def _covering(self, pfn: int, order: int) -> int | None:
        # The head of the block that is larger than the range and holds it.
        for larger in self._orders:
            if larger > order:
                head = pfn >> larger << larger
                owner = self._live.get(head)
                if owner is not None and owner & _ORDER_MASK >= larger:
                    return head
        return None

    def _live_inside(self, pfn: int, order: int) -> bool:
        live = self._live
        if order == 0:
            return pfn in live
        if len(live) < 1 << order:
            return any(pfn <= head < pfn + (1 << order) for head in live)
        return any(head in live for head in range(pfn, pfn + (1 << order)))
