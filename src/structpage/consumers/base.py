"""What a consumer is: something besides the allocator that has a claim on the content of free pages.

A consumer has hooks at the places of the kernel's page allocator (facts: Linux 6.1 mm/page_alloc.c,
`free_pages_prepare` and `post_alloc_hook`): `before_free` runs before the block reaches any list, `after_free`
when it is listed, `after_alloc` when it is off the lists and before its owner sees it, `tick` on a timer.

The steps of a free, as they are numbered here: F8 page poisoning, F10 init_on_free, F11 arch_free_page, F12
debug_pagealloc, F13 the block is merged and listed, F14 page reporting is notified. Those of an allocation: A1 off the
list, A5 arch_alloc_page, A6 debug_pagealloc, A7 the poison check, A9 init_on_alloc. Links are written at F13, after
everything that claims the content.

What it finds is counted by what went wrong, so a verdict is what was seen and never what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator
    from structpage.frames import FrameMemory

VERDICTS = ("ok", "cost", "false-alarm", "leak", "lost", "fault")
KEPT_FINDINGS = 16


class Verdict(NamedTuple):
    """What became of a placement under a consumer.

    `verdict`: `ok`; `cost`, the placement's own link accesses had a price, `cost` units of it; `false-alarm`, a checker
    reported the allocator's own link; `leak`, a new owner saw what it should not; `lost`, a list was
    destroyed; `fault`, an unmapped page was touched. `detail` is one sentence of what was seen.
    """

    verdict: str
    cost: int
    detail: str


class Finding(NamedTuple):
    """One thing a consumer saw: in which frame, at which byte of it, and what should have been there."""

    kind: str
    pfn: int
    offset: int
    expected: int
    found: int

    def __str__(self) -> str:
        return f"PFN {self.pfn}, byte {self.offset}: expected {self.expected:#04x}, found {self.found:#04x}"


class Consumer:
    """Base of consumers: hooks that do nothing, and findings. Override what is needed."""

    name = "consumer"

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.found = 0
        self.cost = 0

    def attach(self, buddy: BuddyAllocator) -> None:
        """Take note of the allocator; called once, before it has free memory."""
        assert buddy.memory is not None
        self.buddy: BuddyAllocator = buddy
        self.memory: FrameMemory = buddy.memory

    def before_free(self, pfn: int, order: int) -> None:
        """Act on 2^order frames that are being freed, before they are on any list."""

    def after_free(self, pfn: int, order: int) -> None:
        """Act after the block was merged and listed."""

    def after_alloc(self, pfn: int, order: int) -> None:
        """Act on 2^order frames that were taken off the lists, before their owner sees them."""

    def tick(self, microseconds: int) -> None:
        """Act at a time of the workload's clock."""

    def finish(self) -> None:
        """Do what is still to be done, as if the workload had gone on."""

    def check(self) -> None:
        """Verify invariants of its own; raises `CorruptionError`."""

    def verdict(self) -> Verdict:
        """Return what was seen so far."""
        return Verdict("ok", 0, "nothing was seen")

    def note(self, kind: str, pfn: int, offset: int, expected: int, found: int) -> None:
        """Count a finding and keep the first few; `offset` may run into later frames of a block."""
        self.found += 1
        if len(self.findings) < KEPT_FINDINGS:
            self.findings.append(Finding(kind, pfn + (offset >> 12), offset & 4095, expected, found))
