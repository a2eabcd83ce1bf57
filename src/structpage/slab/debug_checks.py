"""`Checks`: looks whether the bytes of slots are what they should be, and repairs what is not.

Each check returns whether what it looked at was in order. Where it was not, it is reported and repaired: bytes are
restored, a bad free pointer becomes NULL and so loses the objects behind it, counts are set to what was counted. What
is lost counts as in use from then on, and its red zones, which are still those of free objects, are told of in turn.
Damage to padding alone hurts nobody's object: it is reported and repaired, and the check goes on.

Followed: Linux 6.1 mm/slub.c, `slab_pad_check`, `check_object`, `check_slab`, `on_freelist`, `free_consistency_checks`.
A free list that runs in a circle, which the kernel would walk for ever once its count is wrong, is cut where it closes.
"""

from __future__ import annotations

from structpage.errors import DoubleFree, InvalidObject
from structpage.frames import PAGE_SIZE
from structpage.slab.debug_reports import VALID_POINTER, Reports, Slab
from structpage.slab.debug_slots import POISON_END, POISON_FREE, POISON_INUSE, RED_ACTIVE, RED_INACTIVE, Slots
from structpage.slab.kernel_log import shown
from structpage.slab.order import MAX_OBJECTS


class Checks:
    """The checks of one cache."""

    def __init__(self, slots: Slots, reports: Reports) -> None:
        self.slots, self.reports = slots, reports

    def record(self, slab: Slab) -> bool:
        """Check a slab's own counts, and the padding behind its last slot."""
        if slab.frozen:
            self.reports.about_slab(slab, "Slab disabled since SLUB metadata consistency check failed")
            self.reports.note(slab, "state", "enabled", "disabled", slab.address)
            return False
        most = self.slots.geometry.objects_of(slab.order)
        for field, value, limit in (("objects", slab.objects, most), ("inuse", slab.inuse, slab.objects)):
            if value > limit:
                self.reports.about_slab(slab, f"{field} {value} > max {limit}")
                self.reports.note(slab, field, f"at most {limit}", value, slab.address)
                return False
        self.slab_padding(slab)
        return True

    def slab_padding(self, slab: Slab) -> None:
        """Check the bytes behind the last slot, where there are any."""
        size = PAGE_SIZE << slab.order
        left = size % self.slots.geometry.size
        padding = slab.address + size - left
        bad = self._differing(padding, POISON_INUSE, left) if self.slots.poison else None
        if bad:
            self.reports.about_slab_padding(slab, padding, *bad, POISON_INUSE)

    def object(self, slab: Slab, address: int, red: int) -> bool:
        """Check an object that should be inactive or active, as `red` says."""
        slots, geometry = self.slots, self.slots.geometry
        end, gap = address + geometry.object_size, geometry.inuse - geometry.object_size
        if slots.red_zone:
            left = address - geometry.red_left_pad
            if not self._bytes(slab, address, "Left Redzone", left, red, geometry.red_left_pad):
                return False
            if not self._bytes(slab, address, "Right Redzone", end, red, gap):
                return False
        elif slots.poison:
            self._bytes(slab, address, "Alignment padding", end, POISON_INUSE, gap)
        if slots.poison:
            if slots.object_poison and red == RED_INACTIVE and not self._poison(slab, address):
                return False
            padding = address + geometry.padding
            self._bytes(slab, address, "Object padding", padding, POISON_INUSE, geometry.end - geometry.padding)
        if red == RED_ACTIVE and not geometry.freeptr_outside:
            return True
        return self._free_pointer(slab, address)

    def _poison(self, slab: Slab, address: int) -> bool:
        last = self.slots.geometry.object_size - 1
        if not self._bytes(slab, address, "Poison", address, POISON_FREE, last):
            return False
        return self._bytes(slab, address, "End Poison", address + last, POISON_END, 1)

    def _bytes(self, slab: Slab, address: int, what: str, start: int, byte: int, length: int) -> bool:
        bad = self._differing(start, byte, length)
        if bad:
            self.reports.about_bytes(slab, address, what, *bad, byte)
        return bad is None

    def _differing(self, start: int, byte: int, length: int) -> tuple[int, int] | None:
        """Return the first byte that differs, and the end of the last that does."""
        data, expected = self.slots.read(start, length), bytes((byte,))
        rest = data.lstrip(expected)
        return (start + length - len(rest), start + len(data.rstrip(expected))) if rest else None

    def _free_pointer(self, slab: Slab, address: int) -> bool:
        pointer = self.slots.next(address)
        if not pointer or self.is_object(slab, pointer):
            return True
        self.reports.about_object(slab, address, "Freepointer corrupt")
        self.reports.note_pointer(slab, address, pointer)
        self.slots.set_next(address, 0)
        return False

    def is_object(self, slab: Slab, address: int) -> bool:
        """Whether an address is that of an object of a slab."""
        return address in self.slots.addresses(slab.address, slab.objects)

    def free_list(self, slab: Slab, address: int | None) -> bool:
        """Walk a slab's free list, and check the counts by it; return whether `address` is on it.

        With `None` there is nothing to be found, and the answer is whether the list could be walked.
        """
        objects, seen = self.slots.addresses(slab.address, slab.objects), set[int]()
        before, at = 0, slab.freelist
        while at:
            if at == address:
                return True
            if at in seen or at not in objects:
                if not before:
                    self._clear(slab)
                    return False
                self.reports.about_object(slab, before, "Freechain corrupt")
                self.reports.note_pointer(slab, before, at)
                self.slots.set_next(before, 0)
                break
            seen.add(at)
            before, at = at, self.slots.next(at)
        self._count(slab, len(seen))
        return address is None

    def _clear(self, slab: Slab) -> None:
        self.reports.about_slab(slab, "Freepointer corrupt")
        self.reports.note(slab, "free list", VALID_POINTER, f"{slab.freelist:#x}", slab.address)
        slab.freelist, slab.inuse = 0, slab.objects
        self.reports.fix("Freelist cleared")

    def _count(self, slab: Slab, free: int) -> None:
        objects = min(self.slots.geometry.objects_of(slab.order), MAX_OBJECTS)
        if slab.objects != objects:
            self.reports.about_slab(slab, f"Wrong number of objects. Found {slab.objects} but should be {objects}")
            self.reports.note(slab, "objects", objects, slab.objects, slab.address)
            slab.objects = objects
            self.reports.fix("Number of objects adjusted")
        used = slab.objects - free
        if slab.inuse != used:
            self.reports.about_slab(slab, f"Wrong object count. Counter is {slab.inuse} but counted were {used}")
            self.reports.note(slab, "inuse", used, slab.inuse, slab.address)
            slab.inuse = used
            self.reports.fix("Object count adjusted")

    def freed(self, slab: Slab, address: int, *, strict: bool) -> None:
        """Check what is to be freed: that any object is in use; and if `strict`, that this one is, and is in order."""
        if slab.inuse < 1:
            self.reports.about_slab(slab, f"Slab has {slab.inuse} allocated objects but 1 are to be freed")
            self._refuse(DoubleFree, address, "one of a slab of which all are free")
        elif not strict:
            return
        elif not self.is_object(slab, address):
            self.reports.about_slab(slab, f"Invalid object pointer {shown(address)}")
            at = (address - self.slots.addresses(slab.address, slab.objects).start) % self.slots.geometry.size
            self._refuse(
                InvalidObject, address, f"one {at} bytes behind the beginning of the object at {address - at:#x}"
            )
        elif self.free_list(slab, address):
            self.reports.about_object(slab, address, "Object already free")
            freed = self.slots.tracks_of(address)[1]
            by = f", by {freed.caller} on CPU {freed.cpu}" if freed else ""
            self._refuse(DoubleFree, address, f"one that is free already{by}")
        else:
            self.object(slab, address, RED_ACTIVE)

    def _refuse(self, kind: type[InvalidObject], address: int, value: str) -> None:
        rule = f"an object of cache {self.reports.name} that is in use"
        self.reports.found.append(kind(self.reports.name, address, rule, value))
