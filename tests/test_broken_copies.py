"""Deliberately broken copies of the algorithm, each of which the project's own checks must catch.

The first nine are those of the conformance scripts; the others are mistakes that are easy to make in this code.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from structpage.core import memmap, ranges
from structpage.core.buddy import MERGE_LIKELY, Buddy
from structpage.core.ranges import Ranges
from structpage.core.status import NO_MEMORY
from structpage.core.words import LANE_SHIFT, TYPE_MASK
from structpage.engines import plain
from structpage.errors import CorruptionError
from structpage.testing import ModelError, buddy_machine

SOUND = {name: vars(Buddy)[name] for name in ("free_block", "rmqueue", "expand", "free", "deferred_grow_zone")}


def listed(self, pfn, order, lane):
    self.memmap.mark_free(pfn, order, lane)
    self.lists.push_back(lane * self.orders + order, pfn)
    self.nr_free[(lane >> LANE_SHIFT) * self.orders + order] += 1
    return 0


def merging(self, pfn, order, lane, levels=64, top=64, keep_upper=False, leak=False):
    """free_block, with a mistake that can be chosen."""
    zone = lane >> LANE_SHIFT
    merged = 0
    while order < min(self.orders - 1, top) and merged < levels:
        buddy = pfn ^ (1 << order)
        if not (self.zone_start[zone] <= buddy < self.zone_end[zone] and self.memmap.is_free_block(buddy, order)):
            break
        self.lists.remove(buddy)
        self.nr_free[zone * self.orders + order] -= 1
        self.memmap.unmark(buddy)
        pfn = pfn | buddy if keep_upper else pfn & buddy
        order += 1
        merged += 1
    if leak and merged == 0 and order < self.orders - 1:
        return 0
    return listed(self, pfn, order, lane)


def never_coalesces(self, pfn, order, lane, where, top):
    return listed(self, pfn, order, lane)


def one_level_only(self, pfn, order, lane, where, top):
    return merging(self, pfn, order, lane, levels=1)


def leaks_when_the_buddy_is_busy(self, pfn, order, lane, where, top):
    return merging(self, pfn, order, lane, leak=where == MERGE_LIKELY)


def keeps_the_upper_address_on_merge(self, pfn, order, lane, where, top):
    return merging(self, pfn, order, lane, keep_upper=True)


def looks_right_only(self, pfn, order, lane, where, top):
    """Merges with the buddy on its right alone."""
    zone = lane >> LANE_SHIFT
    while order < self.orders - 1 and not pfn & 1 << order:
        buddy = pfn + (1 << order)
        if not (buddy < self.zone_end[zone] and self.memmap.is_free_block(buddy, order)):
            break
        self.lists.remove(buddy)
        self.nr_free[zone * self.orders + order] -= 1
        self.memmap.unmark(buddy)
        order += 1
    return listed(self, pfn, order, lane)


def never_reaches_max_order(self, pfn, order, lane, where, top):
    return merging(self, pfn, order, lane, top=self.orders - 2)


def splits_the_largest_first(self, lane, order):
    for current in range(self.orders - 1, order - 1, -1):
        pfn = self.lists.first(lane * self.orders + current)
        if pfn >= 0:
            self.lists.remove(pfn)
            self.memmap.unmark(pfn)
            self.nr_free[(lane >> LANE_SHIFT) * self.orders + current] -= 1
            self.expand(pfn, order, current, lane)
            return pfn
    return NO_MEMORY


def loses_split_remainders(self, pfn, low, high, lane):
    return None


def free_ignores_the_order(self, pfn, order, mt):
    held = self.memmap.order_of(pfn)
    lane = self.memmap.unmark_allocated(pfn, held)
    return self.free_block(pfn, 0, (lane & ~TYPE_MASK) | mt, MERGE_LIKELY, self.orders - 1)


def merges_across_the_border(self, pfn, order, lane, where, top):
    while order < self.orders - 1:
        buddy = pfn ^ (1 << order)
        if not (buddy < self.frames and self.memmap.is_free_block(buddy, order)):
            break
        self.lists.remove(buddy)
        self.nr_free[(lane >> LANE_SHIFT) * self.orders + order] -= 1
        self.memmap.unmark(buddy)
        pfn &= buddy
        order += 1
    return listed(self, pfn, order, lane)


def forgets_to_unmark_the_merged(self, pfn, order, lane, where, top):
    status = SOUND["free_block"](self, pfn, order, lane, where, top)
    if order < self.orders - 1 and self.memmap.is_free_head(pfn & ~(1 << order)):
        head = pfn & ~(1 << order)
        if self.memmap.order_of(head) > order:
            self.memmap.mark_free(head + (1 << order), order, lane)
    return status


def expand_lists_the_lower_half(self, pfn, low, high, lane):
    while high > low:
        high -= 1
        listed(self, pfn, high, lane)
        pfn += 1 << high


def miscounts_the_split(self, pfn, low, high, lane):
    SOUND["expand"](self, pfn, low, high, lane)
    self.nr_free[(lane >> LANE_SHIFT) * self.orders + low] += 1


BROKEN = [
    (Buddy, "free_block", never_coalesces),
    (Buddy, "free_block", one_level_only),
    (Buddy, "free_block", leaks_when_the_buddy_is_busy),
    (Buddy, "free_block", keeps_the_upper_address_on_merge),
    (Buddy, "free_block", looks_right_only),
    (Buddy, "free_block", never_reaches_max_order),
    (Buddy, "rmqueue", splits_the_largest_first),
    (Buddy, "expand", loses_split_remainders),
    (Buddy, "free", free_ignores_the_order),
    (Buddy, "free_block", merges_across_the_border),
    (Buddy, "free_block", forgets_to_unmark_the_merged),
    (Buddy, "expand", expand_lists_the_lower_half),
    (Buddy, "expand", miscounts_the_split),
]


@pytest.fixture
def broken(monkeypatch):
    """Put a method in place of the core's, in the plain engine's twins too."""

    def put(cls, name, method):
        monkeypatch.setattr(cls, name, method)
        plain._slotted.cache_clear()

    yield put
    monkeypatch.undo()
    plain._slotted.cache_clear()


def run(placement="side-table", examples=60, **options):
    """Run the state machine, from the same seed every time and without making a failure small."""
    run_state_machine_as_test(
        buddy_machine(placement, **options),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("cls", "name", "method"), BROKEN, ids=[method.__name__ for *_, method in BROKEN])
def test_a_broken_copy_is_caught(broken, cls, name, method):
    broken(cls, name, method)
    with pytest.raises((ModelError, CorruptionError)):
        run()


def test_the_sound_copy_is_not(broken):
    broken(Buddy, "free_block", SOUND["free_block"])
    run(examples=5)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(ranges, "LANE_SHIFT", LANE_SHIFT + 1), (memmap, "ORDER_MASK", 1)],
    ids=["a zone's number shifted wrongly", "an order cut short"],
)
def test_a_wrong_constant_is_caught(broken, monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    plain._slotted.cache_clear()
    with pytest.raises(Exception):  # noqa: B017, PT011  an index beyond the buffers is as good as a report
        run(examples=20)


@pytest.mark.parametrize(
    ("cls", "name", "method"),
    [
        (Ranges, "take_piece", lambda self, start, stop, mt: self.take(start, 0, mt)),
        (Ranges, "is_free_range", lambda self, start, stop: True),
        (Ranges, "is_reserved_range", lambda self, start, stop: self.buddy.memmap.is_reserved(start)),
        (Ranges, "find_run", lambda self, start, stop, count: start),
        (Ranges, "find_block", lambda self, start, stop, order, align: start),
        (Buddy, "head_of", lambda self, pfn: pfn),
    ],
    ids=["take_piece", "is_free_range", "is_reserved_range", "find_run", "find_block", "head_of"],
)
def test_broken_ranges_are_caught(broken, cls, name, method):
    broken(cls, name, method)
    with pytest.raises(Exception):  # noqa: B017, PT011  some end in an error of another kind
        run(examples=60)


def never_moves_on(self, zone, count):
    row = self.deferred[zone]
    if row == 0:
        return NO_MEMORY
    start, end = self.deferred[row], self.deferred[row + 1]
    status = SOUND["deferred_grow_zone"](self, zone, count)
    self.deferred[row], self.deferred[row + 1], self.deferred[zone] = start, end, row
    return status


def forgets_what_is_behind_a_hole(self, zone, count):
    row = self.deferred[zone]
    status = SOUND["deferred_grow_zone"](self, zone, count)
    if self.deferred[zone] != row:
        self.deferred[zone] = 0
    return status


def gives_up_after_a_section(self, lane, order):
    self.deferred_grow_zone(lane >> LANE_SHIFT, 1 << order)
    return self.rmqueue(lane, order)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("deferred_grow_zone", never_moves_on),
        ("deferred_grow_zone", forgets_what_is_behind_a_hole),
        ("deferred_grow_zone", lambda self, zone, count: SOUND["deferred_grow_zone"](self, zone, self.frames)),
        ("deferred_grow_zone", lambda self, zone, count: SOUND["deferred_grow_zone"](self, zone, 1)),
        ("rmqueue_deferred", gives_up_after_a_section),
        ("rmqueue_deferred", lambda self, lane, order: NO_MEMORY),
        ("first_deferred", lambda self, zone: self.zone_end[zone]),
        ("next_known", lambda self, pfn: self.zone_end[self.zone_at(pfn)]),
    ],
    ids=["never_moves_on", "forgets_what_is_behind_a_hole", "grows_by_all", "grows_by_one_section",
         "gives_up_after_a_section", "never_grows", "deferred_as_reserved", "reserved_as_deferred"],
)  # fmt: skip
def test_broken_deferral_is_caught(broken, name, method):
    broken(Buddy, name, method)
    with pytest.raises((ModelError, CorruptionError)):
        run(start="deferred", section_order=2, examples=100)


def test_a_merge_at_the_wrong_end_is_seen_beside_another(broken):
    """Order alone: the free blocks are right, and so only a second allocator can tell."""
    from structpage.core.placements.side_table import SideTable

    class Backwards(SideTable):
        def push_back(self, lst, pfn):
            self.push_front(lst, pfn)

    run(Backwards, examples=10)
    with pytest.raises(ModelError, match=r"^answers of side-table, Backwards must be alike, not "):
        run(["side-table", Backwards], examples=100)
