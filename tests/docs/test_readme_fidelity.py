"""The README's table of captures is made of the committed rows, and its command replays the shipped one."""

import json
import re
from pathlib import Path

import pytest

from structpage.cli import parser
from structpage.tables import text_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.partition("\n## Linux, page for page\n")[2].partition("\n## ")[0]
ROWS = json.loads((ROOT / "docs" / "explanation" / "fidelity.json").read_text("utf-8"))
SOURCES = {source: {row["capture"]: row for row in ROWS if row["source"] == source} for source in ("hints", "kmem")}


def figures(name):
    hints, kmem = (rows[name] for rows in SOURCES.values())
    alike = all(hints[f"final_{what}_identical"] for what in ("lists", "pcp", "buddyinfo"))
    share = f"{100 * kmem['exact'] / kmem['requests']:.2f} %"
    return name, f"{hints['requests']:,}", f"{hints['exact']:,}", "identical" if alike else "not identical", share


def test_the_table_is_made_of_the_committed_rows():
    header = ("capture", "allocations", "exact", "final lists", "kmem alone")
    assert f"```text\n{text_table(header, [figures(name) for name in SOURCES['hints']])}\n```" in SECTION


def test_every_capture_has_both_rows_and_no_row_says_more_than_it_can():
    assert SOURCES["hints"].keys() == SOURCES["kmem"].keys()
    for row in ROWS:
        assert row["exact"] <= row["requests"]
        assert (row["first_miss"] is None) == (row["exact"] == row["requests"])
        for what in ("removals", "fallbacks"):
            assert row[what]["exact"] <= row[what]["total"]


def test_the_command_replays():
    (command,) = re.findall(r"^```sh\n(.*?)\n```$", SECTION, re.DOTALL | re.MULTILINE)
    options = parser().parse_args(command.split(".venv/bin/structpage ")[1].split())
    assert options.command == "replay"
    assert options.capture is None


@pytest.mark.parametrize("row", [row for row in ROWS if row["capture"] == "mixed"], ids=lambda row: row["source"])
def test_the_committed_rows_of_the_shipped_capture_are_those_of_a_run_now(row):
    from structpage import open_workload, replay_capture

    found = replay_capture(open_workload("mixed"), requests=row["source"], engine="plain").as_dict()
    assert {**found, "seconds": row["seconds"], "source": row["source"]} == row
