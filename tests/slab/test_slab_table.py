"""The caches as rows: what slabinfo counts."""

from __future__ import annotations

from structpage import BuddyAllocator, SlabCache, geometry, slab_table


def test_without_caches_there_are_no_rows():
    table = slab_table(BuddyAllocator(16))
    assert len(table) == 0
    assert table.dtype.names[0] == "name"


def test_what_is_free_on_a_cpu_counts_as_active():
    buddy = BuddyAllocator(64)
    cache = SlabCache(buddy, "first", geometry(1024, slab_max_order=0))
    SlabCache(buddy, "second", 8)
    held = [cache.alloc() for _ in range(5)]
    cache.free(held[0])
    cache.free(held[1])

    def row():
        return slab_table(buddy)[["name", "active_objs", "num_objs", "in_use", "num_slabs"]][1].tolist()

    assert slab_table(buddy)["name"].tolist() == ["second", "first"]
    assert row() == ("first", 8, 8, 3, 2)
    cache.flush()
    assert row() == ("first", 3, 8, 3, 2)
    for address in held[2:]:
        cache.free(address)
    cache.shrink()
    assert row() == ("first", 0, 0, 0, 0)
    assert slab_table(buddy)[["made", "discarded", "objsize", "objperslab", "pagesperslab"]][1].tolist() == (
        (2, 2, 1024, 4, 1)
    )
