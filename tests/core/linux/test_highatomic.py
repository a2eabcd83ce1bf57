"""The high-atomic reserve: when it grows, who may use it, and how it is given back. Pageblocks of 8 frames."""

from __future__ import annotations

import pytest
from machine_helpers import free_lists, small

from structpage import OutOfMemory
from structpage.core.words import HIGHATOMIC, MOVABLE, UNMOVABLE

ATOMIC, KERNEL, USER = "GFP_ATOMIC", "GFP_KERNEL", "GFP_HIGHUSER_MOVABLE"


def pressed(frames=64, **options):
    """A machine below its low mark, so that requests are served at the min mark, with what their flags open."""
    machine = small(frames, batch=1, high=1, **options)
    machine.set_zone("Normal", low=frames, high=frames)
    return machine


def types(machine):
    return machine.pageblock_types.tolist()


def reserved(machine):
    return int(machine.zone_table["highatomic"][0])


def test_a_request_that_cannot_wait_reserves_its_pageblock():
    machine = pressed()
    pfn = machine.alloc_pages(1, ATOMIC)
    assert (pfn, reserved(machine)) == (0, 8)
    assert types(machine) == [HIGHATOMIC, UNMOVABLE, UNMOVABLE, UNMOVABLE] + [MOVABLE] * 4
    assert free_lists(machine) == {
        (1, HIGHATOMIC): [2], (2, HIGHATOMIC): [4], (3, UNMOVABLE): [8], (4, UNMOVABLE): [16], (5, MOVABLE): [32],
    }  # fmt: skip
    machine.check()


@pytest.mark.parametrize(
    ("order", "gfp"), [(0, ATOMIC), (1, KERNEL), (1, "GFP_NOWAIT"), (1, ATOMIC + "|__GFP_NOMEMALLOC")]
)
def test_others_reserve_nothing(order, gfp):
    machine = pressed()
    machine.alloc_pages(order, gfp)
    assert reserved(machine) == 0
    assert HIGHATOMIC not in types(machine)


def test_nothing_is_reserved_while_there_is_plenty():
    machine = small()
    machine.alloc_pages(1, ATOMIC)
    assert reserved(machine) == 0


def test_the_reserve_is_used_before_all_else_by_requests_that_pass_the_lists_of_the_cpu():
    machine = pressed(128, max_order=6, pageblock_order=5)
    assert [machine.alloc_pages(4, ATOMIC) for _ in range(2)] == [0, 16]
    assert reserved(machine) == 32
    assert free_lists(machine) == {(5, UNMOVABLE): [32], (6, MOVABLE): [64]}


def test_it_grows_to_a_percent_and_a_pageblock_as_long_as_less_is_reserved():
    machine = pressed(64)  # 1 % is nothing, and a pageblock is the limit
    for _ in range(8):
        machine.alloc_pages(1, ATOMIC)
    assert reserved(machine) == 8
    machine = pressed(256)  # 2 frames and a pageblock
    for _ in range(40):
        machine.alloc_pages(1, ATOMIC)
    assert reserved(machine) == 16
    machine.check()


def test_single_frames_of_those_who_cannot_wait_come_from_it_last():
    machine = pressed(16, max_order=3)
    machine.alloc_pages(1, ATOMIC)
    assert [machine.alloc_pages(0, KERNEL) for _ in range(6)] == list(range(8, 14))
    with pytest.raises(OutOfMemory):
        machine.alloc_pages(0, KERNEL)  # eight frames are not for it, though two of them are in use
    assert [machine.alloc_pages(0, gfp) for gfp in (ATOMIC, "GFP_NOWAIT", ATOMIC, "GFP_NOWAIT")] == [14, 15, 2, 3]


def test_it_is_given_to_the_type_of_the_request_but_one_pageblock_stays():
    machine = pressed(256)
    blocks = [machine.alloc_pages(3, ATOMIC) for _ in range(2)]
    assert (reserved(machine), machine.unreserve_highatomic(KERNEL)) == (16, 0)  # all of it is in use
    machine.free_pages(blocks[0])
    machine.drain()
    assert machine.unreserve_highatomic(KERNEL) == 8
    assert (reserved(machine), types(machine)[0]) == (8, UNMOVABLE)
    machine.free_pages(blocks[1])
    machine.drain()
    assert machine.unreserve_highatomic(USER) == 0
    assert machine.unreserve_highatomic(USER, force=True) == 8
    assert (reserved(machine), types(machine)[1]) == (0, MOVABLE)
    machine.check()


def test_frames_of_the_reserve_wait_among_the_movable_ones_and_go_back_to_it():
    machine = pressed()
    pfn = machine.alloc_pages(1, ATOMIC)
    machine.set_zone("Normal", pcp_high=50)
    machine.free_pages(pfn)
    assert machine.percpu_lists(0)[3 + MOVABLE] == [pfn]
    machine.drain()
    assert free_lists(machine)[3, HIGHATOMIC] == [0]
    machine.check()
