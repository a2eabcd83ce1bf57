"""Who gives an allocator the memory that its own metadata need.

Without more it is this process, beside the memory that the allocator hands out. A machine that booted has it in its
own frames (`structpage.machine.booting`).
"""

from __future__ import annotations

from typing import Protocol

from structpage import mapping
from structpage.frames import FrameMemory


class Host(Protocol):
    """Gives words for metadata."""

    memory: FrameMemory | None
    """The frames' content, if it is given too."""

    def words(self, name: str, count: int) -> mapping.Words:
        """Return `count` words of zeros for the buffer of a name."""

    def nodes(self, placement: type) -> tuple[int, int]:
        """Return how many nodes a placement has at first in the frames' memory, and where, in words; else -1 and 0."""


class Beside:
    """Metadata lie beside the memory that the allocator hands out: they cost it nothing."""

    memory: FrameMemory | None = None

    def words(self, name: str, count: int) -> mapping.Words:
        """Return memory of this process, resident as far as it is touched."""
        return mapping.zeros(count)

    def nodes(self, placement: type) -> tuple[int, int]:
        """Return that nodes lie in a buffer of their own, of as many as can ever be needed."""
        return -1, 0
