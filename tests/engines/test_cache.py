"""Compiled code on disk: found again by the next process, and never when anything that went into it has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import workload

import structpage
from structpage import BuddyAllocator
from structpage.core import script
from structpage.core.placements.side_table import SideTable

pytest.importorskip("numba")
from structpage.engines import cache, compiled

PLACEMENT = """
from structpage.core.placements.side_table import SideTable
from constants import LAST

def chosen(pfn):
    return pfn

class Mine(SideTable):
    def push_front(self, lst, pfn):
        if LAST:
            self.push_back(lst, pfn)
        else:
            self.insert(lst, chosen(pfn))

    def insert(self, lst, pfn):
        here, head = 2 * pfn, self.heads + 2 * lst
        first = self.link[head]
        self.link[here], self.link[here + 1] = first, head
        self.link[first + 1] = self.link[head] = here
"""
RUN = """
import sys
import numpy as np
import structpage as sp
from mine import Mine
from structpage.request import requests

buddies = [sp.BuddyAllocator(64, Mine, max_order=3, engine=engine) for engine in ("plain", "compiled")]
script = requests([0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 1, 0, 1, 2])
plain, compiled = (buddy.replay(script).answers.tolist() for buddy in buddies)
assert plain == compiled, (plain, compiled)
print(plain[-1], "numba.core.typed_passes" in sys.modules)
"""


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """A project whose placement was compiled by one process; what that one printed, and what it said."""
    project = tmp_path_factory.mktemp("project")
    (project / "mine.py").write_text(PLACEMENT, "utf-8")
    (project / "constants.py").write_text("LAST = 0\n", "utf-8")
    return project, *run(project)


@pytest.fixture
def project(compiled_once, tmp_path):
    return shutil.copytree(compiled_once[0], tmp_path / "copy")


def run(project, code=RUN):
    """Run code in a new process; what it printed, and what it said it was doing."""
    paths = [str(project), str(Path(structpage.__file__).parents[1])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "STRUCTPAGE_CACHE_DIR": str(project / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=project, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def folders(project):
    return sorted(path.name for path in (project / "cache").iterdir())


def test_the_next_process_finds_it_and_a_change_is_never_missed(compiled_once, project):
    _, output, said = compiled_once
    assert said == ["compiling replay over Ranges, Buddy, TwoWord, LoopFill, Mine; once, some seconds"]
    (first,) = folders(project)
    assert run(project) == (output, [])
    assert folders(project) == [first]

    (project / "mine.py").write_text(PLACEMENT.replace("self.insert(lst", "self.push_back(lst"), "utf-8")
    changed, said = run(project)
    assert len(said) == 1
    assert changed.split()[0] != output.split()[0]
    assert len(folders(project)) == 2

    (project / "mine.py").write_text(PLACEMENT, "utf-8")
    assert run(project) == (output, [])

    (project / "constants.py").write_text("LAST = 1\n", "utf-8")
    assert run(project)[0] == changed
    assert len(folders(project)) == 3


def test_a_folder_that_cannot_be_written_only_costs_the_time(compiled_once, project):
    shutil.rmtree(project / "cache")
    (project / "cache").write_text("a file where the folder should be", "utf-8")
    output, said = run(project)
    assert output == compiled_once[1]
    assert len(said) == 1


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_file_is_deleted(compiled_once, project, suffix):
    (file,) = (project / "cache").rglob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[:100])
    output, said = run(project)
    assert output == compiled_once[1]
    assert len(said) == 1
    assert "cannot be read" in said[0]
    assert folders(project) == []


def test_a_class_without_a_file_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("STRUCTPAGE_CACHE_DIR", str(tmp_path))

    class Local(SideTable):
        def push_back(self, lst, pfn):
            self.push_front(lst, pfn)

    BuddyAllocator(64, Local, max_order=3, engine="compiled").replay(workload(20, frames=64, max_order=3))
    assert list(tmp_path.iterdir()) == []


# The digest


@pytest.fixture
def copied_core(tmp_path, monkeypatch):
    package = tmp_path / "core"
    shutil.copytree(Path(structpage.core.__file__).parent, package)
    monkeypatch.setattr(structpage.core, "__file__", str(package / "__init__.py"))
    return package


def classes():
    return compiled.classes_of(compiled.native_state(BuddyAllocator(8, max_order=2).ranges))


def test_the_digest_tells_every_file_of_the_core(copied_core):
    first = cache.digest(script.replay, classes())
    digests = {first}
    for file in copied_core.rglob("*.py"):
        text = file.read_bytes()
        file.write_bytes(text + b"\n")
        digests.add(cache.digest(script.replay, classes()))
        file.write_bytes(text)
    assert len(digests) == len(list(copied_core.rglob("*.py"))) + 1
    assert cache.digest(script.replay, classes()) == first


def test_the_digest_tells_classes_versions_and_numbers(monkeypatch):
    digests = {cache.digest(script.replay, classes()), cache.digest(script.replay, classes()[:-1])}
    monkeypatch.setattr(cache.numba, "__version__", "another")
    digests.add(cache.digest(script.replay, classes()))
    monkeypatch.setattr(script, "ALLOC", 17)
    digests.add(cache.digest(script.replay, classes()))
    assert len(digests) == 4


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("STRUCTPAGE_CACHE_DIR", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("STRUCTPAGE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "structpage"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "structpage"


def test_the_folders_used_longest_ago_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("STRUCTPAGE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "KEPT", 3)
    for number in range(5):
        folder = tmp_path / f"old{number}"
        folder.mkdir()
        (folder / cache.ENTRY_FILE).touch()
        os.utime(folder, (number, number))
    (tmp_path / "not ours").mkdir()
    new = cache._folder(script.replay, classes())
    assert {path.name for path in tmp_path.iterdir()} == {"not ours", "old3", "old4", new.name}
