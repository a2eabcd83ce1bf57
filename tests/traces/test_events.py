import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_text import ALLOC, FREE, PREFIX, read, trace_lines

from structpage.errors import InvalidArgument, UnknownName
from structpage.traces.events import EVENT_KINDS

STEAL = PREFIX + "steal: (steal_suitable_fallback+0x0/0x320) zone=0x1 page=0x2 whole=1\n"


def test_kinds_begin_with_the_fixed_ones_and_counts_name_those_that_occur():
    events = read(ALLOC + STEAL + FREE + FREE)
    assert events.kinds == (*EVENT_KINDS, "steal")
    assert events.counts() == {"mm_page_alloc": 1, "mm_page_free": 2, "steal": 1}
    assert events.code("mm_page_free") == 1
    assert events.code("absent") == -1


def test_repr_says_what_is_wrong_with_the_trace():
    assert repr(read(ALLOC)) == "<Events 1 of 1 kinds, clock us>"
    damaged = read(ALLOC + "rubbish\nCPU:1 [LOST 7 EVENTS]\n")
    assert repr(damaged) == "<Events 1 of 1 kinds, clock us, 1 bad lines, 7 lost>"
    assert repr(read(ALLOC + "CPU:1 [LOST EVENTS]\n")) == "<Events 1 of 1 kinds, clock us, events lost>"


@given(trace_lines(), st.integers(-15, 15), st.integers(-15, 15))
def test_a_slice_is_the_trace_of_its_lines(lines, start, stop):
    whole = read("".join(lines))
    part = whole[start:stop]
    assert len(part) == len(lines[start:stop])
    for kind, table in part.details.items():
        own = whole.details[kind]
        first = range(len(lines))[start:stop].start
        inside = [row for row in own if first <= row["event"] < first + len(part)]
        assert [int(row["event"]) - first for row in inside] == table["event"].tolist()
    assert part.time.tolist() == whole.time.tolist()[start:stop]


def test_a_step_is_refused():
    with pytest.raises(
        InvalidArgument, match=r"^index of events must be a slice of step 1, not slice\(None, None, 2\)$"
    ):
        read(ALLOC)[::2]
    with pytest.raises(InvalidArgument, match=r"^index of events must be a slice of step 1, not 0$"):
        read(ALLOC)[0]


def test_texts_of_a_coded_detail():
    events = read(STEAL + ALLOC)
    assert events.texts("steal", "where") == ["steal_suitable_fallback+0x0/0x320"]
    with pytest.raises(UnknownName, match=r"^detail must be one that the trace has, not steal.nothing$"):
        events.texts("steal", "nothing")
    with pytest.raises(InvalidArgument, match=r"^detail must be a coded text, not steal.zone of int64$"):
        events.texts("steal", "zone")


def test_unknown_counts_what_has_no_fields():
    other = PREFIX + "some_event: only words\n"
    events = read(ALLOC + STEAL + other + other + PREFIX + "tracing_mark_write: hello\n")
    assert events.unknown == {"some_event": 2}
    assert events.texts("some_event", "text") == ["only words"] * 2


def test_equals_sees_every_column():
    events = read(ALLOC)
    assert events.equals(read(ALLOC))
    changes = {"pfn=0x101bc8": "pfn=0x101bc9", "order=2": "order=3", "=1 ": "=2 ", "_ZERO": "_NOWARN"}
    changes |= {"-122": "-123", "[000]": "[001]", "d..3.": "d..4.", ".822809": ".822810"}
    for old, new in changes.items():
        assert not events.equals(read(ALLOC.replace(old, new))), new
