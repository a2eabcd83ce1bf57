"""Boot a machine whose metadata lie in its own memory, and show what was taken of it, when and by whom."""

from __future__ import annotations

import argparse
from pathlib import Path

from structpage.arguments import byte_size
from structpage.cli.output import print_result
from structpage.errors import InvalidArgument, TraceError, must

NAME = "boot"
HELP = "what boot takes of a memory, for every placement"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "memory",
        nargs="?",
        default="1G",
        metavar="MEMORY",
        help="a size such as 512M (by default 1G), or a file: an e820 map as the kernel prints it, or /proc/iomem",
    )
    parser.add_argument("--placement", metavar="NAME", help="show this one's boot row by row; by default compare all")
    parser.add_argument("--descriptor-bytes", type=int, metavar="N", help="64, 32, 16 or 8; by default what it needs")
    parser.add_argument("--reserve", type=int, default=0, metavar="N", help="nodes that the placement has at first")
    parser.add_argument("--nodes", metavar="RULE", help="when others are allocated; by default at-allocation")
    parser.add_argument("--deferred", action="store_true", help="hand over the first section of the last zones only")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print one boot's report, or all placements' costs; 0."""
    from structpage.experiments.bootstrap import boot_costs
    from structpage.machine import Machine
    from structpage.machine.booting import DESCRIPTOR_BYTES

    memory = _memory(options.memory)
    if options.placement is None:
        if options.reserve or options.deferred or options.nodes is not None:
            rule = "given for --reserve, --nodes and --deferred"
            raise InvalidArgument(must("--placement", rule, "left out"))
        sizes = DESCRIPTOR_BYTES if options.descriptor_bytes is None else (options.descriptor_bytes,)
        print_result(boot_costs(memory, descriptor_bytes=sizes), as_json=options.json)
        return 0
    machine = Machine.boot(
        memory,
        options.placement,
        descriptor_bytes=options.descriptor_bytes,
        start="deferred" if options.deferred else "free",
        reserve=options.reserve,
        nodes=options.nodes or "at-allocation",
    )
    assert machine.boot_report is not None  # it booted
    print_result(machine.boot_report, as_json=options.json)
    return 0


def _memory(told: str) -> str:
    # A size, or the text of a file, which is a map.
    path = Path(told)
    if not path.is_file():
        byte_size("MEMORY, which is no file,", told)
        return told
    text = path.read_bytes().decode("utf-8", "replace")
    if "[mem " not in text and "System RAM" not in text:
        raise TraceError(must(f"file {told}", "an e820 map or /proc/iomem", "neither"))
    return text
