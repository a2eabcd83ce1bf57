"""The guard of a placement: it knows what is on the lists, and whose word is whose.

Terminology: a *call* is one method of the placement, run for the allocator; a block is *listed* from the beginning of
the push that lists it to the end of the removal that takes it off. The guard stands where the allocator has its
placement. It keeps the lists a second time, in the obvious way, and lets each call through when the rules of
`core.buffers.Placement` are kept on both sides.

========================  ==================================  ==================================================
words                     the placement                       the allocator
========================  ==================================  ==================================================
its own buffers           reads what was written before,      never
                          writes
`words` of a listed       reads what it wrote since the push  reads; writes the bit that says reported
block                     and the state, writes its part
`memory` of a listed      reads what it wrote since the       never
block                     push, writes
other `words`             never                               reads, writes
other `memory`            never                               never
the allocator's buffers   never                               reads, writes
========================  ==================================  ==================================================

The placement's part is the `allocatee` of the block's frames, or with one word a frame the head's bits above tag and
order. What an owner or a consumer does to the frames' memory does not go through buffers, and is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from structpage.core.buddy import Buddy
from structpage.core.status import CORRUPT
from structpage.core.words import LANE_SHIFT
from structpage.errors import AccessError


class Block(NamedTuple):
    """A listed block: its list, its order, and the words of its frames that the placement wrote since the push."""

    lst: int
    order: int
    written: set[tuple[str, int]]


class Guard:
    """Stands before a placement, has its methods, and raises `AccessError` for what breaks a rule.

    Every method costs two to four calls of the placement's own, and of a push O(frames of the block).
    """

    def __init__(self, placement: Any, buddy: Buddy, *, keeps_order: bool) -> None:
        self.placement, self.memmap = placement, buddy.memmap
        self.frames, self.orders = buddy.frames, buddy.orders
        self.lists = (buddy.zones << LANE_SHIFT) * buddy.orders
        self.keeps_order = keeps_order
        self.call: str | None = None  # the call that runs; `None` while the allocator does
        self.blocks: dict[int, Block] = {}
        heads = range(self.frames, self.frames + self.lists)
        self.after, self.before = {head: head for head in heads}, {head: head for head in heads}
        self.backwards = hasattr(placement, "last") and hasattr(placement, "prev")
        if self.backwards:  # else it has neither, as the placement has neither
            self.last, self.prev = self._last, self._prev

    # What the allocator calls

    def first(self, lst: int) -> int:
        call = f"first(list {self._a_list('first', lst)})"
        return self._answer(call, "first", (lst,), lst, self.after[self.frames + lst])

    def _last(self, lst: int) -> int:
        call = f"last(list {self._a_list('last', lst)})"
        return self._answer(call, "last", (lst,), lst, self.before[self.frames + lst])

    def next(self, lst: int, pfn: int) -> int:
        call = self._on_list("next", lst, pfn)
        return self._answer(call, "next", (lst, pfn), lst, self.after[pfn])

    def _prev(self, lst: int, pfn: int) -> int:
        call = self._on_list("prev", lst, pfn)
        return self._answer(call, "prev", (lst, pfn), lst, self.before[pfn])

    def push_front(self, lst: int, pfn: int) -> None:
        self._push("push_front", lst, pfn)

    def push_back(self, lst: int, pfn: int) -> None:
        self._push("push_back", lst, pfn)

    def remove(self, pfn: int) -> int:
        call = f"remove(PFN {self._a_pfn('remove', pfn)})"
        if pfn not in self.blocks:
            raise AccessError(f"PFN {pfn}", "the head of a block on a list", "on none", operation=call, pfn=pfn)
        block = self.blocks[pfn]
        self._must_be_free(call, pfn, block.order)
        status = self._run(call, "remove", pfn)
        if type(status) is int and status == CORRUPT:
            return CORRUPT
        if type(status) is not int or status != 0:
            raise AccessError("answer", "0 or CORRUPT", repr(status), operation=call, pfn=pfn)
        before, after = self.before.pop(pfn), self.after.pop(pfn)
        del self.blocks[pfn]
        self._link(before, after)
        self._agrees(call, block.lst, before, after)
        return 0

    def reset(self, lst: int) -> None:
        call = f"reset(list {self._a_list('reset', lst)})"
        for pfn in list(self._listed(lst)):
            del self.blocks[pfn], self.after[pfn], self.before[pfn]
        self._link(self.frames + lst, self.frames + lst)
        self._run(call, "reset", lst)

    # What the buffers ask

    def block_of(self, frame: int) -> int:
        """Return the head of the listed block that a frame lies in, -1 if none; O(orders)."""
        for order in range(self.orders):
            head = frame >> order << order
            block = self.blocks.get(head)
            if block is not None and frame < head + (1 << block.order):
                return head
        return -1

    # How

    def _run(self, call: str, method: str, *arguments: int) -> Any:
        self.call = call
        try:
            return getattr(self.placement, method)(*arguments)
        finally:
            self.call = None

    def _push(self, method: str, lst: int, pfn: int) -> None:
        self._a_list(method, lst)
        call = f"{method}(list {lst}, PFN {self._a_pfn(method, pfn)})"
        order = lst % self.orders
        self._must_be_free(call, pfn, order)
        for frame in range(pfn, pfn + (1 << order)):
            held = self.block_of(pfn) if frame == pfn else frame
            if held in self.blocks:
                found = f"PFN {frame}, of the block on list {self.blocks[held].lst}"
                raise AccessError("block", "of frames that are on no list", found, operation=call, pfn=pfn)
        head = self.frames + lst
        before, after = (head, self.after[head]) if method == "push_front" else (self.before[head], head)
        self.blocks[pfn] = Block(lst, order, set())
        self._link(before, pfn)
        self._link(pfn, after)
        self._run(call, method, lst, pfn)
        self._agrees(call, lst, before, pfn)
        self._agrees(call, lst, pfn, after)

    def _link(self, before: int, after: int) -> None:
        self.after[before], self.before[after] = after, before

    def _listed(self, lst: int) -> Iterator[int]:
        node = self.after[self.frames + lst]
        while node < self.frames:
            yield node
            node = self.after[node]

    def _agrees(self, call: str, lst: int, before: int, after: int) -> None:
        # The placement has these two nodes side by side, as it has to after a change between them.
        if not self.keeps_order:
            return
        self._side_by_side(call, "first", "next", lst, before, after)
        if self.backwards:
            self._side_by_side(call, "last", "prev", lst, after, before)

    def _side_by_side(self, call: str, of_list: str, of_frame: str, lst: int, node: int, neighbour: int) -> None:
        method, arguments = (of_list, [lst]) if node >= self.frames else (of_frame, [lst, node])
        got, expected = self._run(call, method, *arguments), self._frame(neighbour)
        if type(got) is not int or got != expected:
            subject = f"answer of {method}({', '.join(map(str, arguments))}) after it"
            raise AccessError(subject, str(expected), repr(got), operation=call)

    def _frame(self, node: int) -> int:
        return node if node < self.frames else -1

    def _answer(self, call: str, method: str, arguments: tuple[int, ...], lst: int, node: int) -> int:
        got = self._run(call, method, *arguments)
        if type(got) is not int:
            raise AccessError("answer", "a plain int", repr(got), operation=call)
        if got == CORRUPT and method in ("next", "prev"):
            return got
        if self.keeps_order and got != self._frame(node):
            raise AccessError("answer", str(self._frame(node)), got, operation=call)
        empty = node >= self.frames or method in ("next", "prev")
        if not (got == -1 and empty) and (got not in self.blocks or self.blocks[got].lst != lst):
            raise AccessError("answer", f"a block on list {lst}", got, operation=call)
        return got

    # What the allocator has to keep to

    def _a_list(self, method: str, lst: int) -> int:
        return self._an_index(f"list of {method}", lst, self.lists)

    def _a_pfn(self, method: str, pfn: int) -> int:
        return self._an_index(f"PFN of {method}", pfn, self.frames)

    def _an_index(self, subject: str, index: int, end: int) -> int:
        if type(index) is not int or not 0 <= index < end:
            raise AccessError(subject, f"an int between 0 and {end - 1}", repr(index))
        return index

    def _on_list(self, method: str, lst: int, pfn: int) -> str:
        self._a_list(method, lst)
        call = f"{method}(list {lst}, PFN {self._a_pfn(method, pfn)})"
        if pfn not in self.blocks or self.blocks[pfn].lst != lst:
            found = f"on list {self.blocks[pfn].lst}" if pfn in self.blocks else "on none"
            raise AccessError(f"PFN {pfn}", f"the head of a block on list {lst}", found, operation=call, pfn=pfn)
        return call

    def _must_be_free(self, call: str, pfn: int, order: int) -> None:
        if not self.memmap.is_free_block(pfn, order):
            rule = f"marked as a free block of order {order}"
            raise AccessError(f"PFN {pfn}", rule, "in another state", operation=call, pfn=pfn)
