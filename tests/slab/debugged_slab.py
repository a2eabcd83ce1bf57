"""One slab under `Debug`, linked by hand: what the tests of debugging stand on, with no allocator below."""

from __future__ import annotations

from dataclasses import dataclass

from structpage.core.slab.rows import PAGE_OFFSET
from structpage.frames import FrameMemory
from structpage.slab.addresses import address_of
from structpage.slab.debug import Debug
from structpage.slab.shape import geometry
from structpage.slab.tracks import Who

PFN = 8
WHO = Who("user", cpu=1, pid=7)


@dataclass
class Record:
    address: int
    order: int
    objects: int
    inuse: int = 0
    freelist: int = 0
    frozen: int = 0


class DebuggedSlab:
    def __init__(self, size=64, *, random=None, name="cache", who=WHO, **options):
        self.geometry = geometry(size, **options)
        order = self.geometry.order
        self.memory = FrameMemory(PFN + (1 << order))
        self.debug = Debug(self.geometry, self.memory, name, random=random)
        self.slots = self.debug.slots
        self.slab = Record(address_of(PFN), order, self.geometry.objects)
        self.who = who
        self.debug.setup_slab(self.slab.address, order, self.geometry.objects)
        for address in reversed(self.objects):
            self.link(address)

    @property
    def objects(self):
        first = self.slab.address + self.geometry.red_left_pad
        return [first + i * self.geometry.size for i in range(self.geometry.objects)]

    def link(self, address):
        self.slots.set_next(address, self.slab.freelist)
        self.slab.freelist = address

    def alloc(self, size=None):
        address = self.slab.freelist
        self.slab.freelist = self.slots.next(address)
        self.slab.inuse += 1
        self.debug.check_alloc(self.slab, address, self.who, size)
        return address

    def free(self, address):
        self.debug.check_free(self.slab, address, self.who)
        self.slab.inuse -= 1
        self.link(address)

    def check(self):
        self.debug.check_slab(self.slab)

    def read(self, address, length=1):
        return self.memory.read(0, address - PAGE_OFFSET, length)

    def write(self, address, data):
        self.memory.write(0, address - PAGE_OFFSET, data)

    def damage(self, address, length=1):
        """Write bytes of which each differs from what is there."""
        self.write(address, bytes(byte ^ 0xFF for byte in self.read(address, length)))

    def content(self):
        """All of the slab's bytes, and its record."""
        return self.read(self.slab.address, 4096 << self.slab.order), (
            self.slab.inuse,
            self.slab.objects,
            self.slab.freelist,
            self.slab.frozen,
        )
