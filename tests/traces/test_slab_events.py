"""Slab events: the field forms of several kernels, what they have in common, and what no slab event may be."""

from __future__ import annotations

import pytest
from helpers import says
from trace_text import FREE, PREFIX, capture_folder, read

from structpage.errors import TraceError
from structpage.traces import open_workload
from structpage.traces.slab_events import CACHE_ALLOC, CACHE_FREE, KFREE, KMALLOC, slab_events

SIZES = "bytes_req=100 bytes_alloc=128"
GFP = "gfp_flags=GFP_KERNEL|__GFP_ACCOUNT"
FORMS = {
    "6.1": (
        f"kmalloc: call_site=f+0x1/0x2 ptr=ffff888000001080 {SIZES} {GFP} node=-1 accounted=true",
        f"kmem_cache_alloc: call_site=f+0x1/0x2 ptr=ffff888000001100 {SIZES} {GFP} node=1 accounted=false",
        "kfree: call_site=f+0x1/0x2 ptr=ffff888000001080",
        "kmem_cache_free: call_site=f+0x1/0x2 ptr=ffff888000001100 name=filp",
    ),
    "7.3": (
        f"kmalloc: call_site=f+0x1/0x2 ptr=0xffff888000001080 {SIZES} {GFP} node=-1 accounted=true",
        f"kmem_cache_alloc: call_site=f+0x1/0x2 ptr=0xffff888000001100 name=filp {SIZES} {GFP} node=1 accounted=false",
        "kfree: call_site=f+0x1/0x2 ptr=0xffff888000001080",
        "kmem_cache_free: call_site=f+0x1/0x2 ptr=0xffff888000001100 name=filp",
    ),
    "4.19": (
        f"kmalloc: call_site=ffffffff81234567 ptr=ffff888000001080 {SIZES} {GFP}",
        f"kmem_cache_alloc_node: call_site=ffffffff81234568 ptr=ffff888000001100 {SIZES} {GFP} node=1",
        "kfree: call_site=ffffffff81234567 ptr=ffff888000001080",
        "kmem_cache_free: call_site=ffffffff81234568 ptr=ffff888000001100",
    ),
}


def events_of(*lines):
    return slab_events(read("".join(f"{PREFIX}{line}\n" for line in lines)))


def names_of(events, column):
    return [events.strings[code] if code >= 0 else None for code in events.rows[column].tolist()]


@pytest.mark.parametrize("kernel", FORMS)
def test_the_forms_of_kernels_say_the_same(kernel):
    rows = events_of(*FORMS[kernel]).rows
    assert rows["kind"].tolist() == [KMALLOC, CACHE_ALLOC, KFREE, CACHE_FREE]
    assert rows["ptr"].tolist() == [0xFFFF888000001080, 0xFFFF888000001100] * 2
    assert rows["bytes_req"].tolist() == [100, 100, -1, -1]
    assert rows["bytes_alloc"].tolist() == [128, 128, -1, -1]
    assert rows["gfp"].tolist() == [0x400CC0, 0x400CC0, 0, 0]
    assert rows["node"].tolist() == [-1, 1, -1, -1]
    assert rows["cpu"].tolist() == [0] * 4
    assert rows["pid"].tolist() == [122] * 4


def test_what_only_some_kernels_tell():
    old, usual, new = (events_of(*FORMS[kernel]) for kernel in ("4.19", "6.1", "7.3"))
    assert names_of(old, "name") == [None] * 4
    assert names_of(usual, "name") == [None, None, None, "filp"]
    assert names_of(new, "name") == [None, "filp", None, "filp"]
    assert names_of(usual, "call_site") == ["f+0x1/0x2"] * 4
    assert names_of(old, "call_site") == ["ffffffff81234567", "ffffffff81234568"] * 2
    assert old.rows["accounted"].tolist() == [-1] * 4
    assert usual.rows["accounted"].tolist() == [1, 0, -1, -1]


def test_events_are_in_the_order_of_the_trace():
    kinds = [FORMS["6.1"][place] for place in (3, 0, 2, 1, 0)]
    events = events_of(*kinds)
    assert events.rows["kind"].tolist() == [CACHE_FREE, KMALLOC, KFREE, CACHE_ALLOC, KMALLOC]
    assert events.rows["event"].tolist() == [0, 1, 2, 3, 4]
    assert repr(events) == "<SlabEvents 5: 2 kmalloc, 1 kmem_cache_alloc, 1 kfree, 1 kmem_cache_free>"


@pytest.mark.parametrize("null", ["0000000000000000", "(null)", "0x0"])
def test_a_free_of_null_is_an_event(null):
    assert events_of(f"kfree: call_site=f+0x1/0x2 ptr={null}").rows["ptr"].tolist() == [0]


def test_a_trace_without_any():
    assert len(slab_events(read(FREE))) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kfree: call_site=f", "event kfree must be one with ptr=, not one without"),
        ("kfree:", "event kfree must be one with ptr=, not one without fields"),
        ("kfree: ptr=(____ptrval____)", "ptr of an event kfree must be a number, not '(____ptrval____)'"),
        ("kmalloc: ptr=ffff888000001080", "event kmalloc must be one with bytes_alloc=, not one without"),
        (
            "kmalloc: ptr=ffff888000001080 bytes_alloc=many",
            "bytes_alloc of an event kmalloc must be a number, not 'many'",
        ),
    ],
)
def test_refused(line, message):
    for lines in ([line], [line, *FORMS["6.1"]]):
        with pytest.raises(TraceError, match=says(message) if "fields" not in message else r"^event kfree must be "):
            events_of(*lines)


def test_a_real_trace():
    events = slab_events(open_workload(capture_folder("slab")).events)
    assert repr(events) == (
        "<SlabEvents 248371: 10446 kmalloc, 111609 kmem_cache_alloc, 14712 kfree, 111604 kmem_cache_free>"
    )
    assert set(names_of(events, "name")) > {"filp", "dentry", None}
