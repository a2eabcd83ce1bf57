"""Where the free blocks of a zone might lie, when no more is known of them than how many there are.

A layout obeys what any real one does: blocks are aligned and apart, and no two halves of a block are both free, for
the allocator would have merged them. Whole pageblocks, which it may leave apart, are left so only if there is no room
else. Terminology: an *area* is an aligned block of frames nothing was said of yet. It
is *shut* if at least one frame of it must stay in use, because its other half is a free block.

Idea: blocks are put in from the largest order down, each into the smallest area that takes it. An area that is larger
than the block is halved until one half is the block; the other halves are new areas, the last of them, the block's
own buddy, is shut. So no more frames have to be in use than one for each block put in by halving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random

from structpage.errors import InvalidArgument, must

Block = tuple[int, int, int]
"""PFN, order, migratetype."""
Counts = Mapping[int, Sequence[int]]
"""By migratetype, the number of free blocks of each order."""


class Areas:
    """The areas of a zone [start, end), each in pageblocks of one type, as far as types are told.

    With `apart` whole pageblocks may be left apart.
    """

    def __init__(
        self,
        start: int,
        end: int,
        types: Sequence[int] | None,
        orders: tuple[int, int],
        rng: Random | None,
        *,
        apart: bool = False,
    ) -> None:
        self._block_order, self._top = orders
        self._merged = self._block_order if apart else self._top
        self._types, self._first, self._rng = types, start >> self._block_order, rng
        self._pfns: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
        chunks = list(self._chunks(start, end))
        for pfn, order in rng.sample(chunks, len(chunks)) if rng else reversed(chunks):
            self._add(pfn, order, False)

    def _chunks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            aligned = (start & -start).bit_length() - 1 if start else self._top
            order = min(aligned, (end - start).bit_length() - 1, self._top)
            yield start, order
            start += 1 << order

    def _add(self, pfn: int, order: int, shut: bool) -> None:
        first, last = (at >> self._block_order for at in (pfn, pfn + (1 << order) - 1))
        types = {0} if self._types is None else set(self._types[first - self._first : last - self._first + 1])
        if len(types) == 1:
            self._pfns[types.pop(), order, shut].append(pfn)
        else:
            self._add(pfn + (1 << order - 1), order - 1, order - 1 < self._merged)
            self._add(pfn, order - 1, shut)

    def take(self, order: int, wanted: Iterable[int]) -> int:
        """Return where a free block may lie, in the first of the types wanted that has room; -1 if none has."""
        larger = [(size, shut) for size in range(order + 1, self._top + 1) for shut in (True, False)]
        for mt in wanted:
            for size, shut in [(order, False), *larger]:
                pfns = self._pfns.get((mt, size, shut))
                if pfns:
                    return self._halved(pfns.pop(), size, order)
        return -1

    def _halved(self, pfn: int, size: int, order: int) -> int:
        while size > order:
            size -= 1
            other = pfn + (1 << size)
            if self._rng and self._rng.random() < 0.5:
                pfn, other = other, pfn
            self._add(other, size, size == order < self._merged)
        return pfn

    def left(self) -> Iterator[int]:
        """Yield the frames that no block was put into, ascending."""
        areas = sorted((pfn, order) for (_, order, _), pfns in self._pfns.items() for pfn in pfns)
        return (frame for pfn, order in areas for frame in range(pfn, pfn + (1 << order)))


def lay_out(
    start: int, end: int, types: Sequence[int], counts: Counts, orders: tuple[int, int], rng: Random | None
) -> tuple[list[Block], Iterator[int]]:
    """Return places for so many free blocks in [start, end), ascending, and the frames that are left, ascending.

    `types` are those of its pageblocks; blocks lie in those of their list's type as far as these go. `orders` are that
    of pageblocks and the largest. With `rng` places and order are drawn from it. Raises `InvalidArgument` if there is
    no room. O(blocks x orders + frames left).
    """
    for known, apart in ((types, False), (None, False), (None, True)):
        areas = Areas(start, end, known, orders, rng, apart=apart)
        blocks = _placed(areas, counts, sorted(set(types) | {0}))
        if blocks is not None:
            rng.shuffle(blocks) if rng else blocks.sort()
            return blocks, areas.left()
    frames = sum(count << order for row in counts.values() for order, count in enumerate(row))
    raise InvalidArgument(must(f"free blocks of range [{start}, {end})", "such as fit into it", f"{frames} frames"))


def _placed(areas: Areas, counts: Counts, types: list[int]) -> list[Block] | None:
    blocks = []
    for order in range(max(map(len, counts.values())) - 1, -1, -1):
        for mt, row in counts.items():
            wanted = [mt, *types]
            for _ in range(row[order]):
                pfn = areas.take(order, wanted)
                if pfn < 0:
                    return None
                blocks.append((pfn, order, mt))
    return blocks
