"""Memory that is wanted by its address: what is given, withheld and refused, and that all of it comes back."""

from __future__ import annotations

import pytest

from structpage import InvalidArgument, InvalidFree, Machine, OutOfMemory, OutOfRange, Zone
from structpage.core.words import CMA, ISOLATE, MOVABLE
from structpage.machine.placed import Cma

BLOCK = 1 << 4
MOVABLE_USER = "GFP_HIGHUSER_MOVABLE"


def machine(**options):
    return Machine(16 * BLOCK, zones=[Zone("Normal", 0, 16 * BLOCK)], max_order=5, pageblock_order=4, cpus=2, **options)


def until_none(machine, gfp):
    """Allocate single frames as long as there are any."""
    taken = []
    with pytest.raises(OutOfMemory):  # noqa: PT012
        while True:
            taken.append(machine.alloc_pages(0, gfp))
    return taken


def free_pages(machine):
    return int(machine.zone_table["free"].sum())


def test_an_isolated_pageblock_is_not_handed_out():
    m = machine()
    m.isolate(2 * BLOCK, 2 * BLOCK)
    m.check()
    isolated = set(range(2 * BLOCK, 4 * BLOCK))
    assert not isolated & set(until_none(m, MOVABLE_USER))
    m.unisolate(2 * BLOCK, 2 * BLOCK)
    m.check()
    assert isolated & set(until_none(m, MOVABLE_USER))


def test_frames_freed_while_their_pageblock_is_isolated_stay_there():
    m = machine()
    pfn = m.alloc_pages(0, MOVABLE_USER)
    start = pfn // BLOCK * BLOCK
    m.isolate(start, BLOCK)
    before = free_pages(m)
    m.free_pages(pfn)
    m.drain()
    assert m.pageblock_types[start // BLOCK] == ISOLATE
    assert free_pages(m) - before < BLOCK
    m.unisolate(start, BLOCK)
    m.check()
    assert m.pageblock_types[start // BLOCK] == MOVABLE
    m.fold()
    assert free_pages(m) == 16 * BLOCK


def test_isolation_is_refused_for_what_cannot_be_moved():
    m = machine()
    pfn = m.alloc_pages(0, "GFP_KERNEL")
    with pytest.raises(OutOfMemory, match=f"PFN {pfn} unmovable"):
        m.isolate(pfn, 1)
    m.check()
    m.isolate(8 * BLOCK, BLOCK)
    with pytest.raises(OutOfMemory, match="a pageblock of type Isolate"):
        m.isolate(8 * BLOCK, BLOCK)
    m.check()


def test_a_contiguous_range_is_taken_and_comes_back():
    m = machine()
    m.alloc_contig(2 * BLOCK + 3, BLOCK + 7, owner="driver")
    m.check()
    assert all(m.pages[pfn].state == "allocated" for pfn in range(2 * BLOCK + 3, 3 * BLOCK + 10))
    assert ISOLATE not in m.pageblock_types
    m.free_contig(2 * BLOCK + 3, BLOCK + 7)
    m.drain()
    m.fold()
    m.check()
    assert free_pages(m) == 16 * BLOCK


def test_a_range_with_a_frame_in_use_names_it_and_leaves_all_as_it_was():
    m = machine()
    pfn = m.alloc_pages(0, MOVABLE_USER)
    m.drain()
    counts = m.free_counts.tolist()
    with pytest.raises(OutOfMemory, match=f"PFN {pfn} in use"):
        m.alloc_contig(pfn // BLOCK * BLOCK, BLOCK)
    m.check()
    assert sum(count << order for order, count in enumerate(m.free_counts.tolist())) == sum(
        count << order for order, count in enumerate(counts)
    )
    with pytest.raises(InvalidFree):
        m.free_contig(pfn, 2)
    assert m.pages[pfn].state == "allocated"


def reserved():
    m = machine(cma=True, start="reserved")
    m.release(0, 8 * BLOCK)
    return m, m.add_cma(8 * BLOCK, 4 * BLOCK, order_per_bit=1)


def test_only_movable_requests_use_a_cma_area():
    m, area = reserved()
    assert m.pageblock_types.tolist()[8:12] == [CMA] * 4
    assert max(until_none(m, "GFP_KERNEL")) < 8 * BLOCK
    assert m.alloc_pages(0, MOVABLE_USER) >= 8 * BLOCK
    m.check()
    assert isinstance(area, Cma)


def test_a_cma_area_gives_runs_in_granules():
    m, area = reserved()
    first = area.alloc(3, owner="camera")
    second = area.alloc(BLOCK, align=4)
    assert first == 8 * BLOCK
    assert second == 9 * BLOCK
    assert area.bitmap.sum() == 2 + BLOCK // 2
    m.check()
    with pytest.raises(OutOfMemory):
        area.alloc(4 * BLOCK)
    area.release(first, 3)
    area.release(second, BLOCK)
    assert not area.bitmap.any()
    with pytest.raises(InvalidFree):
        area.release(8 * BLOCK - 1, 1)
    m.check()


@pytest.mark.parametrize(("base", "frames"), [(8 * BLOCK + 1, BLOCK), (8 * BLOCK, BLOCK - 1)])
def test_a_cma_area_is_whole_pageblocks(base, frames):
    m = machine(cma=True, start="reserved")
    with pytest.raises(InvalidArgument, match="whole pageblocks"):
        m.add_cma(base, frames)


def test_a_cma_area_is_of_reserved_frames_and_needs_the_option():
    with pytest.raises(InvalidFree):
        machine(cma=True).add_cma(0, BLOCK)
    with pytest.raises(InvalidArgument, match="cma=True"):
        machine(start="reserved").add_cma(0, BLOCK)


def test_a_poisoned_frame_is_gone_until_it_is_given_back():
    m = machine()
    m.poison(37)
    m.check()
    assert free_pages(m) == 16 * BLOCK - 1
    with pytest.raises(OutOfMemory):
        m.poison(37)
    m.unpoison(37)
    with pytest.raises(InvalidFree):
        m.unpoison(37)
    m.check()
    assert m.free_counts[5] == 8


@pytest.mark.parametrize("call", ["isolate", "alloc_contig", "free_contig", "unisolate"])
def test_a_range_beyond_the_memory(call):
    m = machine()
    with pytest.raises(OutOfRange):
        getattr(m, call)(15 * BLOCK, 2 * BLOCK)
    m.check()
