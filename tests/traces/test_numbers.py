import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trace_text import ALLOC, FREE, PREFIX, changed, changes, trace_lines

from structpage.errors import TraceError
from structpage.traces.lines import cut_blanked, cut_line
from structpage.traces.numbers import MARK, blanked


def blank(*lines):
    return blanked("".join(lines).encode("latin-1"))


def test_time_and_pfn_are_read_and_blanked():
    found = blank(ALLOC, FREE)
    assert found.time.tolist() == [8_822_809] * 2
    assert found.pfn.tolist() == [0x101BC8] * 2
    assert found.ends.tolist() == [len(ALLOC) - 1, len(ALLOC + FREE) - 1]
    shown = found.lines[1].replace(MARK, b"~").decode()
    assert shown == (
        "            init-122     [000] d..3.     ~.~~~~~~: mm_page_free: page=~~~~~~~~~~~~~~~~ pfn=0x~~~~~~ order=2"
    )


def test_lines_that_differ_in_their_numbers_alone_are_blanked_to_one():
    other = FREE.replace("8.822809", "7.000001").replace("0x101bc8", "0xabcdef").replace("deadbeef", "00000001")
    assert len(set(blank(FREE, other).lines)) == 1
    assert len(set(blank(FREE, FREE.replace("order=2", "order=3")).lines)) == 2


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        ("0.000000", 0),
        ("123456789012.345678", 123_456_789_012_345_678),
        ("1.123456789", 1_123_456),
        ("5.999999999", 5_999_999),
        ("123456789012345678", 123_456_789_012_345_678),
    ],
)
def test_time_stamps(stamp, time):
    found = blank(FREE.replace("8.822809", stamp))
    assert found.time.tolist() == [time]
    assert cut_blanked(found.lines[0]) is not None


@pytest.mark.parametrize(
    ("text", "pfn"), [("0x0", 0), ("0x1f", 31), ("0xfffffffffffff", (1 << 52) - 1), ("9", 9), ("1534487", 1534487)]
)
def test_pfns(text, pfn):
    found = blank(FREE.replace("0x101bc8", text))
    assert found.pfn.tolist() == [pfn]
    assert cut_blanked(found.lines[0]).pfn != b""


@pytest.mark.parametrize(
    "line",
    [
        FREE.replace("0x101bc8", "0"),
        FREE.replace("0x101bc8", "012"),
        FREE.replace("0x101bc8", "0x12345678901234"),
        FREE.replace("0x101bc8", "0xABC"),
        FREE.replace("8.822809", "1234567890123.822809"),
        FREE.replace("8.822809", "8.82280"),
        FREE.replace("8.822809", "8.8228091234"),
        FREE.replace("init-122", "ini 1: t-122"),
        FREE.replace("init-122", "[n] init-122"),
        "# 1: comment\n",
        "\n",
    ],
)
def test_what_is_not_usual_is_left_to_the_reader_of_single_lines(line):
    assert cut_blanked(blank(line).lines[0]) is None


def test_numbers_of_other_lines_do_not_matter():
    lines = ["\n", FREE, "rubbish\n", "# 7: x pfn=0x1\n", PREFIX + "vmfold: (f)\n", ALLOC.replace("0x101bc8", "0x5")]
    found = blank(*lines)
    assert found.pfn[[1, 4, 5]].tolist() == [0x101BC8, -1, 5]
    assert found.time[[1, 4, 5]].tolist() == [8_822_809] * 3
    assert found.lines[2] == b"rubbish"


def test_only_the_first_numbers_of_a_line_are_read():
    found = blank(FREE.replace("order=2", "order=2 x=1: y pfn=0x7"))
    assert (found.time.tolist(), found.pfn.tolist()) == ([8_822_809], [0x101BC8])
    assert cut_blanked(found.lines[0]).rest == b"order=2 x=1: y pfn=0x7"


def test_a_chunk_with_a_mark_of_its_own_has_no_usual_line():
    found = blank(FREE, "\1\n", ALLOC)
    assert [cut_blanked(line) for line in found.lines] == [None] * 3
    assert found.ends.tolist() == [len(FREE) - 1, len(FREE) + 1, len(FREE + ALLOC) + 1]


@given(
    st.sampled_from(["us", "counter"]).flatmap(lambda clock: trace_lines(clock=clock)), st.lists(changes, max_size=9)
)
@example([PREFIX + "x: page=1 pfn=x12 order=0\n"], [])
@example([PREFIX + "x: page=(____ptrval____) pfn=0x order=0\n"], [])
@example([PREFIX + "x: page_=1 pfn=12 order=0\n"], [])
@example([PREFIX + "x: page_=(____ptrval____) pfn=y order=0\n"], [])
def test_a_usual_line_says_what_the_line_by_itself_says(lines, damage):
    lines = [*map(changed, lines, damage), *lines[len(damage) :]]
    found = blank(*lines)
    assert len(found.lines) == len(found.ends) == len(lines)
    for line, cut, time, pfn in zip(lines, found.lines, found.time.tolist(), found.pfn.tolist(), strict=True):
        usual = cut_blanked(cut)
        if usual is None:
            continue
        alone = cut_line(line[:-1].encode())
        assert (alone.head, alone.name, alone.rest) == (usual.head, usual.name, usual.rest)
        seconds, _, decimals = alone.time.partition(b".")
        assert time == int(seconds + decimals[:6])
        assert pfn == (int(alone.pfn, 0) if alone.pfn else -1)


@given(trace_lines())
def test_lines_of_ftrace_are_usual(lines):
    for line, cut in zip(lines, blank(*lines).lines, strict=True):
        if "[w]" not in line and "d[0]" not in line:
            assert cut_blanked(cut) is not None


def test_padding_of_the_chunk_is_no_part_of_it():
    for text in ("1: 1\n", ": \n", "= pfn=\n", "1.1: pfn=1\n", "pfn=0x\n"):
        found = blank(text)
        assert (len(found.lines), found.ends.tolist()) == (1, [len(text) - 1])
        with pytest.raises(TraceError):
            cut_line(text[:-1].encode())


def test_columns_are_int64():
    assert {column.dtype for column in blank(FREE)[1:]} == {np.dtype(np.int64)}
