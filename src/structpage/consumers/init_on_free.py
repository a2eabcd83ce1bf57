"""init_on_free: freed pages are zeroed, and an allocation trusts that they still are.

Followed: Linux 6.1 mm/page_alloc.c, `free_pages_prepare`, `post_alloc_hook`, `want_init_on_alloc`: with
init_on_free on, an allocation does not zero even __GFP_ZERO pages. So a link that was left in the page reaches
the new owner: it leaks the allocator's state and breaks the promise of zeros.
"""

from __future__ import annotations

from structpage.consumers.base import Consumer, Verdict


class InitOnFree(Consumer):
    """Zeroes freed frames (`zero`); with `trust` an allocation relies on it, without it zeroes again."""

    name = "init-on-free"

    def __init__(self, *, zero: bool = True, trust: bool = True) -> None:
        super().__init__()
        self.zero, self.trust = zero, trust
        self.leaked_bytes = 0

    def before_free(self, pfn: int, order: int) -> None:
        """F10: zero all frames."""
        if self.zero:
            self.memory.fill(pfn, order, 0)

    def after_alloc(self, pfn: int, order: int) -> None:
        """A9: nothing when free-time zeros are trusted; then look, as the new owner does."""
        if not self.trust:
            self.memory.fill(pfn, order, 0)
        dirty = self.memory.differs(pfn, order, 0)
        if len(dirty):
            first = int(dirty[0])
            self.leaked_bytes += len(dirty)
            self.note("leak", pfn, first, 0, self.memory.read(pfn, first, 1)[0])

    def verdict(self) -> Verdict:
        """`leak` when a new owner saw a byte that was not zero."""
        if not self.leaked_bytes:
            return Verdict("ok", 0, "every new owner saw zeros")
        detail = f"{self.found} owners saw {self.leaked_bytes} bytes of their predecessors, first at {self.findings[0]}"
        return Verdict("leak", 0, detail)
