"""What holds of every file: real ones come back byte for byte, and a text that no kernel prints is refused."""

from __future__ import annotations

import re

import pytest
from helpers import says
from hypothesis import example, given
from hypothesis import strategies as st
from procfs_text import FOLDERS, KINDS, RECORDS, parse, sample, show

from structpage import procfs
from structpage.errors import InvalidArgument, TraceError

PLACE = r"(?:(?:word of )?line [1-9][0-9]*(?: from column [1-9][0-9]*)?|text) must be .*"
PIECES = [
    " ",
    "\n",
    "\n\n",
    "0",
    "-1",
    ">",
    ".",
    ",",
    "x",
    "\0",
    "\r",
    "\t",
    "\u0663",
    "9" * 30,
    "1e3",
    "Node 0, zone ",
]


def refused_or_exact(kind, text):
    """Read a text, which must be refused with the place or come back the same."""
    try:
        records = parse(kind, text)
    except TraceError as error:
        records, message = None, str(error)
    if records is None:
        assert re.fullmatch(PLACE, message)
    else:
        assert show(kind, records) == text
    return records


@st.composite
def edited(draw, text):
    """A text with a few pieces put in, left out, or moved."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 3) | st.integers(0, 400)))
        piece = draw(st.sampled_from(PIECES) | st.text(max_size=3) | st.just(text[end : end + end - start]))
        text = text[:start] + piece + text[end:]
    return text


@pytest.mark.parametrize(("kind", "version"), [*((kind, "6.1") for kind in KINDS), ("zoneinfo", "6.18")])
def test_a_real_file_comes_back(kind, version):
    text = sample(kind, version)
    assert show(kind, parse(kind, text)) == text


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_captured_file_comes_back(folder):
    files = [(kind, path) for kind in KINDS for path in folder.glob(f"{kind}*")]
    assert {kind for kind, _ in files} == {"buddyinfo", "pagetypeinfo", "zoneinfo", "slabinfo"}
    for kind, path in files:
        text = path.read_bytes().decode("ascii")
        assert show(kind, parse(kind, text)) == text, path.name


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_records_come_back(kind, data):
    records = tuple(data.draw(RECORDS[kind]))
    assert parse(kind, show(kind, records)) == records


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_edited_file_is_refused_or_another_one(kind, data):
    refused_or_exact(kind, data.draw(edited(sample(kind))))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_edited_text_of_records_is_refused_or_another_one(kind, data):
    refused_or_exact(kind, data.draw(edited(show(kind, data.draw(RECORDS[kind])))))


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
@example("\n")
@example("\0\1\2\xff")
@example("Node")
def test_any_other_text_is_refused(kind, text):
    assert refused_or_exact(kind, text) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_is_refused_but_between_its_parts(kind):
    """The parts are nodes in pagetypeinfo, caches in slabinfo, else zones."""
    text = sample(kind)
    part = {"pagetypeinfo": "Page ", "slabinfo": r"[\w-]+ +\d+ "}.get(kind, "Node ")
    parts = {match.start() for match in re.finditer(rf"(?m)^{part}|\Z", text)}
    parts.discard(min(parts))
    ends = {match.start() + shift for match in re.finditer("\n", text) for shift in (-5, -1, 0, 1)}
    assert {end for end in ends if refused_or_exact(kind, text[:end])} == parts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_another_file_is_refused(kind, other):
    if other != kind and {kind, other} != {"extfrag_index", "unusable_index"}:
        assert refused_or_exact(kind, sample(other)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_a_million_characters(kind):
    """With a step for each pair of its lines this would not end."""
    text = sample(kind)
    titles = text.index("\n", text.index("\n") + 1) + 1 if kind == "slabinfo" else 0
    times = 1_000_000 // len(text)
    long = text[:titles] + text[titles:] * times
    assert parse(kind, long) == parse(kind, text) * times
    assert refused_or_exact(kind, long + "x") is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", ["\n", " ", "9", "0 ", "-", "Node ", "Node 0, zone ", "      nr 0\n", "    cpu: 0\n"])
def test_a_million_characters_of_nothing_are_refused(kind, piece):
    many = piece * (1_000_000 // len(piece))
    for text in (many, sample(kind) + many, sample(kind)[:-1] + many):
        assert refused_or_exact(kind, text) is None


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_refused(kind):
    with pytest.raises(InvalidArgument, match=says("text must be a str, not bytes")):
        parse(kind, sample(kind).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_text_is_refused(kind):
    message = "text must be that of at least one zone, not empty"
    if kind == "slabinfo":
        message = "line 1 must be the line 'slabinfo - version: 2.1', not the end of the text"
    with pytest.raises(TraceError, match=says(message)):
        parse(kind, "")


NUMBER = "a number from 0 to 18446744073709551615"
MESSAGES = {
    "buddyinfo": [
        ("  DMA ", "  DMB ", "word of line 1 must be one of DMA, DMA32, Normal, HighMem, Movable, Device, not 'DMB'"),
        (" 62 ", "-62 ", f"word of line 4 must be {NUMBER}, not '-62'"),
        (" 62 ", ">62 ", f"word of line 4 must be {NUMBER}, not '>62'"),
        (" 62 ", "9" * 20 + " ", f"word of line 4 must be {NUMBER}, not '99999999999999999999'"),
        (" 62 ", "9" * 5000 + " ", f"word of line 4 must be {NUMBER}, not '{'9' * 60}'"),
        (" 62 ", "6\u00b2 ", f"word of line 4 must be {NUMBER}, not '6\u00b2'"),
        ("DMA ", "DMA\n", "line 1 must be a row with values, not 'Node 0, zone      DMA'"),
        ("1, zone", "1, zoo", "line 4 must be a row of Node, zone, not "
         "'Node 1, zoo   Normal    901    826    584    518    244    1'"),
        (" 62 ", "", "line 4 must be a row of 11 values, not "
         "'Node 1, zone   Normal    901    826    584    518    244    '"),
        (" 62 ", " 62", "line 4 from column 99 must be ' \\n', not '\\n'"),
        (" 62 \n", " 62 ", "line 4 from column 100 must be '\\n', not the end of the text"),
        (" 62 \n", " 062 \n", "line 4 from column 97 must be '62 \\n', not '062 \\n'"),
        (" 62 \n", " 62 \n\n", "line 5 must be the line 'Node', not ''"),
    ],
    "pagetypeinfo": [
        ("block:  512", "block:  511", "line 2 from column 21 must be '2\\n', not '1\\n'"),
        ("order: 9", "order: 64", "word of line 1 must be a number from 0 to 63, not '64'"),
        ("      2     31 \n", "      2 \n", "line 11 must be a row of 11 values, not "
         "'Node    0, zone    DMA32, type      Movable      4      3   '"),
        ("   118            0 ", "   118 ", "line 23 must be a row of 5 values, not "
         "'Node 0, zone    DMA32            2          118            0'"),
        ("\n\nFree", "\nFree", "line 3 must be blank, not "
         "'Free pages count per migrate type at order       0      1   '"),
        ("e      Movable", "e      Movible", "word of line 6 must be one of Unmovable, Movable, Reclaimable, "
         "HighAtomic, CMA, Isolate, not 'Movible'"),
        ("Reclaimable   HighAtomic ", "Reclaimable ", "line 21 must be of the types that each zone has above, not "
         "'Number of blocks type     Unmovable      Movable  Reclaimabl'"),
        ("Node 0, zone    DMA32    ", "Node 0, zone      DMA    ", "line 23 must be the row of Node 0, zone DMA32, not "
         "'Node 0, zone      DMA            2          118            0'"),
        ("\nPage block order: 9\nPages per block:  512\n\nFree", "\n\nFree", "line 26 must be the line "
         "'Number of mixed blocks', not 'Free pages count per migrate type at order       0      1   '"),
    ],
    "zoneinfo": [
        ("        min      188\n", "", "line 48 must be the line 'min', not '        low      235'"),
        ("min      188", "min      1 88", f"word of line 48 must be {NUMBER}, not '1 88'"),
        ("anon 141", "anon", "line 3 must be a counter and its value, not '      nr_inactive_anon'"),
        ("  start_pfn:           1\n", "", "line 85 must be the line 'start_pfn:', not 'Node 0, zone    DMA32'"),
        ("present  3998", "present  0", "line 56 must be the line 'Node', not '      nr_free_pages 3808'"),
        ("(0, 134,", "(0 134,", "line 55 from column 23 must be ', 134, 381, 381, 381)\\n', not "
         "' 134, 381, 381, 381)\\n'"),
    ],
    "slabinfo": [
        ("2.1", "1.1", "line 1 must be the line 'slabinfo - version: 2.1', not 'slabinfo - version: 1.1'"),
        ("  21    1 :", "  21 :", "line 3 must be the line of a cache, not "
         "'bio-128               21     21    192   21 : tunables    0 '"),
        ("tunables    0", "tunable     0", "line 3 must be the line of a cache, not "
         "'bio-128               21     21    192   21    1 : tunable  '"),
        ("    192   21", "    -92   21", f"word of line 3 must be {NUMBER}, not '-92'"),
        ("bio-128  ", "bio-128 ", "line 3 from column 22 must be ' 21     21    192   21    1 : tunables    0    0    0"
         " : slab', not '21     21    192   21    1 : tunables    0    0    0 : slabd'"),
    ],
    "extfrag_index": [("-1.000", "-1.0-0", f"word of line 1 must be {NUMBER}, not '0-0'")],
    "unusable_index": [("0.193 \n", "0.19 \n", "line 1 from column 85 must be '019 \\n', not '19 \\n'")],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new", "message"), [(kind, *row) for kind in KINDS for row in MESSAGES[kind]])
def test_a_message_tells_the_line(kind, old, new, message):
    text = sample(kind)
    assert old in text
    with pytest.raises(TraceError, match=says(message)):
        parse(kind, text.replace(old, new, 1))


def test_pagetypeinfo_has_a_zone():
    text = sample("pagetypeinfo").partition("Node")[0] + "\nNumber of blocks type     Unmovable \n"
    message = "line 6 must be of the types that each zone has above, not 'Number of blocks type     Unmovable '"
    with pytest.raises(TraceError, match=says(message)):
        parse("pagetypeinfo", text)


def test_the_public_names_are_a_reader_and_a_printer_of_each_file():
    functions = {f"{verb}_{kind}" for verb in ("parse", "format") for kind in KINDS}
    assert functions == {name for name in procfs.__all__ if name.startswith(("parse", "format"))}
