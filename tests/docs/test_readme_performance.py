"""The README's figures are those of the committed rows, and its command makes such rows."""

import json
import re
import tomllib
from pathlib import Path

from structpage.cli import parser
from structpage.core.placements import BUILTIN
from structpage.tables import text_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.partition("\n## Performance\n")[2].partition("\n## ")[0]
ROWS = json.loads((ROOT / "docs" / "explanation" / "performance.json").read_text("utf-8"))["rows"]
MEASURED = {row["placement"] for row in ROWS if row["engine"] == "compiled"}
WHO = [("c-twin", "side-table"), *(("compiled", name) for name in BUILTIN if name in MEASURED), ("plain", "side-table")]


def least(engine, placement, stamp):
    (row,) = [
        row
        for row in ROWS
        if (row["engine"], row["placement"], row["stamp"]) == (engine, placement, stamp)
        and (row["workload"], row["frames"]) == ("c", 1 << 18)
    ]
    return row["min_ns"]


def figures(engine, placement):
    for stamp in ("head", "every"):
        yield f"{least(engine, placement, stamp):.1f}"
        yield f"{least(engine, placement, stamp) / least('c-twin', 'side-table', stamp):.2f}"


def test_the_table_is_made_of_the_committed_rows():
    header = ("engine", "placement", "head", "x twin", "every", "x twin")
    assert f"```text\n{text_table(header, [(*who, *figures(*who)) for who in WHO])}\n```" in SECTION


def test_the_command_installs_extras_that_exist_and_runs_the_bench():
    (command,) = re.findall(r"^```sh\n(.*?)\n```$", SECTION, re.DOTALL | re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.search(r"-e \"\.\[([\w,]+)\]", command)[1].split(",")) <= set(extras)
    assert parser().parse_args(command.split(".venv/bin/structpage ")[1].split()).command == "bench"
