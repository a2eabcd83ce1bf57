"""What a measured time is worth nothing without: the machine that it was taken on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

CPU = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def describe() -> dict[str, Any]:
    """Return the machine in plain values; `None` for what it does not tell, or does not have.

    `cpu`, its model; `cores`; `caches` of the first core, each a size by name; `memory` in bytes; `os`; versions of
    `python`, `numpy`, `numba` and `gcc`; the `date` in UTC.
    """
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "memory": memory_bytes(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        "gcc": gcc_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def cpu_model() -> str | None:
    """Return the model of the processor as Linux names it, elsewhere as Python does."""
    if CPU.exists():
        for line in CPU.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def caches() -> dict[str, str]:
    """Return the sizes of the first core's caches by level and type, as `{"L1 data": "32K"}`; empty if untold."""
    found = {}
    for folder in sorted(CACHES.glob("index*")):
        level, kind, size = ((folder / name).read_text("ascii").strip() for name in ("level", "type", "size"))
        found[f"L{level}" if kind == "Unified" else f"L{level} {kind.lower()}"] = size
    return found


def memory_bytes() -> int | None:
    """Return the size of physical memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def gcc_version() -> str | None:
    """Return the version of gcc, `None` where there is none."""
    if shutil.which("gcc") is None:
        return None
    asked = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
