"""Ways to break the state of an allocator, each of which `check()` must name.

`corrupt` makes one small change, of the kind that a stray write or a forgotten store makes, and says what
should be reported. Where it is made is drawn from `rng` among all places where it can be. Links are written
through the placement's own `set_link(node, which, value)`, or `set_next` and `set_prev`, or the table of
`side-table`; a placement that has none of these can have its words and counts broken, but not its links. One without
`prev` has no links back.

===================  ============================================================  ===============
kind                 what is done                                                  field reported
===================  ============================================================  ===============
`cycle`              the last block of a list is followed by the first             list membership
`one-way-link`       a block's link back names the block itself                    prev
`on-two-lists`       a list of another type has a block that is already listed     list membership
`link-to-allocated`  a free block is followed by an allocated one                  state
`link-outside`       a free block is followed by neither a frame nor a list head   next
`lost-block`         a free block is on no list                                    list membership
`count`              the number of free blocks of an order is one too high         nr_free
`head-inside-block`  a frame inside a free block is a listed free block itself     state
`unmerged-buddies`   both halves of a free block are listed, and the block is not  buddy
`stale-order`        a free head says another order than its list's                order
`wrong-zone`         a free head says another zone than its list's (two words)     zone
`wrong-type`         a free head says another type than its list's (two words)     migratetype
`bad-tag`            a frame's tag is one that is not used                         tag
`wrong-head`         a tail names another head than its own (two words)            head
`wrong-owner`        a tail names another owner than its head                      owner
`stray-tail`         a reserved frame is a tail of nobody                          state
===================  ============================================================  ===============
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from structpage.allocator import BuddyAllocator
from structpage.arguments import named
from structpage.core.words import DEFAULT_TYPE, ISOLATE, LANE_SHIFT, TAGS
from structpage.errors import InvalidArgument, must
from structpage.testing.surgery import NEXT, PREV, State

UNUSED_TAG = 12


class Corruption(NamedTuple):
    """What was broken: the field that `check()` must name, and the PFNs of which it may name one, if any."""

    kind: str
    field: str
    pfns: tuple[int, ...]


class _Kind(NamedTuple):
    field: str
    places: Callable[[State], list[Any]]
    apply: Callable[[State, Any], tuple[int, ...]]


def _cycle(state: State, lst: int) -> tuple[int, ...]:
    pfns = state.by_list[lst]
    state.set_link(pfns[-1], NEXT, pfns[0])
    return (pfns[0],)


def _one_way(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    state.set_link(place[1], PREV, place[1])
    return (place[1],)


def _on_two_lists(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    lst, pfn = place
    other = lst + (ISOLATE - DEFAULT_TYPE) * state.core.orders
    state.set_link(state.head(other), NEXT, pfn)
    state.set_link(state.head(other), PREV, pfn)
    return (pfn,)


def _to_allocated(state: State, place: tuple[tuple[int, int], int]) -> tuple[int, ...]:
    (_, pfn), allocated = place
    state.set_link(pfn, NEXT, allocated)
    return (allocated,)


def _outside(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    lists = (state.core.zones << LANE_SHIFT) * state.core.orders
    state.set_link(place[1], NEXT, state.head(lists) + 3)
    return (place[1],)


def _lost(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    lst, pfn = place
    state.lists.remove(pfn)
    state.count(lst, -1)
    return (pfn,)


def _miscount(state: State, lst: int) -> tuple[int, ...]:
    state.count(lst, 1)
    return ()


def _head_inside(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    lst, pfn = place
    inner = pfn + (1 << lst % state.core.orders) - 1
    state.insert(lst - lst % state.core.orders, inner)
    return (inner,)


def _unmerged(state: State, place: tuple[int, int]) -> tuple[int, ...]:
    lst, pfn = place
    state.lists.remove(pfn)
    state.count(lst, -1)
    half = pfn + (1 << lst % state.core.orders - 1)
    state.insert(lst - 1, pfn)
    state.insert(lst - 1, half)
    return (pfn, half)


def _in_head(name: str, change: Callable[[int], int]) -> Callable[[State, tuple[int, int]], tuple[int, ...]]:
    def apply(state: State, place: tuple[int, int]) -> tuple[int, ...]:
        pfn = place[1]
        field = state.pages.layout.field(name, "free")
        state.set_field(pfn, name, "free", change(field.get(int(state.pages.allocator[pfn]))))
        return (pfn,)

    return apply


def _bad_tag(state: State, pfn: int) -> tuple[int, ...]:
    state.set_field(pfn, "tag", "free", UNUSED_TAG)
    return (pfn,)


def _in_tail(name: str) -> Callable[[State, int], tuple[int, ...]]:
    def apply(state: State, pfn: int) -> tuple[int, ...]:
        field = state.pages.layout.field(name, "tail")
        word = int(state.pages.words[pfn * state.pages.layout.words + field.word])
        state.set_field(pfn, name, "tail", field.get(word) ^ 1)
        return (pfn,)

    return apply


def _stray(state: State, pfn: int) -> tuple[int, ...]:
    state.set_field(pfn, "tag", "tail", TAGS["tail"])
    return (pfn,)


def _to_each_allocated(state: State) -> list[Any]:
    return state.links([(place, pfn) for place in state.free for pfn in state.in_state("allocated")])


def _tails_with_two_words(state: State) -> list[Any]:
    return state.in_state("tail") if state.two_words else []


def _free_with_two_words(state: State) -> list[Any]:
    return state.free if state.two_words else []


_KINDS = {
    "cycle": _Kind("list membership", lambda state: state.links(list(state.by_list)), _cycle),
    "one-way-link": _Kind("prev", lambda state: state.free if state.writes_links_back else [], _one_way),
    "on-two-lists": _Kind("list membership", lambda state: state.links(state.free), _on_two_lists),
    "link-to-allocated": _Kind("state", _to_each_allocated, _to_allocated),
    "link-outside": _Kind("next", lambda state: state.links(state.free), _outside),
    "lost-block": _Kind("list membership", lambda state: state.free, _lost),
    "count": _Kind("nr_free", lambda state: list(state.by_list), _miscount),
    "head-inside-block": _Kind("state", State.wide, _head_inside),
    "unmerged-buddies": _Kind("buddy", State.wide, _unmerged),
    "stale-order": _Kind("order", lambda state: state.free, _in_head("order", lambda order: order ^ 1)),
    "wrong-zone": _Kind("zone", _free_with_two_words, _in_head("zid", lambda zid: zid ^ 1)),
    "wrong-type": _Kind(
        "migratetype",
        _free_with_two_words,
        _in_head("migratetype", lambda mt: mt ^ 1),
    ),
    "bad-tag": _Kind("tag", lambda state: state.in_state("reserved") + state.in_state("allocated"), _bad_tag),
    "wrong-head": _Kind("head", _tails_with_two_words, _in_tail("head")),
    "wrong-owner": _Kind("owner", lambda state: state.in_state("tail"), _in_tail("owner")),
    "stray-tail": _Kind("state", lambda state: state.in_state("reserved"), _stray),
}

KINDS = tuple(_KINDS)
"""The names of all kinds of corruption."""


def kinds_for(buddy: BuddyAllocator) -> tuple[str, ...]:
    """Return the kinds that the state, the layout and the placement of this allocator leave room for."""
    state = State(buddy)
    return tuple(kind for kind in KINDS if _KINDS[kind].places(state))


def corrupt(buddy: BuddyAllocator, kind: str, rng: Random) -> Corruption:
    """Break a sound allocator in one way of `KINDS`, at a place drawn from `rng`; return what must be reported.

    Raises `UnknownName` for a kind, `InvalidArgument` when this state has no place for it.
    """
    named("kind", kind, KINDS)
    state = State(buddy)
    places = _KINDS[kind].places(state)
    if not places:
        raise InvalidArgument(must("kind", f"one of {', '.join(kinds_for(buddy))} in this state", repr(kind)))
    pfns = _KINDS[kind].apply(state, rng.choice(places))
    return Corruption(kind, _KINDS[kind].field, pfns)
