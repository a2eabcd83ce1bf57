"""The documentation without Sphinx: every cell runs, every public name is there, no local link is dead.

A page is run in one fresh namespace and one empty folder, its cells in order, as a notebook would.
"""

import ast
import re
from pathlib import Path

import pytest

import structpage
import structpage.testing
from structpage.cli import COMMANDS
from structpage.errors import MissingExtra

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=ticks)[ ]*$", re.DOTALL | re.MULTILINE)
OPTIONAL = {"matplotlib", "pandas", "hypothesis"}


def title(path):
    return path.relative_to(DOCS).as_posix()


def cells(path):
    """Yield the line and the source of each code cell, without its `:option:` lines."""
    text = path.read_text("utf-8")
    for block in FENCE.finditer(text):
        if block["info"].startswith("{code-cell}"):
            source = re.sub(r"\A(?::[^\n]*\n)+", "", block["body"])
            yield text[: block.end()].count("\n") - source.count("\n"), source


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def run(source, name, line, namespace):
    """Run a cell, and show its last expression as a notebook would."""
    tree = ast.increment_lineno(ast.parse(source), line)
    shown = tree.body.pop().value if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if shown is not None:
        value = eval(compile(ast.Expression(shown), name, "eval"), namespace)
        assert isinstance(repr(value), str)
        if hasattr(value, "_repr_html_"):
            assert isinstance(value._repr_html_(), str)


@pytest.mark.parametrize("path", [path for path in PAGES if any(cells(path))], ids=title)
def test_every_cell_of_a_page_runs(path, tmp_path, monkeypatch, capsys):
    wanted = {name for _, source in cells(path) for name in imported(source)}
    for name in sorted(wanted & OPTIONAL):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("STRUCTPAGE_DOCS", str(DOCS))
    namespace = {"__name__": "__main__"}
    for line, source in cells(path):
        try:
            run(source, str(path), line, namespace)
        except MissingExtra as error:
            pytest.skip(str(error))


def test_pages_with_cells_are_notebooks_and_others_are_not():
    for path in PAGES:
        assert path.read_text("utf-8").startswith("---\nfile_format: mystnb\n") == any(cells(path)), title(path)


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for block in FENCE.finditer((DOCS / "index.md").read_text("utf-8")):
        if block["info"] == "{toctree}":
            listed |= {f"{line}.md" for line in block["body"].split("\n") if line and not line.startswith(":")}
    assert listed | {"index.md"} == {title(path) for path in PAGES}


def names_in(page):
    return set(re.findall(r"[\w.]+", (DOCS / page).read_text("utf-8")))


def test_every_public_name_is_in_the_api():
    assert {f"structpage.{name}" for name in structpage.__all__} <= names_in("reference/api.md")


def test_every_name_of_the_testing_kit_is_in_the_api():
    found = {name.replace(".strategies.", ".") for name in names_in("reference/api.md")}
    assert {f"structpage.testing.{name}" for name in structpage.testing.__all__} <= found


def test_every_command_is_in_the_command_line_reference():
    text = (DOCS / "reference" / "cli.md").read_text("utf-8")
    for command in COMMANDS:
        assert f"## structpage {command.NAME}\n" in text
        assert f'help_of("{command.NAME}")' in text


def anchors(path):
    """Return the anchors of a page's headings, as the site makes them."""
    text = FENCE.sub("", path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=title)
def test_no_local_link_is_dead(path):
    text = FENCE.sub("", path.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        page, _, anchor = target.partition("#")
        linked = (path.parent / page).resolve() if page else path
        assert linked in PAGES, f"{title(path)} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{title(path)} links to {target}"
