"""arch_free_page on s390: the guest tells the host that a page is unused, and the host may take its content.

Followed: Linux 6.1 arch/s390/mm/page-states.c, `arch_free_page` and `arch_alloc_page` (CMMA, the ESSA
instruction); the host collects unused pages in a buffer of 511 entries and zaps them when it is full. The
source says that nothing may touch the content after this. A free list that is linked through unused pages
loses its links whenever the host likes.
"""

from __future__ import annotations

from structpage.consumers.base import Consumer, Verdict

CBRL_ENTRIES = 511


class ArchFreePage(Consumer):
    """Marks freed frames unused and allocated ones stable; the host discards unused ones in batches (`discard`)."""

    name = "arch-free-page"

    def __init__(self, *, discard: bool = True, entries: int = CBRL_ENTRIES) -> None:
        super().__init__()
        self.discard, self.entries = discard, entries
        self._unused = bytearray()
        self._buffer: list[int] = []
        self.essa = 0
        self.discarded = 0

    def attach(self, buddy: object) -> None:
        """Take note of the allocator."""
        super().attach(buddy)  # type: ignore[arg-type]
        self._unused = bytearray(self.buddy.pages.frames)

    def before_free(self, pfn: int, order: int) -> None:
        """F11: one ESSA per frame sets it unused; from now on its content is the host's."""
        count = 1 << order
        self.essa += count
        self._unused[pfn : pfn + count] = b"\1" * count
        self._buffer += range(pfn, pfn + count)

    def after_free(self, pfn: int, order: int) -> None:
        """The host takes what has gathered, at a moment of its own: here when its buffer is full."""
        if len(self._buffer) >= self.entries:
            self._zap()

    def after_alloc(self, pfn: int, order: int) -> None:
        """A5: one ESSA per frame sets it stable."""
        self.essa += 1 << order
        self._unused[pfn : pfn + (1 << order)] = bytes(1 << order)

    def finish(self) -> None:
        """Let the host take the rest."""
        self._zap()

    def _zap(self) -> None:
        gathered, self._buffer = self._buffer, []
        if not self.discard:
            return
        for pfn in gathered:
            if self._unused[pfn]:
                self.memory.discard(pfn)
                self.discarded += 1

    def verdict(self) -> Verdict:
        """`ok`: what a discard destroys is seen by the allocator, or by `check()`."""
        return Verdict("ok", 0, f"{self.discarded} unused frames were discarded and no link was among them")
