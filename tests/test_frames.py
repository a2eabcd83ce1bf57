"""Frame memory: it costs what is touched, and a discard gives it back."""

from __future__ import annotations

import pytest
from helpers import says

from structpage import FrameMemory
from structpage.errors import InvalidArgument, OutOfRange
from structpage.frames import PAGE_SIZE

hosts = pytest.mark.parametrize("simulated", [False, True], ids=["host", "simulated"])


def test_sixty_four_gibibytes_cost_what_is_touched():
    memory = FrameMemory(1 << 24)
    assert memory.words.nbytes == 1 << 36
    before = memory.resident_bytes
    for pfn in (0, 12345678, (1 << 24) - 1):
        memory.write(pfn, 0, b"x")
    grown = memory.resident_bytes - before
    assert 3 * PAGE_SIZE <= grown <= 64 * PAGE_SIZE


@hosts
def test_discard_gives_memory_back(simulated):
    memory = FrameMemory(256, simulate_host=simulated)
    memory.fill(0, 8, 7)
    assert memory.resident_bytes == 256 * PAGE_SIZE
    assert memory.resident_frames(0, 8) == 256
    memory.discard(0, 6)
    assert memory.resident_bytes == 192 * PAGE_SIZE
    assert memory.resident_frames(0, 7) == 64
    memory.discard(64)
    assert memory.resident_frames(64) == 0
    memory.write_word(3, 8, 1)
    assert memory.resident_frames(0, 6) == 1
    assert memory.differs(0, 6, 0).tolist() == [3 * PAGE_SIZE + 8]
    assert memory.read(63) == bytes(PAGE_SIZE)
    assert memory.read(65) == b"\7" * PAGE_SIZE


def test_the_host_says_who_it_is():
    assert FrameMemory(1, simulate_host=True).host == "simulated: discards write zeros"
    real = FrameMemory(1)
    if not real.simulated:
        assert real.host == "linux: MADV_DONTNEED, /proc/self/smaps"
    assert repr(FrameMemory(2, simulate_host=True)) == (
        "<FrameMemory: 2 frames, 0 bytes resident, host simulated: discards write zeros>"
    )


@hosts
def test_reading_and_writing(simulated):
    memory = FrameMemory(4, simulate_host=simulated)
    memory.write(1, 4094, b"abcd")
    assert memory.read(1, 4094, 4) == b"abcd"
    assert memory.read(2, 0, 3) == b"cd\0"
    memory.write_word(0, 16, (1 << 64) - 2)
    assert memory.read_word(0, 16) == (1 << 64) - 2
    assert memory.words[2] == (1 << 64) - 2
    memory.words[512] = 5
    assert memory.read_word(1) == 5
    memory.fill(2, 1, 0xAA)
    memory.write(3, 9, b"\0")
    assert memory.differs(2, 1, 0xAA).tolist() == [PAGE_SIZE + 9]
    assert memory.differs(2, 0, 0xAA).tolist() == []


def test_bounds():
    memory = FrameMemory(4)
    for pfn in (-1, 4):
        with pytest.raises(OutOfRange, match=says(f"PFN must be between 0 and 3, not {pfn}")):
            memory.read(pfn)
    beyond = "bytes must be within the 16384 bytes of memory, not "
    with pytest.raises(OutOfRange, match=says(beyond + "2 bytes at PFN 3 + 4095")):
        memory.write(3, 4095, b"ab")
    with pytest.raises(OutOfRange, match=says(beyond + "1 bytes at PFN 0 + -1")):
        memory.read(0, -1, 1)
    with pytest.raises(OutOfRange, match=says(beyond + "16384 bytes at PFN 1 + 0")):
        memory.fill(1, 2, 0)
    with pytest.raises(OutOfRange, match=says(beyond + "8192 bytes at PFN 3 + 0")):
        memory.discard(3, 1)
    with pytest.raises(InvalidArgument, match=says("order must be at least 0, not -1")):
        memory.discard(0, -1)
    with pytest.raises(InvalidArgument, match=says("frames must be at least 1, not 0")):
        FrameMemory(0)
    with pytest.raises(InvalidArgument, match=says("word must be an unsigned 64-bit value, not -1")):
        memory.write_word(0, 0, -1)
    assert not memory.words.any()
