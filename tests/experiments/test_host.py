"""The description of the machine, where it tells something and where it does not."""

from __future__ import annotations

import datetime
import os
import platform

from structpage.experiments import host


def test_what_linux_tells(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A CPU: the second\nprocessor\t: 1\nmodel name\t: another\n")
    for index, (level, kind, size) in enumerate([("1", "Data", "32K"), ("2", "Unified", "1M")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    monkeypatch.setattr(host, "CPU", info)
    monkeypatch.setattr(host, "CACHES", tmp_path)
    machine = host.describe()
    assert machine["cpu"] == "A CPU: the second"
    assert machine["caches"] == {"L1 data": "32K", "L2": "1M"}
    assert machine["cores"] == os.cpu_count()
    assert machine["date"] == datetime.datetime.now(datetime.UTC).date().isoformat()


def test_what_nobody_tells(tmp_path, monkeypatch):
    def refuse(name):
        raise ValueError(name)

    for name in ("CPU", "CACHES"):
        monkeypatch.setattr(host, name, tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(os, "sysconf", refuse)
    monkeypatch.setenv("PATH", "")
    machine = host.describe()
    assert {machine[name] for name in ("cpu", "memory", "gcc")} == {None}
    assert machine["caches"] == {}
