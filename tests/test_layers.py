"""Imports go down only: the layers, and the few lazy imports that go up."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import structpage

ROOT = Path(structpage.__file__).parent
LAYERS = [
    {"core"},
    {"errors", "arguments", "mapping", "registry", "tables"},
    {"pages", "frames", "zones", "owners", "engines", "metrics", "lanes", "decoding", "procfs", "gfp", "sizing"},
    {
        "boot",
        "machine",
        "hosting",
        "placing",
        "state",
        "allocator",
        "check",
        "refusal",
        "request",
        "replay",
        "timeline",
        "streaming",
        "consumers",
        "slab",
    },
    {"traces", "fidelity", "experiments", "display", "testing", "data"},
    {"cli", "__main__", "__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LAZY = {("state", "display")}
"""Imports within functions that go up: pictures are drawn only when they are asked for."""


def module_name(path):
    return path.relative_to(ROOT).with_suffix("").parts


def imports(path):
    """Yield (module, whether it is run at import) of every import, those for type checking left out."""

    def visit(node, at_import):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((name if node.module == "structpage" else node.module, at_import) for name in names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not inside)

    return set(visit(ast.parse(path.read_text("utf-8")), True))


def edges():
    for path in ROOT.rglob("*.py"):
        here = module_name(path)[0]
        for name, at_import in imports(path):
            if name.split(".")[0] == "structpage" and len(name.split(".")) > 1:
                there = name.split(".")[1]
                if there in LEVEL and there != here:
                    yield here, there, at_import


def test_every_module_has_a_layer():
    assert {module_name(path)[0] for path in ROOT.rglob("*.py")} <= LEVEL.keys()


def test_core_imports_core_and_the_standard_library():
    for path in (ROOT / "core").rglob("*.py"):
        for name, _ in imports(path):
            top = name.split(".")[0]
            assert name.startswith("structpage.core") or top in sys.stdlib_module_names, (path.name, name)


def test_imports_go_down():
    up = {(here, there) for here, there, at_import in edges() if at_import and LEVEL[here] < LEVEL[there]}
    assert up == set()


def test_lazy_imports_that_go_up_are_those_that_are_listed():
    up = {(here, there) for here, there, at_import in edges() if not at_import and LEVEL[here] < LEVEL[there]}
    assert up <= LAZY


def test_there_are_edges_to_judge():
    known = set(edges())
    assert ("allocator", "core", True) in known
    assert ("state", "display", False) in known


def test_numpy_is_all_that_an_import_needs():
    code = (
        "import sys, structpage; structpage.BuddyAllocator(8).alloc(); "
        "heavy = {'numba', 'matplotlib', 'pandas', 'tqdm', 'hypothesis', 'pytest'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
