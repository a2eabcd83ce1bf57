"""`PageArray`: the memmap, two 64-bit words for every frame, and `Page`, one frame read.

Everything that is decoded comes from the field table in `core.words`. Arrays give a value per frame;
a frame inside a free block, whose own word is zeros, answers with its head's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from structpage import decoding, mapping
from structpage.arguments import at_least, named
from structpage.core.field import Field
from structpage.core.words import FREE_BIT, LAYOUTS, TAGS, TWO_WORD, ZIDS
from structpage.errors import InvalidArgument, LimitExceeded, OutOfRange, UnknownName, must
from structpage.owners import Owners
from structpage.tables import html_table
from structpage.zones import zone_name

Int16s = npt.NDArray[np.int16]
TAG_NAMES = TWO_WORD.states
SUMMARISED = 1 << 22
"""Frames up to which a repr counts states; reading more would make the memmap resident."""
HEAD_STATES = ("free", "allocated", "pcp", "slab")


class Page(NamedTuple):
    """One frame, read from its words, or from its head's where its own say nothing.

    `head` is the PFN of the block's head; `order`, `node`, `zone` and `migratetype` are `None` where no word tells.
    """

    pfn: int
    state: str
    head: int
    order: int | None
    node: int | None
    zone: str | None
    migratetype: int | None
    owner: object
    words: tuple[int, ...]

    def __repr__(self) -> str:
        role = self.state if self.pfn == self.head else f"{self.state}, tail of {self.head}"
        facts = [role]
        facts += [f"order {self.order}"] if self.order is not None else []
        facts += [f"node {self.node}"] if self.node is not None else []
        facts += [f"zone {self.zone}"] if self.zone is not None else []
        facts += [f"owner {self.owner!r}"] if self.owner is not None else []
        return f"<Page {self.pfn}: {', '.join(facts)}>"


class PageArray:
    """The descriptors of `frames` frames: one interleaved uint64 buffer, 16 bytes a frame, nothing else.

    With `layout="one-word"` a descriptor is 8 bytes, and `allocator` is all of it. A new memmap is zeros:
    every frame reserved. `words` may tell where it lies, uint64 of the right number. Raises `InvalidArgument` for
    fewer than one frame, `LimitExceeded` for more than the layout has PFNs for, `UnknownName` for a layout,
    `OutOfMemory` when the system refuses the mapping.
    """

    def __init__(self, frames: int, *, layout: str = "two-word", words: mapping.Words | None = None) -> None:
        self.frames = at_least("frames", frames, 1)
        self.layout = LAYOUTS[named("layout", layout, LAYOUTS)]
        if self.frames > self.layout.max_frames:
            raise LimitExceeded(must(f"frames of layout {layout}", f"at most {self.layout.max_frames}", frames))
        size = self.layout.words * self.frames
        if words is not None and (words.dtype != np.uint64 or words.shape != (size,)):
            raise InvalidArgument(must("words", f"{size} of uint64, one after another", f"{words.shape} {words.dtype}"))
        self.words = mapping.zeros(size) if words is None else words
        self._view = self.words.data
        self.owners = Owners(self.layout.field("owner").width)
        self._allocator: object = None

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Page]:
        return (self[pfn] for pfn in range(self.frames))

    @property
    def allocator(self) -> mapping.Words:
        """The first word of every frame: a writable view, uint64."""
        return self.words[:: self.layout.words]

    @property
    def allocatee(self) -> mapping.Words:
        """The second word of every frame: a writable view, uint64; `InvalidArgument` with one word a frame."""
        if self.layout.words < 2:
            raise InvalidArgument(must("layout", "two-word to have an allocatee word", self.layout.name))
        return self.words[1::2]

    @property
    def nbytes(self) -> int:
        """Bytes of the memmap."""
        return self.words.nbytes

    def claim(self, allocator: object) -> None:
        """Give the memmap to an allocator, for good; raises `InvalidArgument` when it has one.

        Its words are not read, which would make all of it resident: what was written to them by hand before is
        overwritten where blocks are listed, and what is left `check()` finds.
        """
        if self._allocator is not None:
            raise InvalidArgument(must("pages", "a memmap that no allocator has yet", f"that of {self._allocator!r}"))
        self._allocator = allocator

    # One frame

    def __getitem__(self, pfn: int) -> Page:
        """Return one frame, read; O(orders). Raises `OutOfRange`."""
        pfn = self._valid(pfn)
        head = self.head_of(pfn)
        state = self.state(head)
        if state is None:
            raise InvalidArgument(must(f"tag of PFN {head}", f"one of {sorted(TAG_NAMES)}", self._words(head)[0] & 15))
        fields = self.layout.unpack(self._words(head))
        return Page(
            pfn,
            state,
            head,
            fields.get("order"),
            fields.get("nid"),
            zone_name(fields["nid"] * ZIDS + fields["zid"]) if "zid" in fields else None,
            fields.get("migratetype"),
            self.owners.read(fields.get("owner_kind", 0), fields.get("owner", 0)),
            self._words(pfn),
        )

    def state(self, pfn: int) -> str | None:
        """Return what a frame's own word says: a state of the field table, `None` for an unused tag."""
        return TAG_NAMES.get(self._view[self._valid(pfn) * self.layout.words] & 15)

    def head_of(self, pfn: int) -> int:
        """Return the head of the block that a frame lies in, or its own PFN; O(orders). Raises `OutOfRange`."""
        pfn = self._valid(pfn)
        order_field = self.layout.field("order")
        for order in range(order_field.max + 1):
            head = pfn >> order << order
            word = self._words(head)[0]
            if TAG_NAMES.get(word & 15) in HEAD_STATES:
                return head if pfn < head + (1 << order_field.get(word)) else pfn
            if head == 0:
                break
        return pfn

    def _valid(self, pfn: int) -> int:
        try:
            index = pfn.__index__()
        except AttributeError:
            raise InvalidArgument(must("PFN", "an int", repr(pfn))) from None
        if not 0 <= index < self.frames:
            raise OutOfRange(must("PFN", f"between 0 and {self.frames - 1}", index))
        return index

    def _words(self, pfn: int) -> tuple[int, ...]:
        start = pfn * self.layout.words
        return tuple(self._view[start : start + self.layout.words])

    # All frames

    @property
    def tag(self) -> npt.NDArray[np.uint8]:
        """The tag of every frame's own word; uint8. O(frames), as all arrays here."""
        return decoding.own_tags(self.words, self.layout)

    @property
    def is_free(self) -> npt.NDArray[np.bool_]:
        """Whether each frame is free: head of a free block, or inside one; bool."""
        return decoding.whole_free(self.words, self.layout)

    @property
    def is_free_head(self) -> npt.NDArray[np.bool_]:
        """Whether each frame is the head of a free block: one load and one mask; bool."""
        free: npt.NDArray[np.bool_] = self.tag & FREE_BIT != 0
        return free

    @property
    def order(self) -> Int16s:
        """The order of the block each frame lies in, -1 where no word tells; int16."""
        return decoding.whole_field(self.words, self.layout, self.layout.field("order"))

    @property
    def zone(self) -> Int16s:
        """The zone within the node (`zid`) of each frame, -1 where no word tells; int16."""
        return decoding.whole_field(self.words, self.layout, self.layout.field("zid"))

    @property
    def node(self) -> Int16s:
        """The node (`nid`) of each frame, -1 where no word tells; int16."""
        return decoding.whole_field(self.words, self.layout, self.layout.field("nid"))

    @property
    def migratetype(self) -> Int16s:
        """The migratetype of each frame's block, -1 where no word tells; int16."""
        return decoding.whole_field(self.words, self.layout, self.layout.field("migratetype"))

    @property
    def owner(self) -> npt.NDArray[np.uint64]:
        """The owner reference of each frame, as `Owners.reference` made it; 0 where nobody has it; uint64."""
        return decoding.own_owners(self.words, self.layout)

    def decode(self, name: str) -> Int16s:
        """Return a small field of every frame's own word, -1 where its state has no such field; int16."""
        field = self._field(name)
        if field.width > 15:
            raise InvalidArgument(must("field", "of at most 15 bits to decode into int16", repr(name)))
        return decoding.own_field(self.words, self.layout, field)

    def free_heads(self) -> tuple[npt.NDArray[np.int64], Int16s]:
        """Return the PFNs of all free heads, ascending, and their orders; int64 and int16."""
        parts = list(decoding.free_heads(self.words, self.layout))
        return np.concatenate([heads for heads, _ in parts]), np.concatenate([orders for _, orders in parts])

    def free_runs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return first PFN and length of every run of free frames, whatever blocks they are in, ascending; int64."""
        return decoding.free_runs(self.words, self.layout)

    def set_field(self, name: str, values: Any, state: str | None = None) -> None:
        """Set a field in every frame's word, whatever its state; `values` is a scalar or one value per frame.

        For building states by hand. Raises `InvalidArgument` when a value does not fit; nothing is changed then.
        """
        field, array = self._field(name, state), np.asarray(values)
        if array.size and (array.min() < 0 or int(array.max()) > field.max):
            raise InvalidArgument(must(name, f"between 0 and {field.max}", values))
        word = self.words[field.word :: self.layout.words]
        word &= np.uint64(~field.mask & (1 << 64) - 1)
        word |= array.astype(np.uint64) << np.uint64(field.shift)

    def _field(self, name: str, state: str | None = None) -> Field:
        try:
            return self.layout.field(name, state)
        except KeyError:
            names = ", ".join(sorted({field.name for field in self.layout.fields if not field.placement}))
            raise UnknownName(must("field", f"one of {names}", repr(name))) from None

    # Pictures

    def summary(self) -> dict[str, int]:
        """Return the number of frames per state, those inside free blocks as free. O(frames)."""
        tag = self.tag
        counts = {state: int(np.count_nonzero(tag == number)) for state, number in TAGS.items()}
        inside = int(np.count_nonzero(self.is_free))
        counts["reserved"] -= inside - int(np.count_nonzero(tag & FREE_BIT))
        counts["free"] = inside
        return {state: count for state, count in counts.items() if count}

    def __repr__(self) -> str:
        return f"<PageArray: {self.frames} frames, {self.layout.name}, {self.nbytes} bytes{self._states()}>"

    def _states(self) -> str:
        if self.frames > SUMMARISED:
            return ""
        return "; " + ", ".join(f"{count} {state}" for state, count in self.summary().items())

    def _repr_html_(self) -> str:
        counts = self.summary() if self.frames <= SUMMARISED else {}
        rows = [(state, count, f"{count / self.frames:.1%}") for state, count in counts.items()]
        caption = f"PageArray: {self.frames} frames, {self.layout.name}, {self.nbytes} bytes"
        return html_table(caption, ("state", "frames", "share"), rows)
