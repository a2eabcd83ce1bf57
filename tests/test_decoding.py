"""Arrays of fields against an obvious model: a list of what was put into each frame, whatever the block size."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from helpers import workload
from hypothesis import given
from hypothesis import strategies as st

from structpage import BuddyAllocator, PageArray, lanes
from structpage.core.words import LAYOUTS, ONE_WORD, TWO_WORD

FIELDS = {"order": "order", "zone": "zid", "node": "nid", "migratetype": "migratetype"}
HEADS = ("free", "allocated", "pcp", "slab")


@contextmanager
def blocks_of(order, dense_shift):
    """Small blocks, so that few frames are many blocks; a shift of 0 looks all heads up, one of 64 none."""
    with mock.patch.object(lanes, "BLOCK_ORDER", order), mock.patch.object(lanes, "DENSE_SHIFT", dense_shift):
        yield


@st.composite
def machines(draw):
    """A memmap of blocks in all states that words can say, and what every frame should answer."""
    pages = PageArray(draw(st.integers(1, 400)), layout=draw(st.sampled_from(sorted(LAYOUTS))))
    layout, pfn, model = pages.layout, 0, []
    while pfn < pages.frames:
        fitting = [k for k in range(10) if pfn % (1 << k) == 0 and pfn + (1 << k) <= pages.frames]
        order = draw(st.sampled_from(fitting))
        state = draw(st.sampled_from((*HEADS, "reserved", "offline")))
        facts = {name: draw(st.integers(0, field.max)) for name, field in fields(layout, state).items()}
        facts |= {"order": order} if "order" in facts else {}
        stamped = state == "allocated" and draw(st.booleans())
        for frame in range(pfn, pfn + (1 << order)):
            if frame == pfn:
                put(pages, frame, state, facts)
                model.append((state, state, facts, facts))
            elif stamped:
                tail = {name: value for name, value in facts.items() if name in fields(layout, "tail")}
                tail |= {"head": pfn} if layout.words == 2 else {}
                put(pages, frame, "tail", tail)
                model.append(("tail", "tail", tail, tail))
            else:
                model.append(
                    ("reserved", "free" if state == "free" else "reserved", {}, facts if state == "free" else {})
                )
        pfn += 1 << order
    return pages, model


def fields(layout, state):
    return {field.name: field for field in layout.of_state(state) if field.name != "tag"}


def put(pages, pfn, state, facts):
    words = pages.layout.pack(state, **facts)
    pages.words.view(np.int64)[pfn * len(words) : (pfn + 1) * len(words)] = words


@given(
    machine=machines(),
    order=st.integers(0, 10) | st.just(lanes.BLOCK_ORDER),
    dense_shift=st.sampled_from((0, 3, lanes.DENSE_SHIFT, 64)),
)
def test_every_array_says_what_was_put_in(machine, order, dense_shift):
    pages, model = machine
    tags = pages.layout.tags
    with blocks_of(order, dense_shift):
        assert pages.tag.tolist() == [tags[own] for own, *_ in model]
        assert pages.is_free_head.tolist() == [own == "free" for own, *_ in model]
        assert pages.is_free.tolist() == [state == "free" for _, state, *_ in model]
        for array, name in FIELDS.items():
            assert getattr(pages, array).tolist() == [facts.get(name, -1) for *_, facts in model], array
            assert pages.decode(name).tolist() == [facts.get(name, -1) for *_, facts, _ in model], name
        assert pages.decode("owner_kind").tolist() == [facts.get("owner_kind", -1) for *_, facts, _ in model]
        owners = [facts["owner"] << 4 | facts["owner_kind"] if "owner" in facts else 0 for *_, facts, _ in model]
        assert pages.owner.tolist() == owners
        heads, orders = pages.free_heads()
        assert heads.tolist() == [pfn for pfn, (own, *_) in enumerate(model) if own == "free"]
        assert orders.tolist() == [facts["order"] for own, _, facts, _ in model if own == "free"]
        starts, lengths = pages.free_runs()
        assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == runs(model)


def runs(model):
    found = []
    for pfn, (_, state, *_) in enumerate(model):
        if state == "free" and found and sum(found[-1]) == pfn:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif state == "free":
            found.append((pfn, 1))
    return found


@pytest.mark.parametrize("block_order", [4, lanes.BLOCK_ORDER])
@pytest.mark.parametrize("stamp", ["every", "head"])
@pytest.mark.parametrize("placement", ["side-table", "one-word"])
def test_a_used_machine_decodes_as_its_frames_do(placement, stamp, block_order):
    frames = 3000
    buddy = BuddyAllocator(frames, placement, stamp=stamp)
    buddy.replay(workload(800, frames=frames, max_order=8))
    pages, read = buddy.pages, list(buddy.pages)
    with blocks_of(block_order, 5):
        order, free = pages.order, pages.is_free
        starts, lengths = pages.free_runs()
    assert free.tolist() == [page.state == "free" for page in read]
    told = [page for page in read if stamp == "every" or page.state != "allocated" or page.head == page.pfn]
    assert [order[page.pfn] for page in told] == [-1 if page.order is None else page.order for page in told]
    covered = np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    assert covered.tolist() == np.flatnonzero(free).tolist()
    assert (starts[1:] > (starts + lengths)[:-1]).all()


def test_types_of_arrays():
    pages = BuddyAllocator(70).pages
    assert {array: getattr(pages, array).dtype for array in FIELDS} == dict.fromkeys(FIELDS, np.int16)
    assert (pages.tag.dtype, pages.is_free.dtype, pages.is_free_head.dtype) == (np.uint8, np.bool_, np.bool_)
    assert pages.owner.dtype == np.uint64
    assert [array.dtype for array in (*pages.free_runs(), *pages.free_heads())] == [np.int64] * 3 + [np.int16]


def test_memory_without_a_free_frame_has_no_runs():
    starts, lengths = PageArray(5).free_runs()
    assert (starts.tolist(), lengths.tolist()) == ([], [])


def test_a_field_that_arrays_can_give_has_one_place():
    for layout in (TWO_WORD, ONE_WORD):
        small = [field.name for field in layout.fields if field.width <= 15]
        assert len(small) == len(set(small))
        assert all(layout.field(name).word == 0 for name in FIELDS.values())
        assert layout.field("owner").shift == layout.field("owner_kind").shift + 4
        assert layout.field("owner").word == layout.field("owner_kind").word


def test_an_unaligned_head_answers_for_itself():
    pages = BuddyAllocator(16, max_order=2, start="reserved").pages
    put(pages, 5, "free", {"order": 2})
    assert np.flatnonzero(pages.is_free).tolist() == [5]
    put(pages, 0, "free", {"order": 63})
    assert pages.order.tolist() == [63] * 16
