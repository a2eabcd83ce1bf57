"""`Machine`: Linux's page allocator, page for page, over any placement.

Terminology is the kernel's: zones with watermarks, pageblocks with migratetypes, per-CPU lists, and free counters that
drift between folds of their per-CPU differences. What a caller sees of the kernel is `alloc_pages` and `free_pages`;
what goes on elsewhere in a kernel and is felt here is told by calls of its own: `drain`, `fold`, `balance`,
`unreserve_highatomic`. Reclaim, compaction and the tasks that allocate are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from structpage.arguments import a_pfn, an_int, at_least, between, named
from structpage.boot import Memblock
from structpage.core.buddy import MERGE_LIKELY
from structpage.core.linux.gfp import GFP_ACCOUNT
from structpage.core.linux.highatomic import unreserve
from structpage.core.status import NO_MEMORY, REFUSED
from structpage.core.words import ISOLATE, ZIDS
from structpage.engines import Engine
from structpage.errors import InvalidFree, OutOfMemory, must
from structpage.frames import FrameMemory
from structpage.hosting import Host
from structpage.machine import booting
from structpage.machine import start as machine_start
from structpage.machine.asked import GFP_KERNEL
from structpage.machine.events import decoded
from structpage.machine.handed import HandedMachine
from structpage.pages import PageArray
from structpage.procfs import parse_zoneinfo
from structpage.refusal import why_not_allocated
from structpage.sizing import Tuning
from structpage.zones import Zone


class Machine(HandedMachine):
    """Linux's page allocator over a `PageArray`, with its lists where `placement` puts them.

    Parameters: `pages`, a memmap or a number of frames; `placement`, a name or class; `kernel`, whose policies it
    follows (`"6.1"`); `zones`, by default those of x86-64: DMA to 16 MiB, DMA32 to 4 GiB, Normal above; `cpus`, their
    number; `cpu_node`, the node of each, by default the nodes in blocks of CPUs, as even as they go; `distance[a][b]`,
    that of nodes, by default 10 within a node and 20 between two; `max_order` and `pageblock_order`; `cma`, whether
    the kernel has CONFIG_CMA; `engine`, `memory` and `stamp` as for `BuddyAllocator`; `start`, whether all frames are
    handed over (`"free"`) or none (`"reserved"`, see `release`); `tuning`, what an administrator may set;
    `last_resort`, whether a request that watermarks refuse is served all the same while there is a block, as it is
    of a kernel that reclaims meanwhile; `host`, who gives the memory for its metadata (see `boot`).

    Frames are handed over as at boot: zone by zone, ascending, in the largest chunks, to the tails. All pageblocks
    are Movable but those whose first frame does not exist; the kernel makes all of a memory below 10 MiB Unmovable,
    which is not done here. After that the sizes of zones are computed (`compute_sizes`).

    Raises `UnknownName`, `LimitExceeded`, `OutOfRange`, `InvalidArgument`. O(frames / 2^max_order + zones x CPUs).
    """

    def __init__(
        self,
        pages: PageArray | int,
        placement: str | type = "side-table",
        *,
        kernel: str = "6.1",
        zones: Iterable[Zone] | None = None,
        cpus: int = 1,
        cpu_node: Sequence[int] | None = None,
        distance: Sequence[Sequence[int]] | None = None,
        max_order: int = 10,
        pageblock_order: int = 9,
        cma: bool = False,
        engine: str | Engine | None = None,
        memory: FrameMemory | None = None,
        stamp: str = "every",
        start: str = "free",
        tuning: Tuning | None = None,
        last_resort: bool = False,
        host: Host | None = None,
    ) -> None:
        named("start", start, ("free", "reserved"))
        super().__init__(
            pages,
            placement,
            kernel=kernel,
            zones=zones,
            cpus=cpus,
            cpu_node=cpu_node,
            distance=distance,
            max_order=max_order,
            pageblock_order=pageblock_order,
            cma=cma,
            engine=engine,
            memory=memory,
            stamp=stamp,
            tuning=tuning or Tuning(),
            last_resort=last_resort,
            host=host,
        )
        if start == "free":
            for zone in self.zones:
                for first, end in zone.present():
                    self.hand_over(zone, first, end)
            self.compute_sizes()

    @classmethod
    def from_proc(
        cls,
        *,
        zoneinfo: str,
        pagetypeinfo: str | None = None,
        buddyinfo: str | None = None,
        placement: str | type = "side-table",
        seed: int | None = None,
        **options: Any,
    ) -> Machine:
        """Return a machine of which these files of /proc are true, each given as its text.

        Free blocks are told by `pagetypeinfo`, or, all of them Movable, by `buddyinfo`; they are laid out ascending and
        close together, or with `seed` at places and in an order drawn from it. What else is chosen is told in
        `machine.start`. `options` are those of the class that the files do not tell: `kernel`, `cpu_node`,
        `distance`, `engine`, `memory`, `stamp`, `last_resort`. Raises `TraceError` for a text that is none of such a
        file, `InvalidArgument` if they do not fit together. O(frames that exist or are holes).
        """
        rng = None if seed is None else Random(an_int("seed", seed))
        told = machine_start.read(zoneinfo, pagetypeinfo, buddyinfo, rng)
        machine = cls(
            max(one.zone.end for one in told),
            placement,
            zones=[one.zone for one in told],
            cpus=max(len(one.info.pagesets) for one in told),
            max_order=len(told[0].lists.free[0]) - 1,
            pageblock_order=told[0].lists.block_order,
            cma="CMA" in told[0].lists.types,
            start="reserved",
            **options,
        )
        machine_start.fill(machine, told, rng)
        machine.told = parse_zoneinfo(zoneinfo)
        return machine

    @classmethod
    def boot(
        cls,
        memory: Memblock | str | int,
        placement: str | type = "side-table",
        *,
        descriptor_bytes: int | None = None,
        zones: Sequence[Zone] | None = None,
        start: str = "free",
        reserve: int = 0,
        nodes: str = "at-allocation",
        **options: Any,
    ) -> Self:
        """Return a machine that booted: memmap, side tables and bitmaps lie in its own memory, taken from memblock.

        `memory` is a `Memblock`, which is changed, the text of an e820 map or of /proc/iomem, or a size as `"512M"` or
        in bytes.
        `descriptor_bytes`, 64, 32, 16 or 8, is what a descriptor takes, by default what its words need; `zones` are
        by default those of x86-64; with `start="deferred"` the frames of the last zone of each node follow later
        (`hand_over_deferred`). A placement with nodes has `reserve` of them at first, and more by a rule
        (`machine.supply`). `options` are those of the class, but for pages, memory, start and host. What was taken,
        when and by whom is in `boot_report`.

        Raises:
            BootstrapError: the placement needs nodes before anybody can give them.
            OutOfMemory: the metadata do not fit.
            InvalidArgument, TraceError, UnknownName, LimitExceeded: as of the class and the readers.

        O(frames / 2^max_order + regions), and with `start="deferred"` O(sections).

        """
        return booting.boot(
            cls,
            memory,
            placement,
            descriptor_bytes=descriptor_bytes,
            zones=zones,
            start=start,
            reserve=reserve,
            nodes=nodes,
            **options,
        )

    # Allocating

    def alloc_pages(
        self,
        order: int = 0,
        gfp: int | str = "GFP_KERNEL",
        cpu: int = 0,
        node: int | None = None,
        *,
        owner: object = None,
    ) -> int:
        """Allocate 2^order frames for a caller on `cpu`, and return the first one's PFN.

        `gfp` are flags, a number or as the kernel prints them (`"GFP_KERNEL|__GFP_ZERO"`); `node` is where they are
        wanted from, by default the CPU's. The attempts are those of a kernel that does not reclaim: at the low
        watermark, at the min watermark with the reserves that the flags open, and for __GFP_MEMALLOC below all.
        Raises `OutOfMemory`, then lists may have been refilled and marks boosted but no frame is allocated;
        `InvalidArgument`, `UnknownName`. O(max_order), and O(pageblock) where a pageblock is stolen.
        """
        order = between("order", order, 0, self.max_order)
        bits, cpu = self._gfp(gfp), self._cpu(cpu)
        node = self._node(self.cpu_node[cpu] if node is None else node)
        reference = self.pages.owners.reference(owner)
        self._begin(bits)
        pfn: int = self.machine.alloc(order, bits, cpu, node, reference)
        while pfn == NO_MEMORY and self._grow():
            pfn = self.machine.alloc(order, bits, cpu, node, reference)
        if pfn == NO_MEMORY:
            raise OutOfMemory(self._why_none(order, bits, node))
        self._raise_if(pfn)
        self._in_use(1)
        return pfn

    def alloc_pages_bulk(
        self,
        count: int,
        gfp: int | str = "GFP_KERNEL",
        cpu: int = 0,
        node: int | None = None,
        *,
        owner: object = None,
    ) -> list[int]:
        """Allocate up to `count` single frames at once, and return their PFNs; at least one.

        From the CPU's lists of the first zone of the node that stays above its low watermark; from a lower zone or
        another node comes one frame only, as of `alloc_pages`, and so it is with __GFP_ACCOUNT. Raises as that.
        Followed: Linux 6.1 mm/page_alloc.c, `__alloc_pages_bulk`.
        """
        count, bits, cpu = at_least("count", count, 1), self._gfp(gfp), self._cpu(cpu)
        node = self._node(self.cpu_node[cpu] if node is None else node)
        reference = self.pages.owners.reference(owner)
        self._begin(bits)
        pfns: list[int] = []
        zone = self.machine.bulk_zone(count, bits, node) if count > 1 and not bits & GFP_ACCOUNT else -1
        while zone >= 0 and len(pfns) < count:
            pfn = self.machine.alloc_bulk(zone, bits, cpu, reference)
            self._raise_if(pfn)
            if pfn < 0:
                break
            pfns.append(pfn)
        if not pfns:
            pfns = [self.machine.alloc(0, bits, cpu, node, reference)]
            self._raise_if(pfns[0])
            if pfns[0] < 0:
                raise OutOfMemory(self._why_none(0, bits, node))
        self._in_use(len(pfns))
        return pfns

    def split(self, pfn: int, order: int = 0) -> None:
        """Make the allocated block at `pfn` into blocks of `order`, of the same owner; raises `InvalidFree`."""
        order = between("order", order, 0, self.max_order)
        pfn = a_pfn(pfn, self.pages.frames)
        blocks = self.core.memmap.order_of(pfn) - order if self.core.memmap.is_allocated_head(pfn) else 0
        if self.supply is not None and blocks > 0:
            self._in_use((1 << blocks) - 1)
            try:
                self.supply.before_alloc(GFP_KERNEL)
            except OutOfMemory:
                self._in_use(1 - (1 << blocks))
                raise
        if self.ranges.split(pfn, order) == REFUSED:
            raise InvalidFree(why_not_allocated(self.pages, pfn, order))

    # Freeing

    def free_pages(self, pfn: int, order: int | None = None, cpu: int = 0) -> None:
        """Free the block at `pfn` on a CPU: to its lists, or above order 3 (but for huge pages) to the zone's.

        With `order`, only if it is of that order. Reserved frames, which nobody was given, may be freed too, as
        `order` says. Raises `OutOfRange`, `InvalidFree`; nothing is changed then. O(max_order), and O(frames drained).
        """
        pfn, cpu = a_pfn(pfn, self.pages.frames), self._cpu(cpu)
        order = self._freeable(pfn, order)
        if self.supply is not None and self.supply.becomes_nodes(pfn):
            self._raise_if(self.machine.disown(pfn, order))
            self._in_use(-1)
            for part in range(pfn + 1, pfn + (1 << order)):
                self.free_pages(part, 0, cpu)
            return
        self._begin(freed=pfn)
        self._raise_if(self.machine.free(pfn, order, cpu))
        self._in_use(-1)

    def free_pages_list(self, pfns: Iterable[int], cpu: int = 0) -> None:
        """Free single frames together, as reclaim and unmapping do: the types of all are recorded before any is listed.

        Raises as `free_pages`, also for a frame that is twice among them. Followed: Linux 6.1 mm/page_alloc.c,
        `free_unref_page_list`.
        """
        chosen, cpu = [a_pfn(pfn, self.pages.frames) for pfn in pfns], self._cpu(cpu)
        seen: set[int] = set()
        for pfn in chosen:
            self._freeable(pfn, 0)
            if pfn in seen:
                raise InvalidFree(must("pfns", "different", f"PFN {pfn} twice"))
            seen.add(pfn)
        self._begin(freed=chosen[0] if chosen else 0)
        waiting = []
        for pfn in chosen:
            isolated = self.machine.percpu.zone_lists.blocks.type_of(pfn) == ISOLATE
            self._raise_if(self.machine.free(pfn, 0, cpu) if isolated else self.machine.prepare(pfn, 0))
            waiting += [] if isolated else [pfn]
        for pfn in waiting:
            if self.supply is not None:
                self.supply.before_free(pfn)
            self._raise_if(self.machine.commit(pfn, 0, cpu, 0, MERGE_LIKELY))
        self._in_use(-len(chosen))

    # What goes on elsewhere

    def drain(
        self, cpu: int | None = None, zone: str | None = None, node: int | None = None, *, caller: int | None = None
    ) -> None:
        """Give what waits on per-CPU lists back to the zones: of one CPU, zone or node, or of all. O(frames).

        `caller` is the CPU that does it, whose difference counts the frames; by default each CPU drains its own.
        """
        cpus = range(self.cpus) if cpu is None else (self._cpu(cpu),)
        chosen = [z for z in self.zones if (zone in (None, z.name)) and (node in (None, z.node))]
        if not chosen:
            self._zone_index(zone, 0 if node is None else node)
        self._begin()
        for one in cpus:
            for z in chosen:
                self._raise_if(
                    self.machine.percpu.drain_all(z.number, one, one if caller is None else self._cpu(caller))
                )

    def fold(self, cpu: int | None = None) -> None:
        """Fold a CPU's differences into the counters that watermarks are compared with, or those of all CPUs.

        What each CPU of a kernel does once a second or less often (`refresh_cpu_vm_stats`).
        """
        for one in range(self.cpus) if cpu is None else (self._cpu(cpu),):
            self.machine.percpu.zone_lists.blocks.zones.fold(one, self.core.zones)

    @contextmanager
    def balance(self, node: int = 0, zone: str | None = None) -> Iterator[None]:
        """While in this context kswapd balances the node's zones up to `zone`: per-CPU lists are kept shorter.

        When it is done, the watermark boost that there was at the beginning is taken away.
        """
        highest = self._zone_index(zone, self._node(node)) % ZIDS
        self.machine.balance(node, highest, 1)
        try:
            yield
        finally:
            self.machine.balance(node, highest, 0)

    def unreserve_highatomic(self, gfp: int | str = "GFP_KERNEL", node: int = 0, *, force: bool = False) -> int:
        """Give one reserved pageblock with free frames to the type of a request, as when its reclaim found nothing.

        Of the zones that the request may use, in their order, the first that has more than one, or with `force` any.
        Returns the number of frames that changed lists. O(zones + pageblock).
        """
        bits, node = self._gfp(gfp), self._node(node)
        self._begin()
        for zone in self._zonelist(bits, node):
            moved = unreserve(self.machine.percpu.zone_lists, zone, bits >> 3 & 3, int(force))
            self._raise_if(moved)
            if moved:
                return moved
        return 0

    # Being looked at

    def events(self) -> npt.NDArray[np.void]:
        """Return what the last call did on its way, as the kernel would trace it; `machine.events.EVENT`."""
        return decoded(self.words("trace"))

    def check(self) -> None:
        """Verify every invariant from the words, lists, counts and tables; raises `CorruptionError`. O(frames)."""
        from structpage.machine.check import check_machine

        check_machine(self)
