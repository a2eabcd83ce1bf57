"""`SlabView`: one slab, read and written as an object: what tools, checks and the debugging look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structpage.core.slab.rows import (
    BASE,
    CACHE,
    FREELIST,
    FROZEN,
    INUSE,
    NODE,
    NULL,
    OBJECTS,
    ORDER,
    PAGE_OFFSET,
    PFN,
    RECORD_ROW,
)
from structpage.core.status import CORRUPT

if TYPE_CHECKING:
    from structpage.core.slab.slabs import Slabs

ADDRESSES = 1 << 64


def signed_address(address: int) -> int:
    """Return an address as the core has it, signed."""
    return address - ADDRESSES if address >> 63 else address


def unsigned_address(address: int) -> int:
    """Return an address of the core's as the kernel prints it."""
    return address & (ADDRESSES - 1)


class _Word:
    """A word of the record."""

    def __init__(self, place: int, meaning: str) -> None:
        self.place, self.__doc__ = place, meaning

    def __get__(self, view: SlabView, owner: type) -> int:
        return view.store.record[view.number * RECORD_ROW + self.place]

    def __set__(self, view: SlabView, value: int) -> None:
        view.store.record[view.number * RECORD_ROW + self.place] = value


class SlabView:
    """The record `number` of a slab, and what follows from it. Addresses are unsigned."""

    def __init__(self, store: Slabs, number: int) -> None:
        self.store, self.number = store, number

    inuse = _Word(INUSE, "Objects that are not on the slab's free list.")
    objects = _Word(OBJECTS, "Objects of the slab.")
    frozen = _Word(FROZEN, "1 while a CPU has it, or it is disabled.")
    cache = _Word(CACHE, "Number of its cache.")
    pfn = _Word(PFN, "PFN of its first frame.")
    order = _Word(ORDER, "log2 of its frames.")
    node = _Word(NODE, "Node of its frames.")

    @property
    def address(self) -> int:
        """Address of its first byte."""
        return PAGE_OFFSET + (self.pfn << 12)

    @property
    def freelist(self) -> int:
        """Address of its first free object, 0 if there is none."""
        return unsigned_address(self.store.record[self.number * RECORD_ROW + FREELIST])

    @freelist.setter
    def freelist(self, address: int) -> None:
        self.store.record[self.number * RECORD_ROW + FREELIST] = signed_address(address)

    @property
    def first_object(self) -> int:
        """Address of its first object."""
        return unsigned_address(self.store.first_object(self.number))

    def is_object(self, address: int) -> bool:
        """Whether an address is that of one of its objects."""
        return address >= PAGE_OFFSET and self.store.is_object(self.number, signed_address(address))

    def free_objects(self, start: int | None = None) -> list[int]:
        """Return the addresses on its free list, or on one that begins at `start`, in order.

        It ends early at what is no object of the slab, and after one more than the slab has. O(objects).
        """
        address = signed_address(self.freelist if start is None else start)
        found: list[int] = []
        while address != NULL and len(found) <= self.objects:
            found.append(unsigned_address(address))
            if address < BASE or not self.store.is_object(self.number, address):
                break
            address = self.store.next_free(self.cache, address)
            if address == CORRUPT:
                break
        return found

    def is_listed(self) -> bool:
        """Whether it belongs on its node's partial list."""
        return not self.frozen and self.freelist != NULL

    def __repr__(self) -> str:
        return (
            f"<slab {self.number}: PFN {self.pfn}, order {self.order}, "
            f"{self.inuse} of {self.objects} objects in use{', frozen' if self.frozen else ''}>"
        )
