"""`PlacedMachine`: memory that is wanted by its address: isolation, contiguous ranges, CMA areas, poisoned frames."""

from __future__ import annotations

import numpy as np

from structpage import mapping
from structpage.arguments import a_pfn, a_range, at_least, between
from structpage.core.linux.cma import CmaArea, cma_activate_area, cma_alloc, cma_release
from structpage.core.linux.contig import alloc_contig_range, first_used, free_contig_range
from structpage.core.linux.hwpoison import put_page_back_buddy, take_page_off_buddy
from structpage.core.linux.isolation import start_isolate_page_range, undo_isolate_page_range, unmovable_frame
from structpage.core.status import BUSY, NO_MEMORY, REFUSED
from structpage.core.words import CMA, ISOLATE, MOVABLE, TYPE_NAMES
from structpage.errors import InvalidArgument, InvalidFree, OutOfMemory, must
from structpage.machine.asked import AskedMachine
from structpage.refusal import why_not_free, why_not_reserved


class Cma:
    """A CMA area of a machine: memory that movable requests use while nobody needs it in one piece."""

    def __init__(self, machine: PlacedMachine, base: int, frames: int, order_per_bit: int) -> None:
        self.machine, self.base, self.frames = machine, base, frames
        bitmap = mapping.zeros(frames >> order_per_bit)
        self._area = machine.engine.adopt(
            CmaArea(machine.engine.buffer(f"cma {base}", bitmap), base, frames, order_per_bit)
        )
        self.bitmap = bitmap.view(np.int64)
        """1 for each granule of 2^order_per_bit frames that is taken; int64."""

    def alloc(self, count: int, align: int = 0, *, cpu: int = 0, owner: object = None) -> int:
        """Allocate `count` frames in a row, the first aligned to 2^align; its PFN.

        Frames in use by others are not migrated: the next place is tried. Raises `OutOfMemory`. (`cma_alloc`.)
        """
        count, align = at_least("count", count, 1), between("align", align, 0, 30)
        cpu, reference = self.machine._cpu(cpu), self.machine.pages.owners.reference(owner)
        self.machine._begin()
        pfn: int = cma_alloc(self.machine.machine, self._area, count, align, cpu, reference)
        self.machine._raise_if(pfn)
        if pfn < 0:
            rule = f"with {count} frames in a row that nobody uses"
            raise OutOfMemory(must(f"CMA area at PFN {self.base}", rule, f"{self.frames} frames"))
        return pfn

    def release(self, pfn: int, count: int, *, cpu: int = 0) -> None:
        """Free `count` frames from `pfn` on, which `alloc` gave; raises `InvalidFree`, and nothing is free then."""
        pfn, end = a_range(pfn, count, self.machine.pages.frames)
        self.machine._begin()
        status = cma_release(self.machine.machine, self._area, pfn, end - pfn, self.machine._cpu(cpu))
        self.machine._raise_if(status)
        if status:
            raise InvalidFree(must(f"range [{pfn}, {end})", "frames that the area gave", "others"))


class PlacedMachine(AskedMachine):
    """A machine that gives, and withholds, memory by its address."""

    def isolate(self, start: int, count: int, *, cma: bool = False, cpu: int = 0) -> None:
        """Isolate the pageblocks of [start, start + count): their free memory is not handed out until `unisolate`.

        Frames in use stay so, and join when they are freed. Raises `OutOfMemory` if one is unmovable, or a pageblock
        is isolated already or, without `cma`, of a CMA area; none is isolated then. `InvalidArgument` if they are not
        all in one zone. Followed: Linux 6.1 mm/page_isolation.c, `start_isolate_page_range`.
        """
        start, end = a_range(start, count, self.pages.frames)
        mt = CMA if cma else MOVABLE
        self._begin()
        status = start_isolate_page_range(self.machine, start, end, mt, self._cpu(cpu))
        self._raise_unless_isolated(status, start, end, mt)

    def unisolate(self, start: int, count: int, *, migratetype: int = MOVABLE, cpu: int = 0) -> None:
        """Give isolated pageblocks of [start, start + count) a type again, and their free memory back to the lists."""
        start, end = a_range(start, count, self.pages.frames)
        migratetype = between("migratetype", migratetype, 0, ISOLATE - 1)
        self._begin()
        self._raise_if(undo_isolate_page_range(self.machine, start, end, migratetype, self._cpu(cpu)))

    def alloc_contig(self, start: int, count: int, *, cma: bool = False, cpu: int = 0, owner: object = None) -> None:
        """Allocate exactly the frames [start, start + count), each by itself: isolate, drain, take, and undo.

        Frames in use are not migrated: `OutOfMemory` names the first, and after it was freed the call may be made
        again. Raises as `isolate` too. Followed: Linux 6.1 mm/page_alloc.c, `alloc_contig_range`.
        """
        start, end = a_range(start, count, self.pages.frames)
        mt, reference = CMA if cma else MOVABLE, self.pages.owners.reference(owner)
        self._begin()
        status = alloc_contig_range(self.machine, start, end, mt, self._cpu(cpu), reference)
        self._raise_unless_isolated(status, start, end, mt)

    def free_contig(self, start: int, count: int, *, cpu: int = 0) -> None:
        """Free single frames [start, start + count); raises `InvalidFree`, and nothing is free then."""
        start, end = a_range(start, count, self.pages.frames)
        self._begin()
        status = free_contig_range(self.machine, start, end, self._cpu(cpu))
        self._raise_if(status)
        if status:
            raise InvalidFree(must(f"range [{start}, {end})", "of allocated single frames", "others"))

    def add_cma(self, base: int, frames: int, *, order_per_bit: int = 0, cpu: int = 0) -> Cma:
        """Make reserved frames a CMA area, in granules of 2^order_per_bit, and hand them over; needs `cma=True`.

        They must be whole pageblocks of one zone: raises `InvalidArgument` or `InvalidFree`. Followed: Linux 6.1
        mm/cma.c, `cma_activate_area`.
        """
        base, end = a_range(base, frames, self.pages.frames)
        order_per_bit = between("order_per_bit", order_per_bit, 0, self.pageblock_order)
        block = 1 << self.pageblock_order
        if not self.machine.cma:
            raise InvalidArgument(must("machine", "made with cma=True", "one without"))
        if base % block or end % block or base == end:
            raise InvalidArgument(must("CMA area", f"whole pageblocks of {block} frames", f"[{base}, {end})"))
        if not self.ranges.is_reserved_range(base, end):
            raise InvalidFree(why_not_reserved(self, base, end))
        area = Cma(self, base, end - base, order_per_bit)
        self._begin()
        self._raise_if(cma_activate_area(self.machine, area._area, self._cpu(cpu)))
        return area

    def poison(self, pfn: int, *, cpu: int = 0) -> None:
        """Take one free frame out of its block, for good or until `unpoison`; raises `OutOfMemory` if it is not free.

        Followed: Linux 6.1 mm/page_alloc.c, `take_page_off_buddy`.
        """
        pfn = a_pfn(pfn, self.pages.frames)
        self._begin()
        status = take_page_off_buddy(self.machine, pfn, self._cpu(cpu))
        self._raise_if(status)
        if status:
            raise OutOfMemory(why_not_free(self, pfn, pfn + 1))

    def unpoison(self, pfn: int, *, cpu: int = 0) -> None:
        """Free a frame that `poison` took; raises `InvalidFree` if it is not reserved."""
        pfn = a_pfn(pfn, self.pages.frames)
        self._begin()
        status = put_page_back_buddy(self.machine, pfn, self._cpu(cpu))
        self._raise_if(status)
        if status:
            raise InvalidFree(why_not_reserved(self, pfn, pfn + 1))

    def _raise_unless_isolated(self, status: int, start: int, end: int, mt: int) -> None:
        self._raise_if(status)
        subject = f"range [{start}, {end})"
        if status == REFUSED:
            raise InvalidArgument(must(subject, "within one zone, its pageblocks too", "across a border"))
        if status in (BUSY, NO_MEMORY):
            raise OutOfMemory(must(subject, "free, movable and not isolated", self._why_busy(start, end, mt)))

    def _why_busy(self, start: int, end: int, mt: int) -> str:
        types = self.words("pageblocks")[start >> self.pageblock_order : (end - 1 >> self.pageblock_order) + 1]
        refused = [kind for kind in types.tolist() if kind == ISOLATE or (kind == CMA and mt != CMA)]
        if refused:
            return f"a pageblock of type {TYPE_NAMES[refused[0]]}"
        block = 1 << self.pageblock_order
        for head in range(start // block * block, end, block):
            stuck = unmovable_frame(self.machine, head, head + block, mt)
            if stuck >= 0:
                return f"PFN {stuck} unmovable"
        return f"PFN {first_used(self.machine, start, end)} in use"
