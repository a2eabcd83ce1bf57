"""Allocations, frees, isolation, contiguous ranges and bad frames in any order: no frame is lost or there twice."""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from small_machine import AREA, CPUS, FRAMES, GFP_MOVABLE, GFP_UNMOVABLE, machine_with_area

from structpage.core.linux.cma import cma_alloc, cma_release
from structpage.core.linux.contig import (
    alloc_contig_range,
    first_used,
    free_contig_range,
    isolate_contig_range,
    take_contig_range,
)
from structpage.core.linux.hwpoison import put_page_back_buddy, take_page_off_buddy
from structpage.core.linux.isolation import undo_isolate_page_range
from structpage.core.status import BUSY, NO_MEMORY
from structpage.core.words import CMA, ISOLATE, MOVABLE

PFN, SIZE, CPU = st.integers(0, FRAMES - 1), st.integers(1, 80), st.integers(0, CPUS - 1)


class Contiguous(RuleBasedStateMachine):
    """`owned` are blocks that somebody has, `runs` those of contiguous ranges, `bad` frames kept off the lists."""

    placement = "side-table"

    @initialize(sizes=st.sampled_from([(3, 3), (3, 4), (4, 5), (5, 6)]))
    def start(self, sizes):
        self.small, self.area = machine_with_area(self.placement, *sizes)
        self.machine = self.small.machine
        self.owned, self.runs, self.bad, self.isolated, self.given = {}, [], set(), [], []

    def isolated_frames(self):
        return {pfn for pfn in range(FRAMES) if self.small.blocks.type_of(pfn) == ISOLATE}

    @rule(order=st.integers(0, 4), gfp=st.sampled_from([GFP_MOVABLE, GFP_UNMOVABLE]), cpu=CPU)
    def alloc(self, order, gfp, cpu):
        pfn = self.machine.alloc(order, gfp, cpu, 0, 0)
        assert pfn >= NO_MEMORY
        if pfn >= 0:
            frames = set(range(pfn, pfn + (1 << order)))
            assert not frames & (self.isolated_frames() | self.bad)
            assert gfp == GFP_MOVABLE or self.small.blocks.type_of(pfn) != CMA
            self.owned[pfn] = order

    @rule(data=st.data(), cpu=CPU)
    def free(self, data, cpu):
        if self.owned:
            pfn = data.draw(st.sampled_from(sorted(self.owned)))
            assert self.machine.free(pfn, self.owned.pop(pfn), cpu) == 0

    @rule(start=PFN, size=SIZE, cpu=CPU)
    def isolate(self, start, size, cpu):
        types = self.small.types()
        status = isolate_contig_range(self.machine, start, start + size, MOVABLE, cpu)
        if status == 0:
            self.isolated.append((start, start + size))
            assert set(range(start, start + size)) <= self.isolated_frames()
        else:
            assert self.small.types().count(str(ISOLATE)) == types.count(str(ISOLATE))

    @rule(data=st.data(), cpu=CPU)
    def undo(self, data, cpu):
        if self.isolated:
            start, stop = self.isolated.pop(data.draw(st.integers(0, len(self.isolated) - 1)))
            assert undo_isolate_page_range(self.machine, start, stop, MOVABLE, cpu) == 0

    @rule(data=st.data(), cpu=CPU)
    def take(self, data, cpu):
        """Move what is in use in an isolated range elsewhere, as far as that is possible, and have it all."""
        if not self.isolated:
            return
        start, stop = self.isolated.pop(data.draw(st.integers(0, len(self.isolated) - 1)))
        for pfn in [pfn for pfn in self.owned if pfn < stop and pfn + (1 << self.owned[pfn]) > start]:
            order = self.owned.pop(pfn)
            self.alloc(order, GFP_MOVABLE, cpu)
            assert self.machine.free(pfn, order, cpu) == 0
        usable = first_used(self.machine, start, stop) < 0
        status = take_contig_range(self.machine, start, stop, MOVABLE, cpu, 0)
        assert status == (0 if usable else BUSY)
        if status == 0:
            self.runs.append((start, stop))

    @rule(start=PFN, size=SIZE, cpu=CPU)
    def alloc_range(self, start, size, cpu):
        isolated = self.isolated_frames()
        status = alloc_contig_range(self.machine, start, start + size, MOVABLE, cpu, 0)
        assert self.isolated_frames() == isolated
        if status == 0:
            self.runs.append((start, start + size))

    @rule(data=st.data(), cpu=CPU)
    def free_range(self, data, cpu):
        if self.runs:
            start, stop = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
            assert free_contig_range(self.machine, start, stop, cpu) == 0

    @rule(count=st.integers(1, 20), align=st.integers(0, 4), cpu=CPU)
    def cma(self, count, align, cpu):
        pfn = cma_alloc(self.machine, self.area, count, align, cpu, 0)
        assert pfn >= NO_MEMORY
        if pfn >= 0:
            assert pfn % (1 << align) == 0
            assert pfn + count <= AREA
            self.given.append((pfn, count))

    @rule(data=st.data(), cpu=CPU)
    def cma_free(self, data, cpu):
        if self.given:
            pfn, count = self.given.pop(data.draw(st.integers(0, len(self.given) - 1)))
            assert cma_release(self.machine, self.area, pfn, count, cpu) == 0

    @rule(pfn=PFN, cpu=CPU)
    def poison(self, pfn, cpu):
        is_free = self.small.check(self.all_owned()).get(pfn) == "free"
        assert (take_page_off_buddy(self.machine, pfn, cpu) == 0) == is_free
        if is_free:
            self.bad.add(pfn)

    @rule(data=st.data(), cpu=CPU)
    def put_back(self, data, cpu):
        if self.bad:
            pfn = data.draw(st.sampled_from(sorted(self.bad)))
            assert put_page_back_buddy(self.machine, pfn, cpu) == 0
            self.bad.discard(pfn)

    def all_owned(self):
        singles = {pfn: 0 for start, stop in self.runs for pfn in range(start, stop)}
        singles |= {pfn: 0 for start, count in self.given for pfn in range(start, start + count)}
        return self.owned | singles

    @invariant()
    def nothing_is_lost_or_there_twice(self):
        covered = self.small.check(self.all_owned())
        assert set(range(FRAMES)) - set(covered) == self.bad

    @invariant()
    def the_bitmap_is_what_was_given(self):
        given = {pfn for start, count in self.given for pfn in range(start, start + count)}
        assert {pfn for pfn in range(AREA) if self.area.bitmap[pfn]} == given

    @invariant()
    def without_isolation_all_buddies_are_merged(self):
        if not self.isolated:
            assert self.small.types().count(str(ISOLATE)) == 0
            assert self.small.unmerged() == []

    def teardown(self):
        """Everything given back, the memory is in its largest blocks."""
        if not hasattr(self, "small"):
            return
        for start, stop in self.isolated:
            assert undo_isolate_page_range(self.machine, start, stop, MOVABLE, 0) == 0
        for pfn in self.bad:
            assert put_page_back_buddy(self.machine, pfn, 0) == 0
        for pfn, order in self.all_owned().items():
            assert self.machine.free(pfn, order, 0) == 0
        for zone in self.small.zones:
            for cpu in range(CPUS):
                assert self.machine.percpu.drain_all(zone.number, cpu, cpu) == 0
        assert set(self.small.check({})) == set(range(FRAMES))
        assert self.small.unmerged() == []


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_in_any_order(placement):
    run_state_machine_as_test(type("On", (Contiguous,), {"placement": placement}))
