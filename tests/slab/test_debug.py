"""Damage of every kind: found when the kernel finds it, told by a typed error, repaired, isolated."""

from __future__ import annotations

import pytest
from debugged_slab import DebuggedSlab
from helpers import says
from hypothesis import assume, example, given
from hypothesis import strategies as st

from structpage.errors import CorruptionError, DoubleFree, InvalidFree, InvalidObject, SlabCorruption
from structpage.slab.flags import SlabFlags

FULL = "FZPU"
shapes = st.fixed_dictionaries(
    {
        "size": st.integers(1, 300),
        "align": st.sampled_from([0, 16, 64]),
        "flags": st.sampled_from(["F", "FZ", "FP", "FU", "FZP", "FPU", "FZU", "FZPU"]),
        "ctor": st.booleans(),
        "random": st.none() | st.integers(0, (1 << 64) - 1),
    }
)


def parts(shape):
    """What each byte of a slot is, from its first on, written down from the table of the layout."""
    names = ["left red zone"] * shape.red_left_pad + ["object"] * shape.object_size
    names += ["right red zone"] * (shape.inuse - shape.object_size)
    if shape.offset >= shape.inuse:
        names += ["free pointer"] * 8
    else:
        start = shape.red_left_pad + shape.offset
        names[start : start + 8] = ["inner pointer"] * 8
    names += ["track"] * (64 if shape.flags & SlabFlags.STORE_USER else 0)
    return names + ["padding"] * (shape.size - len(names))


def expected_field(shape, part, *, active):
    """What the kernel calls damage to a part, `None` where it does not look."""
    red, poison = shape.flags & SlabFlags.RED_ZONE, shape.flags & SlabFlags.POISON
    if part == "left red zone":
        return "Left Redzone"
    if part == "right red zone":
        return "Right Redzone" if red else "Alignment padding" if poison else None
    if part == "free pointer" or (part == "inner pointer" and not active):
        return "free pointer"
    if part == "padding":
        return "Object padding" if poison else None
    if part == "object" and not active and shape.flags & SlabFlags.OBJECT_POISON:
        return "Poison"
    return None


@given(shapes, st.data())
def test_damage_to_any_byte_about_an_object_is_found_when_it_is_freed(shape, data):
    slab = DebuggedSlab(**shape)
    objects = [slab.alloc() for _ in range(min(3, len(slab.objects)))]
    victim = data.draw(st.sampled_from(objects))
    names = parts(slab.geometry)
    at = data.draw(st.integers(0, len(names) - 1))
    slab.damage(victim - slab.geometry.red_left_pad + at)
    field = expected_field(slab.geometry, names[at], active=True)
    if field is None:
        slab.check()
        slab.free(victim)
        return
    before = slab.slab.inuse
    with pytest.raises(SlabCorruption) as caught:
        slab.free(victim)
    assert caught.value.field == field
    assert (caught.value.object, caught.value.cache) == (victim, "cache")
    if field != "free pointer":
        assert caught.value.address == victim - slab.geometry.red_left_pad + at
    assert (slab.slab.inuse, slab.slab.frozen) == (before, 0)
    slab.check()
    slab.free(victim)
    slab.check()


@given(shapes, st.data())
def test_damage_to_any_byte_of_a_free_object_is_found_when_it_is_allocated(shape, data):
    slab = DebuggedSlab(**shape)
    names = parts(slab.geometry)
    at = data.draw(st.integers(0, len(names) - 1))
    victim = slab.slab.freelist
    field = expected_field(slab.geometry, names[at], active=False)
    assume(field is not None)
    slab.damage(victim - slab.geometry.red_left_pad + at)
    with pytest.raises(SlabCorruption) as caught:
        slab.alloc()
    end = at == slab.geometry.red_left_pad + slab.geometry.object_size - 1
    assert caught.value.field == ("End Poison" if field == "Poison" and end else field)
    record = slab.slab
    if field in ("Object padding", "Alignment padding"):
        assert (record.inuse, record.freelist, record.frozen) == (0, victim, 0)
        assert slab.alloc() == victim
        slab.check()
    else:
        assert (record.inuse, record.freelist, record.frozen) == (record.objects, 0, 1)


@given(shapes, st.booleans(), st.data())
def test_damage_to_any_byte_is_found_by_a_check_of_the_slab(shape, active, data):
    slab = DebuggedSlab(**shape)
    victim = slab.alloc() if active else slab.slab.freelist
    names = parts(slab.geometry)
    at = data.draw(st.integers(0, len(names) - 1))
    field = expected_field(slab.geometry, names[at], active=active)
    slab.check()
    slab.damage(victim - slab.geometry.red_left_pad + at)
    if field is None:
        slab.check()
        return
    with pytest.raises(SlabCorruption) as caught:
        slab.check()
    if field != "free pointer" or active:
        assert caught.value.field.removeprefix("End ") == field
        slab.check()


@pytest.mark.parametrize("flags", ["F", "FZ", "FZPU"])
def test_objects_behind_a_broken_pointer_are_lost_and_told_of_zone_by_zone(flags):
    """They still have the red zones of free objects, and no list says that they are free."""
    slab = DebuggedSlab(512, flags=flags)
    broken_list(slab, 0x1234, 3)
    lost = len(slab.objects) - 4
    zones = ["Left Redzone", "Right Redzone"] * lost if "Z" in flags else []
    # The check that cuts the list goes on to the objects, and so tells of the first zone as well.
    for field in ["free pointer", *zones[1:]]:
        with pytest.raises(SlabCorruption) as caught:
            slab.check()
        assert caught.value.field == field
    slab.check()
    assert slab.slab.inuse == lost


@given(shapes, st.integers(0, 4095), st.sampled_from(["alloc", "free", "check", "discard"]))
def test_damage_to_any_byte_behind_the_last_object_is_found(shape, at, when):
    slab = DebuggedSlab(**shape)
    size = 4096 << slab.slab.order
    left = size % slab.geometry.size
    assume(left and slab.geometry.flags & SlabFlags.POISON)
    victim = None if when == "discard" else slab.alloc()
    address = slab.slab.address + size - left + at % left
    call = {
        "alloc": slab.alloc,
        "free": lambda: slab.free(victim),
        "check": slab.check,
        "discard": lambda: slab.debug.check_discard(slab.slab),
    }[when]
    before = slab.content()
    slab.damage(address)
    with pytest.raises(SlabCorruption) as caught:
        call()
    assert (caught.value.field, caught.value.address, caught.value.object) == ("slab padding", address, None)
    assert slab.content() == before
    call()


@given(shapes, st.data())
def test_damage_to_any_byte_is_found_before_the_pages_go_back(shape, data):
    slab = DebuggedSlab(**shape)
    victim = slab.alloc()
    slab.free(victim)
    names = parts(slab.geometry)
    at = data.draw(st.integers(0, len(names) - 1))
    assume(expected_field(slab.geometry, names[at], active=False) is not None)
    slab.debug.check_discard(slab.slab)
    slab.damage(victim - slab.geometry.red_left_pad + at)
    with pytest.raises(SlabCorruption):
        slab.debug.check_discard(slab.slab)
    slab.debug.check_discard(slab.slab)


@given(shapes, st.lists(st.integers(0, 40), max_size=20))
def test_nothing_is_found_where_nothing_is_wrong(shape, calls):
    """A user who writes all of his objects, and nothing else, is never accused."""
    slab = DebuggedSlab(**shape)
    held = []
    for call in calls:
        if held and call % 2:
            address, content = held.pop(call % len(held))
            assert slab.read(address, len(content)) == content
            slab.free(address)
        elif slab.slab.freelist:
            content = bytes((call,)) * slab.geometry.object_size
            address = slab.alloc()
            slab.write(address, content)
            held.append((address, content))
        slab.check()
        assert slab.slab.inuse == len(held)
    assert slab.debug.log.lines == []


@pytest.mark.parametrize("length", [1, 8, 30])
def test_an_overflow_to_the_right(length):
    slab = DebuggedSlab(60, flags=FULL)
    victim = slab.alloc()
    slab.write(victim + 60, b"A" * length)
    with pytest.raises(SlabCorruption, match=r"Right Redzone at offset 68 of the slab must be 0xcc, not 0x41$"):
        slab.free(victim)


def test_an_overflow_to_the_left():
    slab = DebuggedSlab(64, flags=FULL)
    victim = slab.alloc()
    slab.write(victim - 4, b"AAAA")
    message = f"cache cache, object {victim:#x}, Left Redzone at offset 4 of the slab must be 0xcc, not 0x41"
    with pytest.raises(SlabCorruption, match=says(message)):
        slab.free(victim)


def test_a_write_after_free():
    slab = DebuggedSlab(64, flags=FULL)
    victim = slab.alloc()
    slab.free(victim)
    slab.write(victim + 10, b"A")
    with pytest.raises(SlabCorruption) as caught:
        slab.alloc()
    error = caught.value
    assert (error.field, error.expected, error.found) == ("Poison", "0x6b", "0x41")
    assert (error.address, error.offset, error.pfn) == (victim + 10, 18, 8)
    assert "Freed in user age=1 cpu=1 pid=7" in error.report


def test_a_damaged_slab_is_out_of_use():
    slab = DebuggedSlab(64, flags=FULL)
    other, victim = slab.alloc(), slab.alloc()
    slab.free(victim)
    slab.write(victim, b"A")
    with pytest.raises(SlabCorruption) as caught:
        slab.alloc()
    assert caught.value.report.endswith("FIX cache: Marking all objects used")
    before = slab.content()
    with pytest.raises(SlabCorruption, match=r"must be enabled, not disabled$") as caught:
        slab.free(other)
    assert "Slab disabled since SLUB metadata consistency check failed" in caught.value.report
    assert slab.content() == before
    slab.check()


@given(shapes, st.integers(0, 5), st.integers(0, 5))
def test_a_double_free(shape, others, more):
    slab = DebuggedSlab(**shape)
    assume(len(slab.objects) > others + more + 1)
    kept = slab.alloc()
    held = [slab.alloc() for _ in range(others)]
    victim = slab.alloc()
    slab.free(victim)
    for address in held[:more]:
        slab.free(address)
    before = slab.content()
    with pytest.raises(DoubleFree) as caught:
        slab.free(victim)
    assert slab.content() == before
    assert f"FIX cache: Object at 0x{victim:016x} not freed" in caught.value.report
    assert isinstance(caught.value, InvalidFree)
    slab.check()
    slab.free(kept)


def test_what_a_double_free_says():
    slab = DebuggedSlab(64, flags=FULL)
    victim, _ = slab.alloc(), slab.alloc()
    slab.free(victim)
    message = f"address {victim:#x} freed to cache cache must be an object of cache cache that is in use, "
    with pytest.raises(DoubleFree, match=says(message + "not one that is free already, by user on CPU 1")):
        slab.free(victim)


def test_a_free_to_a_slab_of_which_all_are_free():
    slab = DebuggedSlab(64, flags="Z")
    with pytest.raises(DoubleFree) as caught:
        slab.free(slab.objects[0])
    assert "BUG cache (Not tainted): Slab has 0 allocated objects but 1 are to be freed" in caught.value.report


def test_without_consistency_checks_nothing_is_looked_at():
    slab = DebuggedSlab(64, flags="ZPU")
    victim, _ = slab.alloc(), slab.alloc()
    slab.damage(victim - 1)
    slab.free(victim)
    slab.damage(victim)
    assert slab.alloc() == victim
    assert slab.debug.log.lines == []


@given(shapes, st.data())
def test_an_address_of_no_object(shape, data):
    slab = DebuggedSlab(**shape)
    slab.alloc()
    size = 4096 << slab.slab.order
    at = data.draw(st.integers(0, size - 1))
    address = slab.slab.address + at
    assume(address not in slab.objects)
    before = slab.content()
    with pytest.raises(InvalidObject) as caught:
        slab.free(address)
    assert f"Invalid object pointer 0x{address:016x}" in caught.value.report
    assert not isinstance(caught.value, DoubleFree)
    assert slab.content() == before


def test_what_a_wrong_address_says():
    slab = DebuggedSlab(64, flags="F")
    slab.alloc()
    address = slab.objects[3] + 5
    message = f"address {address:#x} freed to cache cache must be an object of cache cache that is in use, "
    place = f"not one 5 bytes behind the beginning of the object at {slab.objects[3]:#x}"
    with pytest.raises(InvalidObject, match=says(message + place)):
        slab.free(address)


def broken_list(slab, pointer, after):
    """Set the free pointer of the object that comes `after` others on the free list, or the list's head."""
    if after < 0:
        slab.slab.freelist = pointer
        return
    address = slab.slab.freelist
    for _ in range(after):
        address = slab.slots.next(address)
    slab.slots.set_next(address, pointer)


@pytest.mark.parametrize("flags", ["F", "FZPU"])
@pytest.mark.parametrize("wild", [1, 0x1000, 0xFFFF888000008001, 0xFFFF8880F0000000])
@pytest.mark.parametrize("after", [0, 3])
def test_a_broken_free_list_is_cut_where_it_breaks(flags, wild, after):
    slab = DebuggedSlab(64, flags=flags)
    victim = slab.alloc()
    broken_list(slab, wild, after)
    with pytest.raises(SlabCorruption, match="must be NULL or an object of the slab, not " + hex(wild)) as caught:
        slab.free(victim)
    assert "BUG cache (Not tainted): Freechain corrupt" in caught.value.report
    assert "FIX cache: Object count adjusted" in caught.value.report
    assert slab.slab.inuse == slab.slab.objects - after - 1
    assert len(slab.debug.free_objects(slab.slab)) == after + 1


def test_a_free_list_without_a_valid_first_object_is_cleared():
    slab = DebuggedSlab(64, flags="F")
    slab.alloc()
    broken_list(slab, 0x1234, -1)
    with pytest.raises(CorruptionError) as caught:
        slab.check()
    assert "BUG cache (Not tainted): Freepointer corrupt" in caught.value.report
    assert caught.value.report.endswith("FIX cache: Freelist cleared")
    assert (slab.slab.freelist, slab.slab.inuse) == (0, slab.slab.objects)


@pytest.mark.parametrize("back", [0, 1, 4])
def test_a_free_list_in_a_circle_is_cut_where_it_closes(back):
    slab = DebuggedSlab(64, flags="F")
    slab.alloc()
    free = slab.debug.free_objects(slab.slab)
    slab.slots.set_next(free[4], free[4 - back])
    with pytest.raises(SlabCorruption) as caught:
        slab.check()
    assert "Freechain corrupt" in caught.value.report
    assert slab.debug.free_objects(slab.slab) == free[:5]
    assert slab.slab.inuse == slab.slab.objects - 5


def test_a_bad_first_object_disables_the_slab():
    slab = DebuggedSlab(64, flags="F")
    slab.slab.freelist = slab.objects[2] + 8
    with pytest.raises(SlabCorruption) as caught:
        slab.alloc()
    assert "Freelist Pointer check fails" in caught.value.report
    assert f"Invalid pointer 0x{slab.objects[2] + 8:016x}" in caught.value.report
    assert slab.slab.frozen


@pytest.mark.parametrize(
    ("wrong", "text", "left"),
    [
        ({"inuse": 3}, "Wrong object count. Counter is 3 but counted were 64", (64, 64)),
        ({"inuse": 65}, "inuse 65 > max 64", (65, 64)),
        ({"inuse": 63, "objects": 63}, "Wrong number of objects. Found 63 but should be 64", (64, 64)),
        ({"objects": 65}, "objects 65 > max 64", (64, 65)),
    ],
)
def test_a_wrong_record(wrong, text, left):
    slab = DebuggedSlab(64, flags="F")
    for _ in slab.objects:
        slab.alloc()
    for field, value in wrong.items():
        setattr(slab.slab, field, value)
    with pytest.raises(SlabCorruption) as caught:
        slab.check()
    assert caught.value.field in wrong
    assert caught.value.found == wrong[caught.value.field]
    assert f"): {text}\n" in caught.value.report
    assert (slab.slab.inuse, slab.slab.objects) == left


@given(shapes, st.integers(0, (1 << 64) - 1))
@example({"size": 64, "align": 0, "flags": "F", "ctor": False, "random": 0}, 0)
def test_a_hardened_free_pointer_is_found_whatever_is_written(shape, value):
    """But for the values, one in 2^64 divided by the objects, that are another's address."""
    slab = DebuggedSlab(**shape)
    victim = slab.slab.freelist
    slab.write(victim + slab.geometry.offset, value.to_bytes(8, "little"))
    assume(slab.slots.next(victim) not in (0, *slab.objects))
    with pytest.raises(SlabCorruption):
        slab.check()


@pytest.mark.parametrize("size", [1, 100, 192])
def test_the_size_asked_for_is_kept(size):
    slab = DebuggedSlab(192, flags=SlabFlags.STORE_USER | SlabFlags.KMALLOC)
    address = slab.alloc(size)
    slab.write(address, bytes(192))
    assert slab.slots.orig_size(address) == size
    assert slab.slots.orig_size(slab.alloc()) == 192
    assert DebuggedSlab(192, flags="U").slots.orig_size(address) == 192
