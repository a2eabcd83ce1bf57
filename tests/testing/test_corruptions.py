"""Every kind of corruption, on every placement, at many places: `check()` names it, and where it is."""

from __future__ import annotations

from random import Random

import pytest
from helpers import PLACEMENTS, says
from strangers import Plain

from structpage.errors import CorruptionError, InvalidArgument, UnknownName
from structpage.testing import KINDS, corrupt, kinds_for, zone_from_picture

PICTURE = "##..2 ...2..#.....2    4................"
TWO_WORDS_ONLY = {"wrong-zone", "wrong-type", "wrong-head"}
LINKS = {"cycle", "one-way-link", "on-two-lists", "link-to-allocated", "link-outside"}
WITHOUT_LINKS = dict.fromkeys(("bitmap", "array-index", "slab-nodes", "radix-tree"), LINKS)
IMPOSSIBLE = {"one-word": TWO_WORDS_ONLY, "singly-linked": {"one-way-link"}, **WITHOUT_LINKS}
"""By placement, the kinds that there is nothing to break for: no such word, or no links that a node could be put in."""
OF_A_LIST = {"cycle", "one-way-link", "on-two-lists", "link-to-allocated", "link-outside", "lost-block", "count",
             "unmerged-buddies", "stale-order", "wrong-zone", "wrong-type"}  # fmt: skip


def drawn(placement, **options):
    buddy = zone_from_picture(PICTURE, placement, max_order=5, **options)
    buddy.check()
    return buddy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_check_names_it(placement, kind):
    if kind in IMPOSSIBLE.get(placement, ()):
        assert kind not in kinds_for(drawn(placement))
        return
    for seed in range(20):
        buddy = drawn(placement)
        broken = corrupt(buddy, kind, Random(seed))
        with pytest.raises(CorruptionError) as caught:
            buddy.check()
        error = caught.value
        assert (broken.kind, error.field) == (kind, broken.field)
        assert error.expected is not None
        assert error.expected != error.found
        assert error.pfn in broken.pfns if broken.pfns else error.pfn is None
        if kind in OF_A_LIST:
            assert error.zone == "Normal of node 0"
            assert error.list.startswith("order ")
        assert str(error).endswith(f"{error.field} must be {error.expected}, not {error.found}")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_corruption_says_what_it_did(placement):
    buddy = drawn(placement)
    broken = corrupt(buddy, "count", Random(1))
    assert broken == ("count", "nr_free", ())
    (order,) = [order for order in range(6) if len(buddy.free_list(order)) != buddy.free_counts[order]]
    counted = len(buddy.free_list(order))
    message = f"zone Normal of node 0, list order {order}, nr_free must be {counted}, not {counted + 1}"
    with pytest.raises(CorruptionError, match=says(message)):
        buddy.check()


def test_kinds_depend_on_what_there_is():
    assert kinds_for(drawn("side-table")) == KINDS
    assert kinds_for(zone_from_picture("##")) == ("bad-tag",)
    assert set(KINDS) - set(kinds_for(drawn("side-table", stamp="head"))) == {"wrong-head", "wrong-owner"}
    assert set(KINDS) - set(kinds_for(drawn(Plain))) == LINKS


def test_what_there_is_no_place_for_is_refused():
    message = "kind must be one of bad-tag in this state, not 'count'"
    with pytest.raises(InvalidArgument, match=says(message)):
        corrupt(zone_from_picture("##"), "count", Random(1))
    with pytest.raises(UnknownName, match=says(f"kind must be one of {', '.join(KINDS)}, not 'rust'")):
        corrupt(zone_from_picture("##"), "rust", Random(1))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"lost-block"}))
def test_lost_memory_is_all_that_an_allocation_may_not_notice(kind):
    """However the state is broken, calls end: in an answer or an error, never in a loop or an index error."""
    buddy = drawn("side-table")
    corrupt(buddy, kind, Random(7))
    outcomes = set()
    for order in (0, 1, 2, 3, 4, 5) * 8:
        try:
            outcomes.add(type(buddy.alloc(order)))
        except (CorruptionError, MemoryError) as error:
            outcomes.add(type(error))
    assert outcomes
