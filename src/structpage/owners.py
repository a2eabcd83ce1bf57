"""Owner references: the tagged value that `allocatee` holds while somebody has the frame.

A reference is `index_or_pointer << 4 | kind`, as a 16-byte aligned pointer with its low bits used as a
type tag is. 0 is nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.field import signed
from structpage.errors import InvalidArgument, LimitExceeded, UnknownName, must

KINDS = ("nobody", "object", "folio", "anon", "ksm", "slab", "ptdesc", "zpdesc", "movable", "misc")
"""What `owner_kind` says. `object`: an index into the list of Python objects that were given as owners."""


class Owner(NamedTuple):
    """A reference to something of the simulated kernel: a kind of `KINDS` and a 16-byte aligned address."""

    kind: str
    address: int


class Owners:
    """Makes references of owners and gives the owners back; an object is kept once, for the memmap's life."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._objects: list[object] = []
        self._index: dict[object, int] = {}

    def reference(self, owner: object) -> int:
        """Return the 64-bit reference of an owner: `None`, an `Owner`, or any Python object.

        Raises `InvalidArgument` for an unaligned address, `UnknownName` for a kind, `LimitExceeded` for an
        address that the layout's owner field cannot hold.
        """
        if owner is None:
            return 0
        if isinstance(owner, Owner):
            return self._pointer(owner)
        key: object = (type(owner), owner)
        try:
            index = self._index.setdefault(key, len(self._objects))
        except TypeError:
            key = (Owners, id(owner))
            index = self._index.setdefault(key, len(self._objects))
        if index == len(self._objects):
            self._objects.append(owner)
        return signed(index << 4 | KINDS.index("object"))

    def _pointer(self, owner: Owner) -> int:
        if owner.kind not in KINDS[2:]:
            raise UnknownName(must("owner kind", f"one of {', '.join(KINDS[2:])}", repr(owner.kind)))
        if owner.address % 16 or not 0 <= owner.address < 1 << 64:
            raise InvalidArgument(must("owner address", "a 16-byte aligned 64-bit address", hex(owner.address)))
        if owner.address >> 4 >> self._width:
            raise LimitExceeded(must("owner address", f"below 2^{self._width + 4} in this layout", hex(owner.address)))
        return signed(owner.address | KINDS.index(owner.kind))

    def read(self, kind: int, value: int) -> object:
        """Return the owner from the fields `owner_kind` and `owner`: an object, an `Owner`, or `None`."""
        if kind == 0:
            return None
        if kind == KINDS.index("object"):
            return self._objects[value] if value < len(self._objects) else Owner("object", value << 4)
        return Owner(KINDS[kind] if kind < len(KINDS) else f"kind {kind}", value << 4)
