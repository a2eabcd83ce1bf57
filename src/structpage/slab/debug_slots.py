"""`Slots`: what the debugging of a cache writes into the slots of its objects, and reads from them.

What lies where, at rest::

    red zones       0xbb about an inactive object, 0xcc about an active one
    object          0x6b and at its end 0xa5 while inactive (OBJECT_POISON); its user's while active
    free pointer    the next free object, NULL at the list's end; valid in an active object too if it is outside
    tracks          zeros until the first call
    padding         0x5a: of a slot, and of the slab behind the last slot (POISON)

Followed: Linux 6.1 mm/slub.c, `init_object`, `freelist_ptr`, `set_track_update`, `set_orig_size`;
include/linux/poison.h.
"""

from __future__ import annotations

from typing import Final

from structpage.core.slab.rows import PAGE_OFFSET
from structpage.frames import PAGE_SIZE, FrameMemory
from structpage.slab.flags import SlabFlags
from structpage.slab.shape import ORIG_SIZE, TRACK_SIZE, WORD, Geometry
from structpage.slab.tracks import Track, Tracks, Who

RED_INACTIVE: Final = 0xBB
RED_ACTIVE: Final = 0xCC
POISON_INUSE: Final = 0x5A
POISON_FREE: Final = 0x6B
POISON_END: Final = 0xA5
ALLOCATED: Final = 0
FREED: Final = 1


class Slots:
    """The slots of one cache: addresses are those of objects; nothing is checked here."""

    def __init__(self, geometry: Geometry, memory: FrameMemory, random: int | None) -> None:
        self.geometry, self.memory, self.random = geometry, memory, random
        self.tracks = Tracks()
        # The flags as bools: a test of an IntFlag costs as much as a check of a few bytes.
        flags = geometry.flags
        self.strict = SlabFlags.CONSISTENCY_CHECKS in flags
        self.red_zone = SlabFlags.RED_ZONE in flags
        self.poison, self.object_poison = SlabFlags.POISON in flags, SlabFlags.OBJECT_POISON in flags
        self.store_user = SlabFlags.STORE_USER in flags
        self.orig_size_at = geometry.info_end + 2 * TRACK_SIZE

    def read(self, address: int, length: int) -> bytes:
        """Return bytes from any address of the direct map."""
        return self.memory.read(0, address - PAGE_OFFSET, length)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes to any address of the direct map."""
        self.memory.write(0, address - PAGE_OFFSET, data)

    def fill(self, address: int, byte: int, length: int) -> None:
        """Set so many bytes."""
        self.write(address, bytes((byte,)) * length)

    def setup(self, address: int, order: int, objects: int) -> None:
        """Write what a new slab has about its objects, all of them inactive."""
        if self.poison:
            self.fill(address, POISON_INUSE, PAGE_SIZE << order)
        for at in self.addresses(address, objects):
            self.mark(at, RED_INACTIVE)
            if self.store_user:
                self.write(at + self.geometry.info_end, bytes(2 * TRACK_SIZE))

    def addresses(self, address: int, objects: int) -> range:
        """Return the addresses of the objects of a slab that begins at `address`."""
        first = address + self.geometry.red_left_pad
        return range(first, first + objects * self.geometry.size, self.geometry.size)

    def mark(self, address: int, red: int) -> None:
        """Write the red zones of an object, and poison over it if that is done."""
        geometry = self.geometry
        if self.object_poison:
            self.write(address, bytes((POISON_FREE,)) * (geometry.object_size - 1) + bytes((POISON_END,)))
        if self.red_zone:
            self.fill(address - geometry.red_left_pad, red, geometry.red_left_pad)
            self.fill(address + geometry.object_size, red, geometry.inuse - geometry.object_size)

    def next(self, address: int) -> int:
        """Return the free pointer of an object."""
        return self._hidden(address, int.from_bytes(self.read(address + self.geometry.offset, WORD), "little"))

    def set_next(self, address: int, pointer: int) -> None:
        """Set the free pointer of an object."""
        self.write(address + self.geometry.offset, self._hidden(address, pointer).to_bytes(WORD, "little"))

    def _hidden(self, address: int, pointer: int) -> int:
        """Return a pointer as it is stored, or one stored as it is meant: hardening is its own inverse."""
        if self.random is None:
            return pointer
        slot = address + self.geometry.offset
        return pointer ^ self.random ^ int.from_bytes(slot.to_bytes(WORD, "little"), "big")

    def track(self, address: int, which: int, who: Who) -> None:
        """Note who `ALLOCATED` or `FREED` an object, where that is noted."""
        if self.store_user:
            self.write(address + self.geometry.info_end + which * TRACK_SIZE, self.tracks.pack(who))

    def tracks_of(self, address: int) -> tuple[Track | None, Track | None]:
        """Return who allocated an object and who freed it last; `None` for what was never noted."""
        if not self.store_user:
            return None, None
        data = self.read(address + self.geometry.info_end, 2 * TRACK_SIZE)
        return self.tracks.unpack(data[:TRACK_SIZE]), self.tracks.unpack(data[TRACK_SIZE:])

    def orig_size(self, address: int) -> int:
        """Return the bytes asked for, where that is kept, else the object's size."""
        if not self.geometry.has_orig_size:
            return self.geometry.object_size
        return int.from_bytes(self.read(address + self.orig_size_at, ORIG_SIZE), "little")

    def set_orig_size(self, address: int, size: int) -> None:
        """Note the bytes asked for, where that is kept."""
        if self.geometry.has_orig_size:
            self.write(address + self.orig_size_at, size.to_bytes(ORIG_SIZE, "little"))
