"""The README: its code runs, its commands are those that CI and a new user run."""

import re
import tomllib
from pathlib import Path

import structpage as sp
from structpage.cli import parser
from structpage.core.placements import BUILTIN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def command(marker):
    return re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```\n<!-- /{marker} -->", README, re.DOTALL)[1].strip()


def test_the_notebook_runs_and_its_comments_are_true():
    (code,) = blocks("python")
    namespace = {}
    exec(code, namespace)
    pages, buddy = namespace["pages"], namespace["buddy"]
    assert pages.nbytes == 16 * len(pages) == 16 << 18
    assert buddy.placement == "in-page"
    pfn = buddy.alloc(order=3, owner="dentry")
    assert f"# {pages[pfn + 5]!r}\n" in code


def test_both_commands_stand_on_the_first_screen():
    screen = README.splitlines()[:24]
    assert command("main") in screen
    assert command("test") in screen


def test_the_commands_install_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for marker in ("main", "test"):
        wanted = re.search(r"\.\[([\w,]+)\]", command(marker))[1].split(",")
        assert set(wanted) <= set(extras)


def test_the_main_command_is_one_that_exists():
    arguments = command("main").split(".venv/bin/structpage ")[1].split()
    assert parser().parse_args(arguments).command == "compare"


def test_ci_takes_the_test_command_from_here():
    assert "<!-- test -->" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_table_has_a_row_per_placement():
    table = next(text for text in blocks("text") if text.startswith("placement"))
    rows = [line.split()[0] for line in table.splitlines()[1:] if "  " in line]
    assert rows == list(BUILTIN) == sp.placement_names()
