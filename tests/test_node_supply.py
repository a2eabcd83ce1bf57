"""Nodes from the allocator's own memory: the cycle is told, and each rule does what it says and no more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structpage import (
    BootstrapError,
    CorruptionError,
    InvalidArgument,
    InvalidObject,
    Kmalloc,
    Machine,
    Memblock,
    OutOfMemory,
)
from structpage.core.placements.nodes import SPARE
from structpage.experiments.bootstrap import ANY_FRAME, fill_and_empty, highmem_wall, reserve_to_empty, smallest_reserve
from structpage.machine.asked import GFP_KERNEL
from structpage.machine.supply import CACHE, RULES
from structpage.placing import declared, placement_class, placement_names
from structpage.slab import ALLOC, run_requests

NODED = [name for name in placement_names() if declared(placement_class(name)).node_bytes]
RESERVE = 64


def test_there_are_such_placements():
    assert NODED == ["slab-nodes", "radix-tree"]
    for name in NODED:
        assert not declared(placement_class(name)).frees_without_allocating


@pytest.mark.parametrize("placement", NODED)
def test_without_a_reserve_the_cycle_is_told_step_by_step(placement):
    with pytest.raises(BootstrapError) as stuck:
        Machine.boot("16M", placement)
    first, have, lists, wait = stuck.value.steps
    size = declared(placement_class(placement)).node_bytes
    assert stuck.value.placement == placement
    assert "free of PFN" in first
    assert f" of {size} bytes" in first
    assert have.startswith("of 0 nodes 0 are spare")
    assert CACHE in have
    assert "page allocator lists 0 blocks" in lists
    assert CACHE in wait
    for number, step in enumerate(stuck.value.steps, 1):
        assert f"\n  {number}. {step}" in str(stuck.value)


@pytest.mark.parametrize("placement", NODED)
def test_the_smallest_reserve_boots_and_one_node_less_does_not(placement):
    def boots(reserve):
        try:
            machine = Machine.boot("64M", placement, reserve=reserve)
        except BootstrapError:
            return False
        machine.check()
        return True

    reserve = smallest_reserve(boots)
    assert 0 < reserve < 100
    assert not boots(reserve - 1)
    machine = Machine.boot("64M", placement, reserve=reserve)
    frames = [machine.alloc_pages() for _ in range(500)]
    for pfn in frames:
        machine.free_pages(pfn)
    machine.check()


@pytest.mark.parametrize("placement", NODED)
def test_a_page_that_is_freed_needs_no_reserve(placement):
    machine = Machine.boot("16M", placement, nodes="freed-page")
    made = machine.supply.pages_made_nodes
    assert made
    free = {pfn for zone in machine.zones for order in range(11) for pfn in machine.free_list(order, zone=zone.name)}
    assert not free & set(made)
    for pfn in made:
        assert machine.pages.state(pfn) == "reserved"


def test_when_a_reserve_of_n_nodes_runs_dry():
    for reserve in (100, 250):
        run = fill_and_empty("slab-nodes", memory="8M", nodes="reserve", reserve=reserve)
        assert run.freed == reserve  # no two neighbours are freed, so each free takes a node
        assert run.least == 0
        assert isinstance(run.error, BootstrapError)
        assert "stuck" in str(run)
        assert not run.holds


def test_no_reserve_is_overdrawn():
    """Whatever the number of nodes, a memory is emptied or refused: no block is ever lost for want of one."""
    for reserve in range(34, 60):
        run = fill_and_empty("radix-tree", memory="12M", nodes="reserve", reserve=reserve)
        assert run.holds or run.error


@pytest.mark.parametrize("placement", NODED)
def test_an_allocation_begins_with_the_nodes_it_may_need(placement):
    machine = Machine.boot("8M", placement, reserve=RESERVE)
    supply = machine.supply
    for _ in range(300):
        supply.before_alloc(GFP_KERNEL)
        assert supply.spare >= supply.to_allocate + supply.nodes_kept
        machine.alloc_pages(0)


@pytest.mark.parametrize("placement", NODED)
def test_pages_made_nodes_are_nobodys(placement):
    """The first frame of all too, of which place 0 is no node."""
    memblock = Memblock()
    memblock.add(0, 32 << 20, 0)
    machine = Machine.boot(memblock, placement, nodes="freed-page")
    made = machine.supply.pages_made_nodes
    assert made[0] == 0
    cache = next(iter(machine.slabs.caches.values()), None) if machine.slabs else None
    from_slab = len(cache.live) if cache else 0
    assert machine.supply.total == len(made) * (4096 // machine.supply.node_bytes) - 1 + from_slab
    at_boot, frames = len(made), []
    while True:
        try:
            frames.append(machine.alloc_pages(0, ANY_FRAME))
        except OutOfMemory:
            break
    for pfn in sorted(frames)[::2]:
        machine.free_pages(pfn)
    assert len(made) > at_boot
    assert {machine.pages.state(pfn) for pfn in made} == {"reserved"}
    machine.check()


def test_in_order_frees_merge_and_need_fewer():
    apart, ascending = (reserve_to_empty("slab-nodes", memory="6M", order=order) for order in ("apart", "ascending"))
    assert ascending < apart / 4
    run = fill_and_empty("slab-nodes", memory="6M", nodes="reserve", reserve=apart)
    assert run.holds
    assert not fill_and_empty("slab-nodes", memory="6M", nodes="reserve", reserve=apart - 1).holds


@pytest.mark.parametrize("placement", NODED)
def test_never_allocate_while_freeing(placement):
    """By that rule every frame that was given out can be freed, in any order, and no free makes a node."""
    machine = Machine.boot("8M", placement, reserve=RESERVE)
    frames = []
    while True:
        try:
            frames.append(machine.alloc_pages(0, ANY_FRAME))
        except OutOfMemory:
            break
    nodes = machine.supply.total
    for pfn in sorted(frames)[::2] + sorted(frames)[1::2]:
        machine.free_pages(pfn)
    assert machine.supply.total == nodes
    assert machine.supply.promised == 0
    machine.check()


def test_allocating_while_freeing_gets_stuck():
    run = fill_and_empty("slab-nodes", nodes="while-freeing", reserve=RESERVE)
    assert 0 < run.freed < run.allocated
    assert any("slab cache" in step for step in run.error.steps)


def test_the_highmem_wall():
    wall = highmem_wall(lowmem="6M", memory="64M")
    assert not wall.holds
    assert "HighMem, which has no address" in wall.error.steps[0]
    assert "in Normal" in wall.error.steps[2]
    assert highmem_wall(lowmem="6M", memory="16M", highmem=False).holds


@settings(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "reserve"])
@pytest.mark.parametrize("placement", NODED)
def test_any_calls_leave_lists_and_nodes_whole(placement, rule, data):
    machine = Machine.boot("6M", placement, nodes=rule, reserve=RESERVE)
    supply, held = machine.supply, []
    for _ in range(data.draw(st.integers(1, 60))):
        if held and data.draw(st.booleans()):
            machine.free_pages(held.pop(data.draw(st.integers(0, len(held) - 1))))
        else:
            try:
                held.append(machine.alloc_pages(data.draw(st.sampled_from([0, 0, 0, 1, 3, 4, 6]))))
            except OutOfMemory:
                continue
        assert supply.spare >= 0
    machine.check()
    if placement == "slab-nodes":
        listed = int(machine.free_counts.sum()) + sum(
            len(pfns)
            for zone in machine.zones
            for cpu in range(machine.cpus)
            for pfns in machine.percpu_lists(cpu, zone=zone.name)
        )
        assert supply.total - supply.spare == listed
    assert supply.nodes.state[6] == 0  # never dry


def test_nodes_are_nobody_elses_objects():
    machine = Machine.boot("64M", NODED[0], nodes="while-freeing", reserve=RESERVE)
    for pfn in [machine.alloc_pages() for _ in range(500)]:
        machine.free_pages(pfn)
    cache = next(cache for cache in machine.slabs.caches.values() if cache.name == CACHE)
    address, objects = cache.objects[0], cache.objects
    told = f"objects of cache {CACHE} must be left to the machine's supply of nodes, not "
    for call, what in ((cache.alloc, "allocated"), (cache.destroy, "destroyed with them")):
        with pytest.raises(InvalidArgument, match=f"^{told}{what}$"):
            call()
    with pytest.raises(InvalidArgument, match=f"^{told}asked for$"):
        run_requests([cache], [ALLOC], [0], [0])
    for free in (cache.free, Kmalloc(machine).free):
        with pytest.raises(InvalidObject, match=r"must be left to the machine's supply of nodes, not freed$"):
            free(address)
    assert cache.objects == objects
    machine.check()
    cache.take(GFP_KERNEL)
    rule = f"^objects in use of cache {CACHE} must be {len(objects)}, not {len(objects) + 1}$"
    with pytest.raises(CorruptionError, match=rule):
        machine.check()


def test_spare_nodes_are_counted():
    machine = Machine.boot("64M", NODED[0], reserve=RESERVE)
    supply = machine.supply
    supply.check()
    supply.nodes.state[SPARE] = supply.total + 1
    with pytest.raises(CorruptionError, match=f"^spare nodes must be between 0 and {supply.total}, not "):
        supply.check()
