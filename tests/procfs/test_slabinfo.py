"""/proc/slabinfo: the columns of real lines, and the kernel's for the caches of an allocator."""

from __future__ import annotations

import pytest
from helpers import says
from procfs_text import sample

from structpage import BuddyAllocator, SlabCache
from structpage.errors import TraceError
from structpage.procfs import SlabInfo, format_slabinfo, parse_slabinfo
from structpage.slab.proc import slabinfo

LINE = "kmalloc-256         3456   3584    256   32    2 : tunables    0    0    0 : slabdata    112    112      0\n"


def titled(*lines):
    return "".join(sample("slabinfo").splitlines(keepends=True)[:2]) + "".join(lines)


def test_the_columns_of_a_line():
    (cache,) = parse_slabinfo(titled(LINE))
    assert cache == SlabInfo("kmalloc-256", 3456, 3584, 256, 32, 2, 112, 112)
    assert format_slabinfo([cache]) == titled(LINE)


def test_what_slab_fills_in_and_slub_does_not():
    """SLAB has tunables, and tells slabs in use from empty ones."""
    line = LINE.replace("tunables    0    0    0", "tunables  120   60    8").replace("112      0", "114      7")
    (cache,) = parse_slabinfo(titled(line))
    assert (cache.limit, cache.batchcount, cache.sharedfactor, cache.sharedavail) == (120, 60, 8, 7)
    assert (cache.active_slabs, cache.num_slabs) == (112, 114)
    assert format_slabinfo([cache]) == titled(line)


def test_a_long_name_moves_the_line():
    text = titled("request_sock_subflow_v6" + LINE[17:])
    assert parse_slabinfo(text)[0].name == "request_sock_subflow_v6"
    assert format_slabinfo(parse_slabinfo(text)) == text


def test_titles_alone_are_refused():
    with pytest.raises(TraceError, match=says("line 3 must be the line of a cache, not the end of the text")):
        parse_slabinfo(titled())


def test_caches_of_an_allocator_newest_first():
    buddy = BuddyAllocator(64)
    assert slabinfo(buddy) == format_slabinfo([])
    dentry, filp = SlabCache(buddy, "dentry", 192), SlabCache(buddy, "filp", 256)
    for _ in range(22):
        dentry.alloc()
    assert parse_slabinfo(slabinfo(buddy)) == (
        SlabInfo("filp", 0, 0, 256, 16, 1, 0, 0),
        SlabInfo("dentry", 42, 42, 192, 21, 1, 2, 2),
    )
    assert len(filp) == 0


def test_free_objects_count_only_on_a_node_s_list():
    buddy = BuddyAllocator(64)
    dentry = SlabCache(buddy, "dentry", 192)
    objects = [dentry.alloc() for _ in range(21)]
    for address in objects[:5]:
        dentry.free(address)
    assert parse_slabinfo(slabinfo(buddy))[0].active_objs == 21
    dentry.flush()
    assert parse_slabinfo(slabinfo(buddy))[0].active_objs == 16
