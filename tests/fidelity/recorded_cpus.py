"""Two CPUs of a recorded kernel at once: what they log is interleaved, what they do under a zone's lock is not.

A request is begun, does what it does to the lists in one go, and then has lines to write, which the other CPU's lines
may come between. Whoever has records to write holds the lock; meanwhile the other may do what needs no lock.
"""

from __future__ import annotations

from recorded_kernel import BLOCK, kernel

from structpage import Zone
from structpage.core.linux.percpu import COUNT, FACTOR, HIGH_MARK, SET_ROW
from structpage.gfp import parse_gfp
from structpage.zones import ZONE_NAMES

ORDERS = (0, 0, 0, 0, 0, 1, 3, 5)
GFPS = ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE")
NORMAL = list(ZONE_NAMES).index("Normal")


def two_cpus(seed, **options):
    """A recorder of a machine of one zone and two CPUs, without watermarks, so that lists alone decide."""
    zones = [Zone("Normal", BLOCK, 12 * BLOCK)]
    options = {"zones": zones, "cpus": 2, "watermarks": False, "counter": True, "warm": 200} | options
    return kernel(seed, **options)


class Interleaved:
    """Runs random requests of two CPUs on a recorder, step by step.

    With `prompt` a free is done where it is logged, or, if another's allocation has the lock and has written a record,
    right after that; and an allocation is logged where it lets go of the lock. Then the order in which they got it is
    that of when they can have begun at the latest.
    """

    def __init__(self, recorder, *, prompt=False):
        self.recorder, self.rng, self.prompt = recorder, recorder.rng, prompt
        self.waiting = [[], []]
        self.begun = [None, None]
        self.locked = -1
        self.written = 0
        self.after = [0, 0]
        self.given = [None, None]

    def run(self, requests):
        left = requests
        while left or any(self.waiting) or any(self.begun):
            cpu = self.rng.randrange(2)
            if self.waiting[cpu]:
                self._write(cpu)
            elif self.begun[cpu]:
                self._finish(cpu)
            elif left:
                left -= self._begin(cpu)

    def _write(self, cpu, *, all_of_it=False):
        # Write a line, often several in a row.
        while self.waiting[cpu]:
            self.recorder.log(*self.waiting[cpu].pop(0))
            self.written += int(cpu == self.locked)
            if not self.waiting[cpu] and self.given[cpu]:
                self.recorder.live.update([self.given[cpu]])
                self.given[cpu] = None
            if self.locked == cpu and len(self.waiting[cpu]) <= self.after[cpu]:
                self.locked = -1
            if self.rng.random() < 0.5 and not all_of_it and not (self.prompt and self.locked != cpu):
                return

    def _begin(self, cpu):
        live = self.recorder.live
        if not live or self.rng.random() < 0.5:
            self.begun[cpu] = ("alloc", self.rng.choice(ORDERS), self.rng.choice(GFPS))
            return True
        pfn = self.rng.choice(list(live))
        free = self._may(cpu, "free", pfn, live[pfn])
        if self.prompt and not free and not (self.after[1 - cpu] and self.written):
            return False
        order = live.pop(pfn)
        self.recorder.page(cpu, "mm_page_free", pfn, order)
        self.begun[cpu] = ("free", pfn, order)
        if self.prompt:
            if not free:
                self._write(1 - cpu, all_of_it=True)
            self._finish(cpu)
        return True

    def _may(self, cpu, *request):
        return self.locked in (-1, cpu) or self._is_local(cpu, *request)

    def _finish(self, cpu):
        what, *rest = self.begun[cpu]
        if not self._may(cpu, what, *rest):
            return
        self.begun[cpu] = None
        machine = self.recorder.machine
        if what == "free":
            machine.free_pages(*rest, cpu)
            lines, self.after[cpu] = self.recorder.records(cpu), 0
            held = bool(lines)
        else:
            order, gfp = rest
            pfn = machine.alloc_pages(order, gfp, cpu)
            self.given[cpu] = pfn, order
            lines = self.recorder.records(cpu)
            held = bool(lines)
            asked = f" order={order}" + self.recorder.asked(gfp)
            lines.append((cpu, f"mm_page_alloc: page=(____ptrval____) pfn={pfn:#x}{asked}"))
            self.after[cpu] = 1
        if held:
            assert self.locked == -1
            self.locked, self.written = cpu, 0
        self.waiting[cpu] = lines

    def _is_local(self, cpu, what, one, other):
        # Whether a request is done with the CPU's own lists.
        machine = self.recorder.machine
        sets = machine.machine.percpu
        row = machine.words("percpu").reshape(-1, SET_ROW)[NORMAL * machine.cpus + cpu].tolist()
        if what == "alloc":
            lists = machine.percpu_lists(cpu, "Normal")
            return sets.keeps(one) and bool(lists[sets.place(one, parse_gfp(other) >> 3 & 3)])
        drains_all = row[FACTOR] and 0 < other < 4
        return sets.keeps(other) and not drains_all and row[COUNT] + (1 << other) < row[HIGH_MARK]
