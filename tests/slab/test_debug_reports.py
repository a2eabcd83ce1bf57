"""Reports in full, line by line, as a kernel would print them."""

from __future__ import annotations

import pytest
from debugged_slab import DebuggedSlab

from structpage.errors import DoubleFree, SlabCorruption
from structpage.slab.kernel_log import TAINTED, KernelLog, hex_row
from structpage.slab.tracks import Track, Tracks, Who, calling_function

OVERFLOW = """\
=============================================================================
BUG session (Not tainted): Right Redzone overwritten
-----------------------------------------------------------------------------

0xffff888000008038-0xffff88800000803b @offset=56. First byte 0x41 instead of 0xcc
Allocated in open_session age=3 cpu=0 pid=12
Freed in close_session age=4 cpu=1 pid=13
Slab 0xffffea0000000200 objects=28 used=1 fp=0xffff888000008098 flags=0x200(slab)
Object 0xffff888000008008 @offset=8 fp=0xffff888000008098

Redzone  ffff888000008000: cc cc cc cc cc cc cc cc                          ........
Object   ffff888000008008: 48 65 6c 6c 6f 2c 20 77 6f 72 6c 64 2e 0a 00 ff  Hello, world....
Object   ffff888000008018: 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkkkkkkkkkk
Object   ffff888000008028: 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b a5  kkkkkkkkkkkkkkk.
Redzone  ffff888000008038: 41 42 cc 44 cc cc cc cc                          AB.D....
Padding  ffff888000008088: 5a 5a 5a 5a 5a 5a 5a 5a                          ZZZZZZZZ
FIX session: Restoring Right Redzone 0xffff888000008038-0xffff88800000803b=0xcc
FIX session: Object at 0xffff888000008008 not freed"""


def test_an_overflow():
    slab = DebuggedSlab(48, flags="FZPU", name="session")
    slab.who = Who("open_session", 0, 12, 100)
    first = slab.alloc()
    slab.who = Who("close_session", 1, 13, 101)
    slab.free(first)
    slab.who = Who("open_session", 0, 12, 102)
    assert slab.alloc() == first
    slab.write(first, b"Hello, world.\n\0\xff")
    slab.write(first + 48, b"AB\xccD")
    slab.who = Who("close_session", 1, 13, 105)
    with pytest.raises(SlabCorruption) as caught:
        slab.free(first)
    assert caught.value.report.splitlines() == OVERFLOW.splitlines()


DOUBLE_FREE = """\
=============================================================================
BUG cache (Not tainted): Object already free
-----------------------------------------------------------------------------

Slab 0xffffea0000000200 objects=102 used=1 fp=0xffff888000008028 flags=0x200(slab)
Object 0xffff888000008028 @offset=40 fp=0xffff888000008050

Bytes b4 ffff888000008018: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
Object   ffff888000008028: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
Object   ffff888000008038: 50 80 00 00 80 88 ff ff 00 00 00 00 00 00 00 00  P...............
Object   ffff888000008048: 00 00 00 00 00 00 00 00                          ........
FIX cache: Object at 0xffff888000008028 not freed"""


def test_a_double_free_in_a_cache_without_metadata():
    slab = DebuggedSlab(40, flags="F")
    slab.alloc()
    victim = slab.alloc()
    slab.free(victim)
    with pytest.raises(DoubleFree) as caught:
        slab.free(victim)
    assert caught.value.report.splitlines() == DOUBLE_FREE.splitlines()


SLAB_PADDING = """\
=============================================================================
BUG cache (Not tainted): Padding overwritten. 0xffff888000009ffb-0xffff888000009ffd @offset=8187
-----------------------------------------------------------------------------

Slab 0xffffea0000000200 objects=11 used=0 fp=0xffff888000008000 flags=0x10200(slab|head)
Padding ffff888000009fa0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
Padding ffff888000009fb0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
Padding ffff888000009fc0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
Padding ffff888000009fd0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
Padding ffff888000009fe0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
Padding ffff888000009ff0: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 01 5a 02 5a 5a  ZZZZZZZZZZZ.Z.ZZ
FIX cache: Restoring slab padding 0xffff888000009ffb-0xffff888000009ffd=0x5a"""


def test_padding_of_a_slab_of_two_pages():
    slab = DebuggedSlab(728, flags="FP")
    slab.write(0xFFFF888000009FFB, b"\1Z\2")
    with pytest.raises(SlabCorruption) as caught:
        slab.check()
    assert caught.value.report.splitlines() == SLAB_PADDING.splitlines()


def test_a_report_taints_the_next_one():
    slab = DebuggedSlab(64, flags="FZ")
    for taint in ("Not tainted", TAINTED):
        victim = slab.alloc()
        slab.damage(victim - 1)
        with pytest.raises(SlabCorruption) as caught:
            slab.free(victim)
        assert f"BUG cache ({taint}): Left Redzone overwritten" in caught.value.report
    assert slab.debug.log.lines.count("=" * 77) == 2


def test_an_error_has_all_that_its_call_found():
    """The slab's padding, where the check goes on, and the red zone, where it ends."""
    slab = DebuggedSlab(60, flags="FZP")
    victim = slab.alloc()
    slab.damage(slab.slab.address + 4095)
    slab.damage(victim + 60)
    with pytest.raises(SlabCorruption) as caught:
        slab.free(victim)
    assert caught.value.field == "slab padding"
    assert caught.value.report.count("BUG cache") == 2
    assert caught.value.report.count("FIX cache") == 3


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (b"", " " * 49),
        (b"\0", "00" + " " * 47 + "."),
        (b" ~\x7f\x1f", "20 7e 7f 1f" + " " * 38 + " ~.."),
        (bytes(range(64, 80)), "40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO"),
    ],
)
def test_a_row_of_a_dump(data, row):
    assert hex_row(data) == row


def test_a_dump_of_more_than_a_row():
    log = KernelLog()
    log.dump("Object   ", 0x10, bytes(17))
    assert [line[:27] for line in log.lines] == ["Object   0000000000000010: ", "Object   0000000000000020: "]


def test_tracks_come_back():
    tracks = Tracks()
    tracks.tick(Who())
    first = tracks.pack(Who("open", 1, 2))
    tracks.tick(Who(when=50))
    second = tracks.pack(Who(0xFFFFFFFF8112ABCD, 3, -4))
    assert len(first) == len(second) == 32
    assert tracks.unpack(first) == Track("open", 1, 2, 1)
    assert tracks.unpack(second) == Track("0xffffffff8112abcd", 3, -4, 50)
    assert tracks.unpack(bytes(32)) is None
    assert tracks.lines(tracks.unpack(first), None) == ["Allocated in open age=49 cpu=1 pid=2"]


def test_time_does_not_go_back():
    tracks = Tracks()
    for when, now in ((10, 10), (5, 10), (None, 11), (11, 11)):
        tracks.tick(Who(when=when))
        assert tracks.now == now


def test_who_calls_is_the_function_outside_of_the_package():
    assert calling_function() == f"{test_who_calls_is_the_function_outside_of_the_package.__name__} [{__name__}]"
    slab = DebuggedSlab(64, flags="U", who=Who())
    caller = slab.slots.tracks_of(slab.alloc())[0]
    assert caller.caller == "DebuggedSlab.alloc [debugged_slab]"
