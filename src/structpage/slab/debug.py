"""`Debug`: the debugging of a slab cache: what it writes about objects, and when it looks whether that is still there.

Terminology: an object is *inactive* while it is free and *active* while it is in use; red zones say which. A slab is
*disabled* (`frozen`) once damage was found at an allocation from it: nothing is allocated from it or freed to it any
more. The layout of a slot is in `structpage.slab.shape`, the bytes at rest in `structpage.slab.debug_slots`.

When it looks, and at what (the first two with CONSISTENCY_CHECKS alone)::

    allocation     the slab's counts and padding, and the inactive object that is taken
    free           the slab's counts and padding, whether an object is at the address, its free list, the active object
    check_slab     counts, padding, free list, every object
    pages go back  padding, and every object, inactive

What is found is repaired as the kernel repairs it, is in the log, and is raised. The kernel goes on where it can, with
another slab or without the free; here the call that found damage did nothing else, and may be made again.

Followed: Linux 6.1 mm/slub.c, `alloc_debug_processing`, `free_debug_processing`, `validate_slab`, `__free_slab`. Of
6.12 is that a slab found bad is frozen and frees to it are refused: 6.1 takes it off a list that it is not on.
"""

from __future__ import annotations

from structpage.frames import FrameMemory
from structpage.slab.debug_checks import Checks
from structpage.slab.debug_reports import Reports, Slab
from structpage.slab.debug_slots import ALLOCATED, FREED, RED_ACTIVE, RED_INACTIVE, Slots
from structpage.slab.kernel_log import KernelLog, shown
from structpage.slab.shape import Geometry
from structpage.slab.tracks import Who


class Debug:
    """The debugging of one cache.

    `slots` reads and writes what lies about its objects: free pointers, tracks, sizes asked for.

    Args:
        geometry: of the cache; its flags say what is done.
        memory: the frames' content.
        name: the cache's, for reports.
        random: what free pointers are hardened with; `None` for plain ones.
        log: where reports are printed; a new one if it is `None`.

    Cost: an allocation or a free looks at one slot, a free walks the slab's free list too; O(objects of a slab).

    """

    def __init__(
        self,
        geometry: Geometry,
        memory: FrameMemory,
        name: str,
        *,
        random: int | None = None,
        log: KernelLog | None = None,
    ) -> None:
        self.log = KernelLog() if log is None else log
        self.slots = Slots(geometry, memory, random)
        self._reports = Reports(self.slots, name, self.log)
        self._checks = Checks(self.slots, self._reports)
        self._strict = self.slots.strict

    def setup_slab(self, address: int, order: int, objects: int) -> None:
        """Write what a new slab has about its objects; before they are constructed and linked."""
        self.slots.setup(address, order, objects)

    def check_alloc(self, slab: Slab, address: int, who: Who, size: int | None = None) -> None:
        """Check an object just taken from the head of its slab's free list, and mark it as in use.

        `slab.freelist` and `slab.inuse` are those without the object; `size` is what was asked of a kmalloc cache.
        Raises `SlabCorruption`. The slab is then disabled, and the caller takes it off its list; if nothing but padding
        was damaged, it is as it was before the object was taken.
        """
        start = self._begin(who)
        if self._strict and not self._may_alloc(slab, address):
            self._reports.fix("Marking all objects used")
            slab.inuse, slab.freelist, slab.frozen = slab.objects, 0, 1
        elif self._reports.found:
            slab.inuse, slab.freelist = slab.inuse - 1, address
        self._raise(start)
        self.slots.set_orig_size(address, self.slots.geometry.object_size if size is None else size)
        self.slots.mark(address, RED_ACTIVE)
        self.slots.track(address, ALLOCATED, who)

    def _may_alloc(self, slab: Slab, address: int) -> bool:
        if not self._checks.record(slab):
            return False
        if not self._checks.is_object(slab, address):
            self._reports.stray(slab, address, "Freelist Pointer check fails")
            return False
        return self._checks.object(slab, address, RED_INACTIVE)

    def check_free(self, slab: Slab, address: int, who: Who) -> None:
        """Check an address that is to be freed to its slab, and mark the object as free; the caller links it then.

        Raises `InvalidObject` where no object is, `DoubleFree`, and `SlabCorruption`. Nothing is freed then; damage
        about the object is repaired, so that it can be freed by a second call, but for that in a disabled slab.
        """
        start = self._begin(who)
        if not self._strict or self._checks.record(slab):
            self._checks.freed(slab, address, strict=self._strict)
        if self._reports.found:
            self._reports.fix(f"Object at {shown(address)} not freed")
        self._raise(start)
        self.slots.track(address, FREED, who)
        self.slots.mark(address, RED_INACTIVE)

    def check_slab(self, slab: Slab) -> None:
        """Check a slab in full; a disabled one is passed over.

        Raises `SlabCorruption` for the first damage; its report has all that was found. Objects behind a damaged one
        are not looked at, as in the kernel: check again.
        """
        if slab.frozen:
            return
        start = self._begin(None)
        if self._checks.record(slab) and self._checks.free_list(slab, None):
            free = set(self.free_objects(slab))
            for address in self.slots.addresses(slab.address, slab.objects):
                if not self._checks.object(slab, address, RED_INACTIVE if address in free else RED_ACTIVE):
                    break
        self._raise(start)

    def check_discard(self, slab: Slab) -> None:
        """Check an empty slab before its pages are given back; raises `SlabCorruption`, and they may be then."""
        start = self._begin(None)
        if self._strict:
            self._checks.slab_padding(slab)
            for address in self.slots.addresses(slab.address, slab.objects):
                self._checks.object(slab, address, RED_INACTIVE)
        self._raise(start)

    def free_objects(self, slab: Slab) -> list[int]:
        """Return the addresses on a slab's free list, in its order; the list must be in order."""
        addresses = []
        at = slab.freelist
        while at:
            addresses.append(at)
            at = self.slots.next(at)
        return addresses

    def _begin(self, who: Who | None) -> int:
        if who is not None:
            self.slots.tracks.tick(who)
        return len(self.log.lines)

    def _raise(self, start: int) -> None:
        """Raise the first that was found, with all that was printed since line `start`."""
        found, self._reports.found = self._reports.found, []
        if found:
            first = found[0]
            first.report = "\n".join(self.log.lines[start:])
            raise first
