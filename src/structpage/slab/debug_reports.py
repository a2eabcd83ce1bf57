"""`Reports`: what is found in the slots of one cache, printed as the kernel prints it and kept as exceptions.

Followed: Linux 6.1 mm/slub.c, `object_err`, `slab_err`, `print_trailer`, `print_slab_info`, `check_bytes_and_report`.
"""

from __future__ import annotations

from typing import Final, Protocol

from structpage.errors import InvalidObject, SlabCorruption
from structpage.frames import PAGE_SIZE
from structpage.slab.addresses import pfn_of, struct_page
from structpage.slab.debug_slots import Slots
from structpage.slab.kernel_log import KernelLog, shown, span

_PAGE_FLAGS: Final = ("0x200(slab)", "0x10200(slab|head)")
_BYTES_BEFORE: Final = 16
VALID_POINTER: Final = "NULL or an object of the slab"


class Slab(Protocol):
    """What the debugging has to know of a slab, and may have to repair."""

    objects: int
    inuse: int
    freelist: int
    """Address of the first free object, 0 for none."""
    frozen: int
    """1 once it is disabled."""

    @property
    def address(self) -> int:
        """Address of its first byte, in the direct map."""

    @property
    def order(self) -> int:
        """log2 of its frames."""


class Reports:
    """What was found: `found`, first things first, until it is emptied, and all of it in the log."""

    def __init__(self, slots: Slots, name: str, log: KernelLog) -> None:
        self.slots, self.name, self.log = slots, name, log
        self.found: list[SlabCorruption | InvalidObject] = []

    def about_slab(self, slab: Slab, what: str) -> None:
        """Report something about a slab."""
        self.log.bug(self.name, what)
        self._slab_info(slab)

    def about_object(self, slab: Slab, address: int, what: str) -> None:
        """Report something about an object, with a dump of its slot."""
        self.log.bug(self.name, what)
        self._trailer(slab, address)

    def stray(self, slab: Slab, address: int, what: str) -> None:
        """Report something about an address of a free list where no object is."""
        self.about_slab(slab, what)
        self.log.lines.append(f"Invalid pointer {shown(address)}")
        self.note(slab, "free pointer", VALID_POINTER, f"{address:#x}", slab.address)

    def about_bytes(self, slab: Slab, address: int, what: str, start: int, end: int, byte: int) -> None:
        """Report bytes of an object's slot that are not `byte`, and restore them."""
        self.log.bug(self.name, f"{what} overwritten")
        found = self.slots.read(start, 1)[0]
        offset = start - slab.address
        self.log.lines.append(f"{span(start, end)} @offset={offset}. First byte {found:#x} instead of {byte:#x}")
        self._trailer(slab, address)
        self.note(slab, what, f"{byte:#x}", f"{found:#x}", start, address)
        self._restore(what, start, end, byte)

    def about_slab_padding(self, slab: Slab, padding: int, start: int, end: int, byte: int) -> None:
        """Report bytes of the slab's padding, which begins at `padding`, and restore them."""
        found = self.slots.read(start, 1)[0]
        self.about_slab(slab, f"Padding overwritten. {span(start, end)} @offset={start - slab.address}")
        left = slab.address + (PAGE_SIZE << slab.order) - padding
        self.log.dump("Padding ", padding, self.slots.read(padding, left))
        self.note(slab, "slab padding", f"{byte:#x}", f"{found:#x}", start)
        self._restore("slab padding", start, end, byte)

    def fix(self, what: str) -> None:
        """Report a repair."""
        self.log.fix(self.name, what)

    def note(
        self, slab: Slab, field: str, expected: object, found: object, address: int, of: int | None = None
    ) -> None:
        """Keep what was found as an exception; `of` is the object that it is of."""
        offset, pfn = address - slab.address, pfn_of(address)
        error = SlabCorruption(
            field, expected, found, cache=self.name, address=address, offset=offset, object=of, pfn=pfn
        )
        self.found.append(error)

    def note_pointer(self, slab: Slab, address: int, found: int) -> None:
        """Keep a bad free pointer of an object as an exception."""
        at = address + self.slots.geometry.offset
        self.note(slab, "free pointer", VALID_POINTER, f"{found:#x}", at, address)

    def _restore(self, what: str, start: int, end: int, byte: int) -> None:
        self.fix(f"Restoring {what} {span(start, end)}={byte:#x}")
        self.slots.fill(start, byte, end - start)

    def _slab_info(self, slab: Slab) -> None:
        self.log.lines.append(
            f"Slab {shown(struct_page(pfn_of(slab.address)))} objects={slab.objects} used={slab.inuse} "
            f"fp={shown(slab.freelist)} flags={_PAGE_FLAGS[slab.order > 0]}"
        )

    def _trailer(self, slab: Slab, address: int) -> None:
        slots, geometry, log = self.slots, self.slots.geometry, self.log
        offset = address - slab.address
        log.lines += slots.tracks.lines(*slots.tracks_of(address))
        self._slab_info(slab)
        log.lines += [f"Object {shown(address)} @offset={offset} fp={shown(slots.next(address))}", ""]

        def section(label: str, start: int, end: int) -> None:
            log.dump(label, address + start, slots.read(address + start, end - start))

        if slots.red_zone:
            section("Redzone  ", -geometry.red_left_pad, 0)
        elif offset > _BYTES_BEFORE:
            section("Bytes b4 ", -_BYTES_BEFORE, 0)
        section("Object   ", 0, min(geometry.object_size, PAGE_SIZE))
        if slots.red_zone:
            section("Redzone  ", geometry.object_size, geometry.inuse)
        section("Padding  ", geometry.padding, geometry.end)
