"""The loop over slab events: each is asked of the caches here, and what comes of it is put beside what was recorded.

A recorded slab is found again here when both make one for the same event; from then on each recorded pointer in its
pages says which object is expected. Where a new slab's shuffled free list starts is drawn by the kernel, so it is read
from the first object that it gave, which for that reason is not among those predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from structpage.core.slab.rows import (
    CACHE_ROW,
    CPU_FREELIST,
    CPU_PARTIAL,
    CPU_ROW,
    CPU_SLAB,
    DISCARDED,
    MADE,
    NULL,
    OBJECTS,
    RECORD_ROW,
    SEQUENCE_ROW,
    SHUFFLED,
)
from structpage.fidelity.slab_interrupts import cut_allocations, may_schedule
from structpage.fidelity.slab_pages import PageCall, PageCalls
from structpage.fidelity.slab_state import Placed, bind
from structpage.fidelity.slab_untraced import Untraced
from structpage.slab.cache import SlabCache
from structpage.slab.views import SlabView, unsigned_address
from structpage.traces.slab_events import CACHE_ALLOC
from structpage.traces.slab_requests import SlabRequests

EXACT, OTHER, TOLD, NOT_ASKED = range(4)
"""Of each event: the recorded object; another one; the first object of a new slab, whose place was read; no allocation
from a slab."""
Event = tuple[int, int, int, int, int]
"""Cache, kind, CPU, node and pointer."""


@dataclass
class Followed:
    """What came of the events."""

    answers: NDArray[np.int8]
    """`EXACT`, `OTHER`, `TOLD` or `NOT_ASKED` for each event."""
    made: list[PageCall] = field(default_factory=list)
    """Slabs made here; their page is the recorded one, -1 if the kernel made none there."""
    given_back: list[PageCall] = field(default_factory=list)
    """Slabs given back here, likewise."""
    untraced: dict[str, int] = field(default_factory=dict)
    """Frees that were not traced, by cache."""
    untraced_given_back: int = 0
    """Slabs given back by them."""
    repairs: int = 0
    """Wrong answers after which the caches were put right."""
    interrupted: int = 0
    """Allocations that were run before the interrupt whose events come before theirs."""
    foreign: int = 0
    """Frees of objects that are not in use here."""


def follow(
    requests: SlabRequests,
    placed: Placed,
    calls: PageCalls | None,
    untraced: Mapping[int, Untraced],
    *,
    every: int = 0,
    sample: Callable[[int], None] = lambda row: None,
) -> Followed:
    """Ask all events of the caches in `placed`, and return what came of it; events of other caches are foreign.

    `sample` is called before every `every` events, and at the end. Raises as `SlabCache.alloc`. Cost: 10 us per event.
    """
    return _Follower(requests, placed, calls).run(untraced, every, sample)


class _Follower:
    # `where`: by recorded pointer, the address here of each object in use that was allocated in the trace.
    # `taken`: these addresses.
    # `given_back`: whether slabs were given back that are still in `bound`.
    # `bound`: by number of a slab here, the recorded page of its first frame, -1 where the kernel made none.
    def __init__(self, requests: SlabRequests, placed: Placed, calls: PageCalls | None) -> None:
        self.requests, self.placed, self.deltas = requests, placed, placed.deltas
        self.caches = [placed.caches.get(name) for name in requests.names]
        self.layer = placed.layer
        self.store = self.layer.store
        self.places = [_places(cache) for cache in self.caches]
        self.where: dict[int, int] = {}
        self.taken: set[int] = set()
        self.given_back = False
        self.bound = {
            self.layer.record_at((page << 12) + delta): page
            for page, delta in sorted(placed.deltas.items(), reverse=True)
        }
        self.new = None if calls is None else {call.row: call for call in calls.made}
        self.found = Followed(np.full(len(requests.events), NOT_ASKED, np.int8))

    def run(self, untraced: Mapping[int, Untraced], every: int, sample: Callable[[int], None]) -> Followed:
        rows = self.requests.events.rows
        columns = (self.requests.cache, rows["kind"], rows["cpu"], rows["node"], rows["ptr"])
        events: list[Event] = list(zip(*(column.tolist() for column in columns), strict=True))
        cut, scheduled = cut_allocations(self.requests), may_schedule(self.requests)
        done: set[int] = set()
        for row, event in enumerate(events):
            if every and row % every == 0:
                sample(row)
            if row in untraced:
                self.run_untraced(row, untraced[row], event[2])
            late = cut.get(row)
            if late is not None and self.was_before(events[late], scheduled[late]):
                self.ask(late, events[late])
                done.add(late)
            if row not in done:
                self.ask(row, event)
        if every:
            sample(len(rows))
        self.found.interrupted = len(done)
        return self.found

    def was_before(self, event: Event, scheduled: bool) -> bool:
        # Whether an allocation took its object before the interrupt whose events come before its own.
        cache, _, cpu, _, ptr = event
        mine = self.caches[cache]
        if mine is None:
            return False
        slub = self.layer.slub
        at = (mine.number * self.layer.cpus + cpu) * CPU_ROW
        first = slub.cpu[at + CPU_FREELIST]
        if first != NULL:
            delta = self.deltas.get(ptr >> 12)
            return delta is not None and unsigned_address(first) == ptr + delta
        if ptr not in self.where:
            return True
        slab = slub.cpu[at + CPU_SLAB]
        if slab and not scheduled and not slub.take_over(at, slab):
            slub.cpu[at + CPU_SLAB] = 0
        return False

    def ask(self, row: int, event: Event) -> None:
        number, kind, cpu, node, ptr = event
        if number < 0:
            return
        cache = self.caches[number]
        if cache is None:
            self.found.foreign += kind > CACHE_ALLOC
        elif kind <= CACHE_ALLOC:
            self.found.answers[row] = self.alloc(row, cache, self.places[number], cpu, node, ptr)
        else:
            address = self.where.pop(ptr, None)
            if address is None:
                address = self.from_before(cache, ptr)
            if address is None:
                self.found.foreign += 1
            else:
                self.give(address, cpu)
                self.note_given_back(row)

    # Allocating

    def alloc(self, row: int, cache: SlabCache, places: dict[int, int], cpu: int, node: int, ptr: int) -> int:
        new = self.new is not None and self.new.get(row)
        if new:
            self.leave(range(new.page, new.page + (1 << new.order)))
        elif self.new is not None:
            self.give_untraced(self.from_before(cache, ptr), cpu)
            self.note_given_back(row, untraced=True)
        delta = self.deltas.get(ptr >> 12)
        expected = bool(new) or (self.new is None and delta is None)
        if expected and places:
            cache.starts.append(places.get(ptr % (4096 << cache.geometry.order) // cache.geometry.size, 0))
        place = cache.number * CACHE_ROW + MADE
        before = self.store.cache[place]
        address = cache.alloc(cpu, node=node if node in self.layer.nodes else None)
        if self.store.cache[place] == before:
            answer = EXACT if delta is not None and address == ptr + delta else OTHER
        else:
            answer = self.bind_new(row, address, ptr, expected)
        if answer == OTHER and self.placed.as_recorded and (new or delta is not None):
            address = self.put_right(row, cache, cpu, address, ptr, 0 if delta is None else ptr + delta)
        cache.starts.clear()
        self.where[ptr] = address
        self.taken.add(address)
        return answer

    def put_right(self, row: int, cache: SlabCache, cpu: int, address: int, ptr: int, wanted: int) -> int:
        # Take objects until it is the recorded one, or a slab is made as recorded; give the others back, last first.
        if wanted in cache.live:
            return address
        self.found.repairs += 1
        held, place = [], cache.number * CACHE_ROW + MADE
        before = self.store.cache[place]
        while address != wanted:
            held.append(address)
            address = cache.alloc(cpu)
            if self.store.cache[place] != before:
                slab = SlabView(self.store, self.layer.record_at(address))
                self.bound[slab.number] = -1
                if not wanted:
                    bind(self.deltas, ptr & -(4096 << slab.order), slab)
                    self.bound[slab.number] = (ptr & -(4096 << slab.order)) >> 12
                break
        for other in reversed(held):
            self.give(other, cpu)
        self.note_given_back(row, untraced=True)
        return address

    def bind_new(self, row: int, address: int, ptr: int, expected: bool) -> int:
        # A slab was made here; `expected`: by the kernel too.
        slab = SlabView(self.store, self.layer.record_at(address))
        base = ptr & -(4096 << slab.order)
        self.bound[slab.number] = base >> 12 if expected else -1
        self.found.made.append(PageCall(row, self.bound[slab.number], slab.order))
        if not expected:
            return OTHER
        bind(self.deltas, base, slab)
        return TOLD if address == ptr + self.deltas[ptr >> 12] else OTHER

    def leave(self, pages: range) -> None:
        # The kernel had given back what was on these pages.
        for page in pages:
            if page in self.deltas:
                self.bound[self.layer.record_at((page << 12) + self.deltas.pop(page))] = -1

    # Freeing

    def from_before(self, cache: SlabCache, ptr: int) -> int | None:
        # The address of an object that has been in use since before the trace, None if there is none.
        if ptr >> 12 not in self.deltas:
            full = self.placed.full.get(cache.name)
            if not full:
                return None
            slab = SlabView(self.store, full.pop())
            base = ptr & -(4096 << slab.order)
            bind(self.deltas, base, slab)
            self.bound[slab.number] = base >> 12
        address = ptr + self.deltas[ptr >> 12]
        # Where an answer was not the recorded one, its object has the address of another that is in use.
        return None if address in self.taken or address not in cache.live else address

    def run_untraced(self, row: int, untraced: Untraced, cpu: int) -> None:
        for ptr in untraced.pointers:
            self.give_untraced(self.where.pop(ptr, None), cpu)
        for page in untraced.pages:
            delta = self.deltas.get(page)
            if delta is not None:
                slab = SlabView(self.store, self.layer.record_at((page << 12) + delta))
                cache = self.layer.caches[slab.cache]
                if slab.number and cache.live.isdisjoint(objects_of(slab, cache)):
                    give_back(cache, slab, cpu)
                    self.given_back = True
        self.note_given_back(row, untraced=True)

    def give_untraced(self, address: int | None, cpu: int) -> None:
        if address is not None:
            name = self.give(address, cpu).name
            self.found.untraced[name] = self.found.untraced.get(name, 0) + 1

    def give(self, address: int, cpu: int) -> SlabCache:
        cache = self.layer.caches[SlabView(self.store, self.layer.record_at(address)).cache]
        place = cache.number * CACHE_ROW + DISCARDED
        before = self.store.cache[place]
        cache.free(address, cpu)
        self.taken.discard(address)
        self.given_back |= self.store.cache[place] != before
        return cache

    def note_given_back(self, row: int, *, untraced: bool = False) -> None:
        # A record keeps its order until it is used again.
        if not self.given_back:
            return
        self.given_back = False
        for number in [one for one in self.bound if self.store.record[one * RECORD_ROW + OBJECTS] == 0]:
            page, order = self.bound.pop(number), SlabView(self.store, number).order
            for one in range(page, page + (1 << order)) if page >= 0 else ():
                self.deltas.pop(one, None)
            if untraced:
                self.found.untraced_given_back += 1
            else:
                self.found.given_back.append(PageCall(row, page, order))


def objects_of(slab: SlabView, cache: SlabCache) -> range:
    """Return the addresses of a slab's objects."""
    size = cache.geometry.size
    return range(slab.first_object, slab.first_object + slab.objects * size, size)


def give_back(cache: SlabCache, slab: SlabView, cpu: int) -> None:
    """Give an empty slab back, wherever it is listed."""
    layer = cache.layer
    slub = layer.slub
    for owner in range(layer.cpus):
        at = (cache.number * layer.cpus + owner) * CPU_ROW
        mine, _, waiting = layer.cpu_state(cache.number, owner)
        if mine == slab.number:
            slub.cpu[at + CPU_SLAB] = slub.cpu[at + CPU_FREELIST] = 0
            break
        if slab.number in waiting:
            slub.cpu[at + CPU_PARTIAL] = 0
            for other in reversed(waiting):
                if other != slab.number:
                    slub.wait(at, other)
            break
    else:
        layer.store.remove_partial(slab.number)
    cache.discard(slab, cpu)


def _places(cache: SlabCache | None) -> dict[int, int]:
    # By number of an object, its place in the cache's shuffled sequence.
    if cache is None:
        return {}
    count = int(cache.layer.words("slab caches")[cache.number * CACHE_ROW + SHUFFLED])
    sequence = cache.layer.words("slab sequences")[cache.number * SEQUENCE_ROW :][:count].tolist()
    return {number: place for place, number in enumerate(sequence)}
