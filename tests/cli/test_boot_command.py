"""`structpage boot`: a table of all placements, one placement row by row, and what goes wrong in one line."""

import json

import pytest

from structpage.cli import main
from structpage.placing import placement_names


def test_all_placements(capsys):
    assert main(["boot", "16M", "--descriptor-bytes", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == placement_names()
    assert "one word" in lines[-1]


def test_json(capsys):
    assert main(["boot", "16M", "--placement", "side-table", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["taken"] == sum(row["bytes"] for row in values["rows"])
    assert values["rows"][0]["who"] == "memmap"


def test_a_map_in_a_file(capsys, tmp_path):
    path = tmp_path / "e820"
    path.write_text("BIOS-e820: [mem 0x0000000000100000-0x0000000001ffffff] usable\n")
    assert main(["boot", str(path), "--placement", "in-words", "--deferred"]) == 0
    assert "descriptors" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["1K"],
        ["much"],
        ["16M", "--placement", "nowhere"],
        ["16M", "--placement", "side-table", "--reserve", "3"],
        ["16M", "--placement", "slab-nodes"],
        ["16M", "--placement", "slab-nodes", "--reserve", "64", "--nodes", "never"],
        ["16M", "--placement", "one-word", "--descriptor-bytes", "9"],
        ["16M", "--descriptor-bytes", "4"],
        ["16M", "--reserve", "5"],
        ["16M", "--nodes", "freed-page"],
        ["16M", "--deferred"],
        ["16M", "--placement", "side-table", "--nodes", "never"],
    ],
)
def test_errors_are_told(capsys, arguments):
    assert main(["boot", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("structpage boot: ")


@pytest.mark.parametrize("content", [b"", b"junk\n", bytes(range(256))])
def test_a_file_that_is_no_map(capsys, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert main(["boot", str(path)]) == 2
    assert capsys.readouterr().err == f"structpage boot: file {path} must be an e820 map or /proc/iomem, not neither\n"


def test_no_such_file(capsys, tmp_path):
    assert main(["boot", str(tmp_path)]) == 2
    assert "MEMORY, which is no file, must be a size" in capsys.readouterr().err
