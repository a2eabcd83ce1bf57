"""Which cache an event is of, by each rule in turn; and which allocation a free belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_text import PREFIX, read

from structpage.traces.slab_events import slab_events
from structpage.traces.slab_requests import sizes_of, slab_requests

BASE = 0xFFFF888000000000


def kmalloc(ptr, size, gfp="GFP_KERNEL", asked=None):
    return f"kmalloc: call_site=k+0x1/0x2 ptr={ptr:016x} bytes_req={asked or size} bytes_alloc={size} gfp_flags={gfp}"


def cache_alloc(ptr, size, site="f", asked=None, name=""):
    told = f" name={name}" if name else ""
    sizes = f"bytes_req={asked or size} bytes_alloc={size}"
    return f"kmem_cache_alloc: call_site={site}+0x1/0x2 ptr={ptr:016x}{told} {sizes} gfp_flags=GFP_KERNEL"


def cache_free(ptr, name):
    return f"kmem_cache_free: call_site=g+0x1/0x2 ptr={ptr:016x} name={name}"


def kfree(ptr):
    return f"kfree: call_site=g+0x1/0x2 ptr={ptr:016x}"


def requests_of(*lines, known=None):
    return slab_requests(slab_events(read("".join(f"{PREFIX}{line}\n" for line in lines))), known)


def caches_of(*lines, known=None):
    requests = requests_of(*lines, known=known)
    return [requests.names[place] if place >= 0 else None for place in requests.cache.tolist()]


@pytest.mark.parametrize(
    ("size", "gfp", "name"),
    [
        (64, "GFP_KERNEL", "kmalloc-64"),
        (96, "GFP_KERNEL|__GFP_ACCOUNT", "kmalloc-cg-96"),
        (1024, "GFP_KERNEL|__GFP_RECLAIMABLE", "kmalloc-rcl-1k"),
        (8192, "GFP_KERNEL|GFP_DMA", "dma-kmalloc-8k"),
        (4096, "GFP_KERNEL|__GFP_RECLAIMABLE|__GFP_ACCOUNT", "kmalloc-rcl-4k"),
        (16384, "GFP_KERNEL", None),
    ],
)
def test_kmalloc_is_of_a_class_by_bytes_and_flags(size, gfp, name):
    assert caches_of(kmalloc(BASE, size, gfp), kfree(BASE)) == [name, name]


def test_a_kernel_without_the_class_has_it_from_the_normal_one():
    line = kmalloc(BASE, 64, "GFP_KERNEL|__GFP_ACCOUNT")
    assert caches_of(line, known={"kmalloc-64": (64, 64)}) == ["kmalloc-64"]
    assert caches_of(line, known={"kmalloc-64": (64, 64), "kmalloc-cg-64": (64, 64)}) == ["kmalloc-cg-64"]


def test_the_event_s_own_name_goes_first():
    assert caches_of(cache_alloc(BASE, 192, name="dentry"), cache_free(BASE, "other"))[0] == "dentry"


def test_the_free_of_the_object_names_it():
    assert caches_of(cache_alloc(BASE, 192), cache_free(BASE, "dentry")) == ["dentry", "dentry"]


def test_most_of_the_same_site_and_size():
    def pair(at, name):
        return [cache_alloc(BASE + at, 192), cache_free(BASE + at, name)]

    lines = [*pair(0, "dentry"), *pair(0, "dentry"), *pair(256, "cred_jar")]
    assert caches_of(*lines, cache_alloc(BASE + 4096, 192))[-1] == "dentry"
    assert caches_of(*lines, cache_alloc(BASE + 4096, 256))[-1] == ":0000256"
    assert caches_of(*lines, cache_alloc(BASE + 4096, 192, site="h"))[-1] == ":0000192"


def test_the_only_known_cache_of_the_size():
    known = {"pid": (110, 128), "kmalloc-128": (128, 128), "other": (128, 128)}
    assert caches_of(cache_alloc(BASE, 128, asked=110), known=known) == ["pid"]
    assert caches_of(cache_alloc(BASE, 128), known=known) == ["other"]
    assert caches_of(cache_alloc(BASE, 128), known=known | {"third": (128, 128)}) == [":0000128"]


def test_what_else_is_in_the_page():
    lines = [cache_alloc(BASE, 192, site="a"), cache_free(BASE, "dentry"), cache_alloc(BASE + 192, 192, site="b")]
    assert caches_of(*lines) == ["dentry"] * 3
    assert caches_of(*lines, kfree(BASE + 384), kfree(BASE + 4096)) == ["dentry"] * 4 + [None]


def test_frees_of_null_and_of_nobody_knows_what_are_counted():
    requests = requests_of(kfree(0), kfree(BASE), kfree(0), cache_free(BASE + 4096, "filp"))
    assert (requests.frees_of_null, requests.unknown) == (2, 1)
    assert requests.cache.tolist() == [-1, -1, -1, 0]


def test_an_object_given_twice_was_freed_untraced():
    requests = requests_of(kmalloc(BASE, 64), kmalloc(BASE, 64), kfree(BASE), kmalloc(BASE, 64))
    assert requests.reused.tolist() == [1]
    assert requests.own.tolist() == [-1, 2, 1, -1]
    assert repr(requests) == "<SlabRequests 4 of 1 caches, 1 frees not traced>"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_pairs_are_those_of_a_dict(steps):
    requests = requests_of(*(kmalloc(BASE + 64 * at, 64) if new else kfree(BASE + 64 * at) for new, at in steps))
    live, own, reused = {}, [-1] * len(steps), []
    for row, (new, at) in enumerate(steps):
        before = live.pop(at, None)
        if new:
            reused += [row] if before is not None else []
            live[at] = row
        elif before is not None:
            own[row], own[before] = before, row
    assert requests.own.tolist() == own
    assert requests.reused.tolist() == reused
    assert np.array_equal(requests.is_alloc, [new for new, _ in steps])


def test_sizes_are_those_of_the_allocations():
    requests = requests_of(
        cache_alloc(BASE, 256, asked=232, name="filp"),
        kmalloc(BASE + 4096, 64, asked=40),
        cache_free(BASE + 8192, "pid"),
    )
    assert dict(zip(requests.names, sizes_of(requests), strict=True)) == {
        "filp": (232, 256),
        "kmalloc-64": (64, 64),
        "pid": (0, 0),
    }
