"""A kernel that can be recorded at will: a `Machine` that writes the trace which a real one would have written.

`Recorder` does requests on a machine and writes each of them, and what the allocator did about it, as lines of ftrace;
`capture` puts them between the free lists of before and after. What is done with `quiet` set leaves no line.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from random import Random

from structpage import Machine, OutOfMemory, Tuning, Zone
from structpage.core.buddy import MERGE_LIKELY
from structpage.core.linux.compaction import rotate_to
from structpage.core.linux.isolation import isolate_free_block, put_back
from structpage.core.words import LANE_SHIFT, MOVABLE, TYPE_NAMES
from structpage.gfp import format_gfp, parse_gfp
from structpage.traces import Capture, read_trace
from structpage.zones import ZONE_NAMES

BLOCK = 512
ZONE_ADDRESS = 0xFFFF88800FE29600
PAGE = 0xFFFFEA0000000000
RECORDED_ZONES = [name for name in ZONE_NAMES if name != "HighMem"]
GFPS = (
    "GFP_KERNEL",
    "GFP_KERNEL|__GFP_ZERO",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_HIGHUSER_MOVABLE|__GFP_COMP",
    "GFP_KERNEL|__GFP_RECLAIMABLE",
    "GFP_DMA32",
)
ORDERS = (0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 7, 9, 10)


class Recorder:
    """Does requests on a machine, and writes what a kernel would have."""

    def __init__(self, machine, rng, *, counter=False):
        self.machine, self.rng, self.counter = machine, rng, counter
        self.lines, self.quiet, self.time = [], False, 10**6
        self.live, self.pieces = {}, set()

    # Writing

    def log(self, cpu, what):
        if self.quiet:
            return
        self.time += 1
        stamp = str(self.time) if self.counter else f"{self.time // 10**6}.{self.time % 10**6:06}"
        self.lines.append(f"            init-{79 + cpu}      [{cpu:03}] .....     {stamp}: {what}\n")

    def page(self, cpu, kind, pfn, order, rest=""):
        self.log(cpu, f"{kind}: page=(____ptrval____) pfn={pfn:#x} order={order}{rest}")

    def probe(self, cpu, kind, rest):
        self.log(cpu, f"{kind}: (somewhere+0x0/0x10) {rest}")

    def records(self, cpu):
        return [(cpu, self._record(event)) for event in self.machine.events()]

    def _record(self, event):
        pfn = f"page=(____ptrval____) pfn={event['pfn']:#x}"
        if event["kind"] == "mm_page_alloc_extfrag":
            return (
                f"{event['kind']}: {pfn} alloc_order={event['order']} fallback_order={event['fallback_order']} "
                f"pageblock_order=9 alloc_migratetype={event['migratetype']} "
                f"fallback_migratetype={event['fallback_migratetype']} "
                f"fragmenting={int(event['fallback_order'] < 9)} change_ownership={event['change_ownership']}"
            )
        refill = " percpu_refill=1" if event["kind"].endswith("locked") else ""
        return f"{event['kind']}: {pfn} order={event['order']} migratetype={event['migratetype']}{refill}"

    def _log_records(self, cpu):
        for _, line in self.records(cpu):
            self.log(cpu, line)

    # Requests

    def alloc(self, order, gfp, cpu=0, node=None):
        pfn = self._got(order, gfp, cpu, node)
        self.live[pfn] = order
        self._log_records(cpu)
        self.page(cpu, "mm_page_alloc", pfn, order, self.asked(gfp))
        return pfn

    def _got(self, order, gfp, cpu, node):
        # One that fails leaves nothing behind, so that it can be tried again.
        words = [self.machine.words(name) for name in ("percpu", "zone_rows")]
        saved = [array.copy() for array in words]
        try:
            return self.machine.alloc_pages(order, gfp, cpu, node)
        except OutOfMemory:
            for array, was in zip(words, saved, strict=True):
                array[:] = was
            raise

    def asked(self, gfp):
        bits = parse_gfp(gfp)
        return f" migratetype={bits >> 3 & 3} gfp_flags={format_gfp(bits)}"

    def free(self, pfn, cpu=0):
        order = self.live.pop(pfn)
        self.page(cpu, "mm_page_free", pfn, order)
        self.machine.free_pages(pfn, order, cpu)
        self._log_records(cpu)

    def free_together(self, pfns, cpu=0):
        """Free single frames as reclaim does: all prepared, then each committed."""
        core = self.machine.machine
        for pfn in pfns:
            del self.live[pfn]
            self.page(cpu, "mm_page_free", pfn, 0)
            assert core.prepare(pfn, 0) == 0
        for pfn in pfns:
            self.page(cpu, "mm_page_free_batched", pfn, 0)
            self._clear()
            assert core.commit(pfn, 0, cpu, 0, MERGE_LIKELY) == 0
            self._log_records(cpu)

    def free_directly(self, pfn, cpu=0):
        """Free a block that interrupts the CPU's use of its own lists."""
        order, core = self.live.pop(pfn), self.machine.machine
        self.page(cpu, "mm_page_free", pfn, order)
        assert core.prepare(pfn, order) == 0
        mt = core.percpu.zone_lists.blocks.type_of(pfn)
        self.probe(cpu, "freeone", f"zone={self._address(pfn):#x} pfn={pfn:#x} order={order} mt={mt}")
        assert core.commit(pfn, order, cpu, 1, MERGE_LIKELY) == 0

    def split(self, pfn, to):
        """Make a block smaller ones; no event tells. Pieces are not split again: their frees could not be told."""
        order = self.live.pop(pfn)
        self.machine.split(pfn, to)
        pieces = dict.fromkeys(range(pfn, pfn + (1 << order), 1 << to), to)
        self.live |= pieces
        self.pieces |= set(pieces)

    def bulk(self, count, gfp, cpu=0):
        self.probe(cpu, "bulk", f"gfp={parse_gfp(gfp):#x} nid=0 n={count}")
        core, bits = self.machine.machine, parse_gfp(gfp)
        zone = core.bulk_zone(count, bits, 0) if count > 1 else -1
        pfns = []
        try:
            if zone < 0:
                pfns.append(self.alloc(0, gfp, cpu))
            else:
                self._clear()
                pfns += [core.alloc_bulk(zone, bits, cpu, 0) for _ in range(count)]
                assert min(pfns) >= 0
                self._log_records(cpu)
        finally:
            self.log(cpu, f"bulk_r: (somewhere+0x0/0x10 <- __alloc_pages_bulk) n={len(pfns)}")
        self.live |= dict.fromkeys(pfns, 0)
        return pfns

    def drain(self, zone, cpu=0, caller=None):
        caller = cpu if caller is None else caller
        self.probe(caller, "drainz", f"cpu={cpu} zone={self._address(zone.start):#x}")
        self.machine.drain(cpu, zone.name, zone.node, caller=caller)
        self._log_records(caller)

    def drain_batch(self, zone, cpu=0):
        self.probe(cpu, "drainzp", f"zone={self._address(zone.start):#x} pcp=0xffff88800fe00000")
        self._clear()
        batch = next(
            row["batch"]
            for row in self.machine.percpu_table
            if (row["zone"], row["node"], row["cpu"]) == (zone.name, zone.node, cpu)
        )
        assert self.machine.machine.percpu.drain(zone.number, cpu, int(batch), 0, cpu) == 0
        self._log_records(cpu)

    def fold(self, cpu=0):
        self.log(cpu, "vmfold: (refresh_cpu_vm_stats+0x0/0x230)")
        self.machine.fold(cpu)

    @contextmanager
    def balance(self, highest, cpu=0):
        node = self.machine.cpu_node[cpu]
        self.probe(cpu, "bal", f"order=0 hz={highest}")
        self.machine.machine.balance(node, highest, 1)
        yield
        self.log(cpu, "bal_r: (kswapd+0x1f0/0x3a0 <- balance_pgdat) order=0")
        self.machine.machine.balance(node, highest, 0)

    def isolate(self, pfn, cpu=0, *, turn=False):
        """Take a free block by its address; its order, or -1 where the zone is too low. With `turn` a search did."""
        core = self.machine.machine
        order = core.percpu.zone_lists.blocks.buddy.memmap.order_of(pfn)
        self.probe(cpu, "isolate", f"page={PAGE + 64 * pfn:#x} order={order}")
        if turn:
            assert rotate_to(core, pfn, order, MOVABLE) == 0
        taken = isolate_free_block(core, pfn, cpu)
        got = 1 << order if taken >= 0 else 0
        self.log(cpu, f"isolate_r: (compaction_alloc+0x33a/0xa20 <- __isolate_free_page) ret={got}")
        if taken >= 0:
            lane = core.percpu.zone_lists.blocks.buddy.zone_at(pfn) << LANE_SHIFT | MOVABLE
            core.percpu.zone_lists.blocks.buddy.memmap.mark_allocated(pfn, order, lane, 0)
        return taken

    def put_back(self, pfn, order, mt, cpu=0):
        self.probe(cpu, "putback", f"page={PAGE + 64 * pfn:#x} order={order} mt={mt}")
        self.machine.core.memmap.unmark_allocated(pfn, order)
        assert put_back(self.machine.machine, pfn, order, mt, cpu) == 0

    def _clear(self):
        self.machine.words("trace")[0] = 1
        self.machine.words("hint")[0] = 0

    def zone_of(self, pfn):
        return next(zone for zone in self.machine.zones if zone.start <= pfn < zone.end)

    def _address(self, pfn):
        return ZONE_ADDRESS + 0x600 * self.zone_of(pfn).number

    # Random ones

    def act(self, cpu=0, node=None, gfps=GFPS, orders=ORDERS):
        """Do one random request of the kinds that are replayed exactly; whether it could be done."""
        rng = self.rng
        roll = rng.random()
        gfp = rng.choice(gfps)
        zone = rng.choice(self.machine.zones)
        try:
            if roll < 0.45 or not self.live:
                self.alloc(rng.choice(orders), gfp, cpu, node)
            elif roll < 0.70:
                self.free(rng.choice(list(self.live)), cpu)
            elif roll < 0.80:
                pfns = [pfn for pfn, order in self.live.items() if order == 0]
                self.free_together(rng.sample(pfns, min(len(pfns), rng.randint(1, 40))), cpu)
            elif roll < 0.84:
                small = [pfn for pfn, order in self.live.items() if self.machine.machine.percpu.keeps(order)]
                for pfn in small[:1]:
                    self.free_directly(pfn, cpu)
            elif roll < 0.89:
                pfn = rng.choice([*self.live])
                if self.live[pfn] and pfn not in self.pieces:
                    self.split(pfn, rng.randrange(self.live[pfn]))
            elif roll < 0.92:
                self.bulk(rng.randint(1, 9), rng.choice(gfps), cpu)
            elif roll < 0.94:
                self.drain(zone, rng.randrange(self.machine.cpus), cpu)
            elif roll < 0.95:
                self.drain_batch(zone, cpu)
            elif roll < 0.98:
                self.fold(cpu)
            else:
                self.mood(cpu)
        except OutOfMemory:
            self.relieve(cpu)

    def act_openly(self, cpu=0, node=None, gfps=GFPS):
        """Do one random request that the standard events show."""
        roll = self.rng.random()
        try:
            if self.live and roll < 0.45:
                self.free(self.rng.choice(list(self.live)), cpu)
            elif self.live and roll < 0.55:
                pfns = [pfn for pfn, order in self.live.items() if order == 0]
                self.free_together(pfns[: self.rng.randint(1, 30)], cpu)
            else:
                self.alloc(self.rng.choice((0, 0, 0, 1, 2, 3, 4)), self.rng.choice(gfps), cpu, node)
        except OutOfMemory:
            self.relieve(cpu)

    def mood(self, cpu):
        with self.balance(2, cpu):
            for pfn in self.rng.sample(list(self.live), min(len(self.live), 30)):
                self.free(pfn, cpu)

    def relieve(self, cpu):
        """Free most of what there is, as reclaim would."""
        for pfn in list(self.live):
            if self.rng.random() < 0.6:
                self.free(pfn, cpu)

    # The capture

    def begin(self):
        """Start to record: what is free, and how it is listed, is that of the first stop."""
        self.before = lists_of(self.machine)
        self.zoneinfo = self.machine.zoneinfo()
        self.quiet = False
        self.log(0, "tracing_mark_write: ORACLE begins")

    def capture(self, name="synthetic"):
        text = "".join(self.lines)
        events = read_trace(io.BytesIO(text.encode()), strict=True)
        proc = {"before/zoneinfo": self.zoneinfo}
        return Capture(name, "6.1.192", {}, events, self.before, lists_of(self.machine), proc, "")


def lists_of(machine):
    """A machine's lists as the JSON of a capture has them."""
    nodes = []
    for node in machine.nodes:
        zones = [
            _zone_of(machine, zone, row)
            for zone, row in zip(machine.zones, machine.zone_table, strict=True)
            if zone.node == node
        ]
        nodes.append({"node": node, "zones": zones})
    return {"nodes": nodes}


def _zone_of(machine, zone, row):
    number = [list(ZONE_NAMES).index(name) for name in RECORDED_ZONES]
    return {
        "name": zone.name,
        "addr": ZONE_ADDRESS + 0x600 * zone.number,
        "start_pfn": zone.start,
        "spanned": zone.end - zone.start,
        "present": zone.end - zone.start,
        "managed": int(row["managed"]),
        "watermark": [int(row[name]) for name in ("min", "low", "high")] + [0],
        "watermark_boost": int(row["boost"]),
        "nr_reserved_highatomic": int(row["highatomic"]),
        "lowmem_reserve": row["lowmem_reserve"][number].tolist(),
        "nr_free_pages_counter": int(row["free_counter"]),
        "free_area": [_area(machine, zone, order) for order in range(machine.max_order + 1)],
        "pcp": [_set_of(machine, zone, cpu) for cpu in range(machine.cpus)],
        "pageblock_first": zone.start // BLOCK,
        "pageblocks": machine.pageblock_types[zone.start // BLOCK : -(-zone.end // BLOCK)].tolist(),
    }


def _area(machine, zone, order):
    lists = {
        name: machine.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)
        for mt, name in enumerate(TYPE_NAMES)
    }
    lists = {name: pfns for name, pfns in lists.items() if pfns}
    return {"order": order, "nr_free": sum(map(len, lists.values())), "lists": lists}


def _set_of(machine, zone, cpu):
    row = next(
        row for row in machine.percpu_table if (row["zone"], row["node"], row["cpu"]) == (zone.name, zone.node, cpu)
    )
    lists = machine.percpu_lists(cpu, zone.name, zone.node)
    percpu = machine.machine.percpu
    return {
        "cpu": cpu,
        "count": int(row["count"]),
        "high": int(row["pcp_high"]),
        "batch": int(row["batch"]),
        "free_factor": int(row["free_factor"]),
        "lists": lists,
        "mt": [[int(percpu.type_of(pfn, place)) for pfn in pfns] for place, pfns in enumerate(lists)],
        "nr_free_pages_diff": int(row["drift"]),
    }


def kernel(
    seed,
    *,
    cpus=1,
    zones=None,
    watermarks=True,
    batch=None,
    high=None,
    warm=300,
    counter=False,
    orders=ORDERS,
    holes=True,
):
    """A recorder of a machine of some 20 MiB, used by somebody for a while, about to be recorded."""
    rng = Random(seed)
    zones = zones or [Zone("DMA32", BLOCK, 5 * BLOCK), Zone("Normal", 5 * BLOCK, 10 * BLOCK + 77)]
    tuning = Tuning(thp=False) if watermarks else Tuning(min_free_kbytes=0, watermark_scale_factor=0, thp=False)
    machine = Machine(
        max(zone.end for zone in zones),
        zones=zones,
        cpus=cpus,
        engine="plain",
        stamp="head",
        start="reserved",
        last_resort=True,
        tuning=tuning,
    )
    for zone in zones:
        _hand_over(machine, zone, rng, (0, 0, 0, 1, 3) if holes else (0,))
    machine.compute_sizes()
    for zone in zones:
        sizes = {"batch": batch or rng.randint(1, 12), "pcp_high": high if high is not None else rng.randint(0, 80)}
        machine.set_zone(zone.name, zone.node, threshold=rng.randint(0, 12), **sizes)
    recorder = Recorder(machine, rng, counter=counter)
    recorder.quiet = True
    for _ in range(warm):
        recorder.act(rng.randrange(cpus), orders=orders)
    recorder.begin()
    return recorder


def _hand_over(machine, zone, rng, holes):
    # A zone that is free but for a few frames that nobody will ever free.
    start = zone.start
    while start < zone.end:
        count = min(rng.randint(1, 900), zone.end - start)
        machine.release(start, count)
        start += count + rng.choice(holes)
