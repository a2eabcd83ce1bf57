"""`structpage boot`: a table of all placements, one placement row by row, and what goes wrong in one line."""

import json

import pytest

from structpage.cli import main
from structpage.placing import placement_names


def test_all_placements(capsys):
    assert main(["boot", "16M", "--descriptor-bytes", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == placement_names()


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
    ],
)
def test_errors_are_told(capsys, arguments):
    assert main(["boot", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("structpage boot: ")


def test_an_empty_file(capsys, tmp_path):
    path = tmp_path / "empty"
    path.write_text("")
    assert main(["boot", str(path)]) == 2
    assert "must be" in capsys.readouterr().err
