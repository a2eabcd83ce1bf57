"""Page poisoning: free pages hold a pattern, and an allocation checks that nobody wrote to them.

Followed: Linux 6.1 mm/page_poison.c, `__kernel_poison_pages`, `check_poison_mem`; boot option page_poison=1.
The pattern is written before the block is listed and checked after it is off the lists, so a link in the page
is seen as corruption: in every block that was a head, and in those that were when they merged.
"""

from __future__ import annotations

from structpage.consumers.base import Consumer, Verdict

PAGE_POISON = 0xAA


class PagePoisoning(Consumer):
    """Fills freed frames with 0xAA (`poison`), and checks allocated ones to be so (`check_pages`)."""

    name = "page-poisoning"

    def __init__(self, *, poison: bool = True, check_pages: bool = True) -> None:
        super().__init__()
        self.poison, self.check_pages = poison, check_pages
        # Frames that were filled. The others are as they were at boot: zeros, which stand for the pattern,
        # because filling them would make all of the memory resident.
        self._filled = bytearray()
        self.blocks_reported = 0
        self.single_bit = 0

    def attach(self, buddy: object) -> None:
        """Take note of the allocator; its memory begins as poisoned."""
        super().attach(buddy)  # type: ignore[arg-type]
        self._filled = bytearray(self.buddy.pages.frames)

    def before_free(self, pfn: int, order: int) -> None:
        """F8: write the pattern to all bytes of all frames."""
        if self.poison:
            self.memory.fill(pfn, order, PAGE_POISON)
            self._filled[pfn : pfn + (1 << order)] = b"\1" * (1 << order)

    def after_alloc(self, pfn: int, order: int) -> None:
        """A7: report bytes that are not the pattern; one report per block, no repair."""
        if not self.check_pages:
            return
        if self._filled.count(1, pfn, pfn + (1 << order)) == 1 << order:
            self._check(pfn, order, PAGE_POISON)
        else:
            frames = range(pfn, pfn + (1 << order))
            any(self._check(frame, 0, PAGE_POISON if self._filled[frame] else 0) for frame in frames)

    def _check(self, pfn: int, order: int, pattern: int) -> bool:
        bad = self.memory.differs(pfn, order, pattern)
        if not len(bad):
            return False
        self.blocks_reported += 1
        first = int(bad[0])
        found = self.memory.read(pfn, first, 1)[0]
        self.single_bit += len(bad) == 1 and (found ^ pattern).bit_count() == 1
        self.note("false-alarm", pfn, first, PAGE_POISON, found)
        return True

    def verdict(self) -> Verdict:
        """`false-alarm` when anything was reported: nobody but the allocator wrote to free pages."""
        if not self.blocks_reported:
            return Verdict("ok", 0, "every allocated frame held the pattern")
        words = "pagealloc: memory corruption"
        detail = f"{self.blocks_reported} reports of {words!r}, first at {self.findings[0]}"
        return Verdict("false-alarm", 0, detail)
