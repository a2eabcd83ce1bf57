"""The calls that a kernel booted with memblock=debug printed, and the addresses it was given."""

import json
import os
import re
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("STRUCTPAGE_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))
BOOTS = [pytest.param(path, id=path.name) for path in sorted(SHARED.glob("boot_*"))]

RANGED = re.compile(r"(memblock_\w+): \[(0x\w+)-(0x\w+)\] (\S+)")
ALLOC = re.compile(r"(memblock_\w+): (\d+) bytes align=(\S+) (?:nid=(-?\d+) )?from=(\S+) max_addr=(\S+)")
REGION = re.compile(r" (memory|reserved)\[0x\w+\]\t\[(\S+)-(\S+)\], \S+ bytes(?: on node (\d+))? flags: (\S+)")


def calls(folder):
    """Yield (name, arguments) of each call, and ("dump", {array: rows}) of each dump of both arrays."""
    dump = None
    for line in (folder / "dmesg").read_text().splitlines():
        text = re.sub(r"^\[ *\d+\.\d+\](?:\[.*?\])? ?", "", line)
        if text.startswith("MEMBLOCK configuration"):
            dump = {"memory": [], "reserved": []}
        elif dump is not None and (found := REGION.search(" " + text.lstrip())):
            name, first, last, nid, flags = found.groups()
            base = int(first, 16)
            dump[name].append((base, int(last, 16) + 1 - base, 1024 if nid is None else int(nid), int(flags, 16)))
        elif found := ALLOC.search(text):
            yield from dumped(dump)
            dump = None
            name, size, align, nid, start, end = found.groups()
            yield name, (int(size), int(align, 16), int(start, 16), int(end, 16), -1 if nid is None else int(nid))
        elif found := RANGED.search(text):
            yield from dumped(dump)
            dump = None
            name, first, last, caller = found.groups()
            base = int(first, 16)
            allocates = "alloc_range_nid" in caller and name == "memblock_reserve"
            yield "given" if allocates else name, (base, int(last, 16) + 1 - base)


def dumped(dump):
    if dump is not None and dump["memory"]:
        yield "dump", dump


def recorded(folder):
    """Both arrays as they were in the end."""
    told = json.loads((folder / "memblock.json").read_text())
    return [
        [tuple(row[key] for key in ("base", "size", "nid", "flags")) for row in told[name]["regions"]]
        for name in ("memory", "reserved")
    ]
