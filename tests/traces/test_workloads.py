import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_archive import CAPTURE
from trace_text import ALLOC, capture_folder

import structpage
from structpage.errors import TraceError, UnknownName
from structpage.traces import Capture, open_workload, read_capture, save, shipped


def test_the_shipped_capture():
    assert shipped() == ("mixed",)
    capture = open_workload("mixed")
    assert isinstance(capture, Capture)
    assert (capture.name, capture.kernel, len(capture.events)) == ("mixed", "6.1.192", 631580)
    assert [zone["name"] for zone in capture.before["nodes"][0]["zones"]] == ["DMA", "DMA32", "Normal"]
    assert capture.events.counts()["mm_page_alloc"] == 192061
    assert (Path(structpage.__file__).parent / "data" / "mixed.npz").stat().st_size < 3_000_000


def test_the_shipped_capture_is_the_recorded_one():
    recorded, own = read_capture(capture_folder("mixed")), open_workload("mixed")
    assert own.events.equals(recorded.events)
    for name in ("name", "kernel", "meta", "before", "after", "proc", "probes"):
        assert getattr(own, name) == getattr(recorded, name)


def test_paths_of_each_kind(tmp_path):
    (tmp_path / "text").write_text(ALLOC)
    save(tmp_path / "archive", CAPTURE)
    save(tmp_path / "archive.npz", CAPTURE.events)
    assert len(open_workload(tmp_path / "text")) == 1
    assert open_workload(tmp_path / "archive").name == "n"
    assert open_workload(str(tmp_path / "archive.npz")).equals(CAPTURE.events)
    with pytest.raises(TraceError, match=r"^capture .* must be a folder with meta.json, not one that has archive, "):
        open_workload(tmp_path)


def test_a_damaged_archive_is_not_taken_for_text(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"hello")
    with pytest.raises(TraceError, match=r"^file x.npz must be a .npz file of a trace, not a damaged or foreign one"):
        open_workload(tmp_path / "x.npz")


def test_an_unknown_name_lists_the_shipped():
    with pytest.raises(UnknownName, match=r"^workload must be an existing path or one of mixed, not 'nothing'$"):
        open_workload("nothing")


def test_import_leaves_compression_alone():
    code = "import sys, structpage.traces; print(sorted({'lzma', 'gzip', 'zipfile', 'json'} & set(sys.modules)))"
    env = os.environ | {"PYTHONPATH": str(Path(structpage.__file__).parents[1])}
    before = "import sys, structpage; print(sorted({'lzma', 'gzip', 'zipfile', 'json'} & set(sys.modules)))"
    found, without = (
        subprocess.check_output([sys.executable, "-c", part], env=env, text=True) for part in (code, before)
    )
    assert found == without
