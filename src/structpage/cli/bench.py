"""Time every engine and placement, beside a twin in C, or the slab: nanoseconds per operation."""

from __future__ import annotations

import argparse
import sys

from structpage.cli.output import print_result
from structpage.cli.progress import progress
from structpage.errors import InvalidArgument, must

NAME = "bench"
HELP = "nanoseconds per operation, beside a twin in C"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    several = (
        ("--engine", str, "NAME", "an engine, c-twin or a peer"),
        ("--placement", str, "NAME", "a placement"),
        ("--workload", str, "a|b|c", "frees in order, frees in random order, mixed"),
        ("--frames", int, "N", "frames of memory; default 262144"),
        ("--stamp", str, "every|head", "frames of an allocation that name its owner"),
    )
    for option, kind, metavar, what in several:
        parser.add_argument(
            option, action="append", type=kind, metavar=metavar, help=f"{what}; only this one, may be repeated"
        )
    parser.add_argument(
        "--slab", action="store_true", help="objects of a slab cache beside pages, on --engine, instead"
    )
    parser.add_argument("--full", action="store_true", help="2^14 to 2^22 frames, and Python peers where installed")
    parser.add_argument("--twin", metavar="FILE", help="the twin's c_twin.py, if this is not run from a checkout")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the rows, and on stderr what was left out; 0."""
    from structpage.experiments import bench

    if options.slab:
        from structpage.experiments.slab_bench import slab_bench

        for option in ("workload", "frames", "stamp", "full", "twin"):
            if getattr(options, option):
                raise InvalidArgument(must(f"--{option}", "left out with --slab", getattr(options, option)))
        print_result(slab_bench(options.engine, options.placement), as_json=options.json)
        return 0
    plan = bench.plan(
        engines=options.engine,
        placements=options.placement,
        workloads=options.workload,
        frames=options.frames,
        stamps=options.stamp,
        full=options.full,
        twin=options.twin,
    )
    for line in plan.left_out:
        print(line, file=sys.stderr)
    with progress(plan.steps) as step:
        result = plan.run(step)
    print_result(result, as_json=options.json, indent=1)
    return 0
