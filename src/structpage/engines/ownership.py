"""Whose word is it: the judges behind the buffers of the checked engine.

Each kind of buffer has one. The table in `structpage.engines.guard` says who may do what; here it is code.
"""

from __future__ import annotations

from structpage.core.words import ONE_STATE_MASK, REPORTED_BIT
from structpage.engines.guard import Guard
from structpage.errors import AccessError

PAGE_WORDS_SHIFT = 9  # 512 words of 8 bytes in a 4 KiB frame


class Nobodys:
    """A buffer before an allocator runs on it: whoever builds it may do anything."""

    def __init__(self) -> None:
        self.written: set[int] = set()

    def read(self, index: int) -> None:
        """Judge a read; raises `AccessError`."""

    def write(self, index: int, old: int, value: int) -> None:
        """Judge and note a write; raises `AccessError`."""
        self.written.add(index)


class Owned(Nobodys):
    """A buffer that belongs to somebody, as the guard's call says who it is that asks."""

    def __init__(self, name: str, guard: Guard) -> None:
        super().__init__()
        self.name, self.guard = name, guard

    @property
    def by_placement(self) -> bool:
        """Whether the placement asks, and not the allocator."""
        return self.guard.call is not None

    def refused(self, index: int, rule: str, found: str, pfn: int | None = None) -> AccessError:
        """Return the error of an access to a word."""
        subject, call = f"{self.name}[{index}]", self.guard.call
        return AccessError(subject, rule, found, operation=call, buffer=self.name, index=index, pfn=pfn)


class PlacementsOwn(Owned):
    """A buffer that the placement made: the allocator keeps off, and what was never written is not read."""

    def __init__(self, name: str, guard: Guard, written: set[int], *, zeros: bool) -> None:
        super().__init__(name, guard)
        self.written, self.zeros = written, zeros

    def read(self, index: int) -> None:
        self._keep_off(index, "read")
        if index not in self.written and not self.zeros:
            raise self.refused(index, "written before it is read", "a zero of the new buffer")

    def write(self, index: int, old: int, value: int) -> None:
        self._keep_off(index, "written")
        self.written.add(index)

    def _keep_off(self, index: int, how: str) -> None:
        if not self.by_placement:
            raise self.refused(index, "touched by the placement alone", f"{how} by the allocator")


class AllocatorsOwn(Owned):
    """A buffer that the allocator made, counts or zones: the placement keeps off."""

    def read(self, index: int) -> None:
        if self.by_placement:
            raise self.refused(index, "touched by the allocator alone", "by the placement")

    def write(self, index: int, old: int, value: int) -> None:
        self.read(index)


class OfFrames(Owned):
    """A buffer with words for each frame: those of a listed block are lent to the placement."""

    def lent(self, index: int, pfn: int) -> int:
        """Return the head of the listed block that a frame lies in; raises if it is not free, or no longer."""
        head = self.guard.block_of(pfn)
        if head < 0:
            raise self.refused(index, "a word of a listed block", f"of PFN {pfn}, which is on no list", pfn)
        return head

    def note(self, index: int, head: int) -> None:
        """Note that the placement wrote a word."""
        self.guard.blocks[head].written.add((self.name, index))

    def must_be_written(self, index: int, head: int) -> None:
        """Raise for a word that still is as the block's last owner left it."""
        if (self.name, index) not in self.guard.blocks[head].written:
            raise self.refused(index, f"written since PFN {head} was listed", "left over from before", head)


class FrameContent(OfFrames):
    """The frames' memory, which is nothing to the allocator."""

    def read(self, index: int) -> None:
        self.must_be_written(index, self._free_page(index, "read"))

    def write(self, index: int, old: int, value: int) -> None:
        self.note(index, self._free_page(index, "written"))

    def _free_page(self, index: int, how: str) -> int:
        pfn = index >> PAGE_WORDS_SHIFT
        if not self.by_placement:
            raise self.refused(index, "left to whoever has the frame", f"{how} by the allocator", pfn)
        return self.lent(index, pfn)


class Descriptors(OfFrames):
    """The memmap, `words` of them a frame: of a listed block's, all but the state is the placement's."""

    def __init__(self, name: str, guard: Guard, words: int) -> None:
        super().__init__(name, guard)
        self.words = words

    def read(self, index: int) -> None:
        if self.by_placement:
            head = self.lent(index, index // self.words)
            if index % self.words:
                self.must_be_written(index, head)

    def write(self, index: int, old: int, value: int) -> None:
        pfn, which = divmod(index, self.words)
        if not self.by_placement:
            self._keep_off_the_listed(index, pfn, which, old ^ value)
            return
        head = self.lent(index, pfn)
        if self.words == 1:
            self._keep_the_state(index, pfn, head, old ^ value)
        elif which == 0:
            raise self.refused(index, "an allocatee", f"the allocator word of PFN {pfn}", pfn)
        self.note(index, head)

    def _keep_off_the_listed(self, index: int, pfn: int, which: int, changed: int) -> None:
        head = self.guard.block_of(pfn)
        if head >= 0 and not (pfn == head and which == 0 and changed & ~REPORTED_BIT == 0):
            rule = f"left alone while the block at PFN {head} is listed"
            raise self.refused(index, rule, "written by the allocator", pfn)

    def _keep_the_state(self, index: int, pfn: int, head: int, changed: int) -> None:
        if pfn != head:
            raise self.refused(index, "a zero, as inside a free block", f"written for PFN {pfn}", pfn)
        if changed & ONE_STATE_MASK:
            found = f"one with bits {changed & ONE_STATE_MASK:#x} turned"
            raise self.refused(index, "written with the tag and order it has", found, pfn)
