"""Run the same requests over every placement, its loads and stores through a hierarchy of caches (extra `cache`)."""

from __future__ import annotations

import argparse

from structpage.cli.output import print_result
from structpage.cli.progress import progress

NAME = "cache"
HELP = "misses per operation in L1, L2 and L3"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "workload", nargs="?", metavar="TRACE|CAPTURE", help="as for compare; by default the shipped capture"
    )
    parser.add_argument("--placement", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--memory", metavar="SIZE", help="memory of a bare trace's machine, as 512M or 4G")
    parser.add_argument(
        "--owner", choices=["idle", "fills", "fills-and-reads"], default="idle", help="what owners do to their pages"
    )
    for option, default, what in (
        ("requests", 20_000, "first requests that are run"),
        ("counted", 2_000, "last ones of these, of which misses are counted"),
        ("warm-up", 2_000, "ones before those, which fill the caches"),
    ):
        parser.add_argument(f"--{option}", type=int, default=default, metavar="N", help=f"{what}; default {default}")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad line of a trace")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the misses; 0."""
    from structpage import placing
    from structpage.cli.source import opened
    from structpage.experiments import cache_misses
    from structpage.experiments.caches import HIERARCHY, validate
    from structpage.experiments.workload import DEFAULT, Workload

    validate(HIERARCHY)
    placements = options.placement or placing.placement_names()
    for name in placements:
        placing.placement_class(name)
    with progress(cache_misses.steps(len(placements))) as step:
        name = options.workload or DEFAULT
        step(f"reading {name}")
        source = opened(name, strict=options.strict)
        work = Workload.load(source, limit=options.requests, memory=options.memory, name=name)
        result = cache_misses.cache_misses(
            work,
            placements=placements,
            owner=options.owner,
            counted=options.counted,
            warm_up=options.warm_up,
            step=step,
        )
    print_result(result, as_json=options.json)
    return 0
