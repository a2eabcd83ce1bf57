"""Memory maps as text: what is read, and what is refused."""

import pytest
from helpers import says
from memblock_log import BOOTS, SHARED, calls

from structpage import InvalidArgument, Memblock, TraceError
from structpage.boot.maps import MapRange, parse_e820, parse_iomem

E820 = """\
[    0.000000] Command line: memblock=debug
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000000fffdfff] System RAM
[    0.000000] BIOS-e820: [mem 0x0000000020000000-0x000000002fffffff] soft reserved
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
"""
IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-0ffdffff : System RAM
  01000000-01e01ef1 : Kernel code
    01000000-010fffff : deeper
20000000-febfffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:02.0
"""


def test_a_firmwares_map():
    memblock = Memblock.from_e820(E820)
    assert memblock.memory == ((0x1000, 0x9E000, 0, 0), (0x100000, 0xFEFE000, 0, 0))
    assert memblock.reserved == ((0x20000000, 0x10000000, 1024, 0),)
    assert parse_e820(E820)[1] == MapRange(0x9FC00, 0x100000, "reserved")
    assert parse_e820("[mem 0x0-0xfff] usable") == (MapRange(0, 4096, "usable"),)


def test_proc_iomem():
    memblock = Memblock.from_iomem(IOMEM, bottom_up=True)
    assert memblock.memory == ((0x1000, 0x9E000, 0, 0), (0x100000, 0xFEE0000, 0, 0))
    assert memblock.reserved == ((0x1000000, 0xE01EF2, 1024, 0),)
    assert memblock.bottom_up
    assert [one.depth for one in parse_iomem(IOMEM)] == [0, 0, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("folder", BOOTS)
def test_the_map_of_a_recorded_boot(folder):
    dumps = [told for name, told in calls(folder) if name == "dump"]
    memblock = Memblock.from_e820((folder / "dmesg").read_text())
    assert list(memblock.memory) == dumps[-1]["memory"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no captures beside the repository")
def test_both_texts_tell_the_same_memory():
    folders = [path.parent.parent for path in SHARED.glob("*/before/iomem")]
    assert folders
    for folder in folders:
        text = (folder / "before" / "iomem").read_text()
        assert Memblock.from_iomem(text).memory == Memblock.from_e820((folder / "dmesg").read_text()).memory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "memory map must be lines like 'BIOS-e820: [mem 0x1000-0x9ffff] usable', not without any"),
        ("[mem 0x10-0x1] usable", "range must be one that ends after its start, not [0x10, 0x2)"),
        (
            "BIOS-e820: [mem 0x0000000000000000-0xffffffffffffffff] usable",
            "range must be less than 2^64 bytes, not [0x0, 0x10000000000000000)",
        ),
        (
            "[mem 0x0-0x1fff] usable\n[mem 0x1000-0x2fff] reserved",
            "range 'reserved' must be above 0x2000, the end of 'usable', not [0x1000, 0x3000)",
        ),
    ],
)
def test_what_is_no_firmwares_map(text, message):
    with pytest.raises(TraceError, match=says(message)):
        Memblock.from_e820(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "addresses must be those that root reads in /proc/iomem, not none or zeros"),
        (
            "00000000-00000000 : System RAM\n",
            "addresses must be those that root reads in /proc/iomem, not none or zeros",
        ),
        ("nonsense\n", "line 1 must be like '00001000-0009fbff : System RAM', not 'nonsense'"),
        ("0-ffffffffffffffff : System RAM\n", "range must be less than 2^64 bytes, not [0x0, 0x10000000000000000)"),
        (
            "0-fff : System RAM\n  500-3fe : Kernel code\n",
            "range must be one that ends after its start, not [0x500, 0x3ff)",
        ),
        (
            "0-fff : System RAM\n800-1fff : Reserved\n",
            "range 'Reserved' must be above 0x1000, the end of 'System RAM', not [0x800, 0x2000)",
        ),
    ],
)
def test_what_is_no_iomem(text, message):
    with pytest.raises(TraceError, match=says(message)):
        Memblock.from_iomem(text)


def test_memory_at_the_highest_address_is_taken():
    memblock = Memblock.from_e820("BIOS-e820: [mem 0x0000000000001000-0xffffffffffffffff] usable")
    assert memblock.memory[-1].end == (1 << 64) - 4096


def test_a_text_is_a_str():
    with pytest.raises(InvalidArgument, match=says("text must be a str, not bytes")):
        Memblock.from_e820(b"")
