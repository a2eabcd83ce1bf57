"""Run the same requests over every placement of free-page state: what each costs and what breaks each."""

from __future__ import annotations

import argparse
import os

from structpage.cli.output import print_result
from structpage.cli.progress import progress

NAME = "compare"
HELP = "one workload, every placement, one table"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "workload",
        nargs="?",
        metavar="TRACE|CAPTURE",
        help="ftrace text (plain, .gz, .xz), a capture folder, an .npz, or the name of a shipped capture; "
        "by default the shipped one",
    )
    parser.add_argument("--placement", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--memory", metavar="SIZE", help="memory of a bare trace's machine, as 512M or 4G")
    parser.add_argument("--full", action="store_true", help="all requests, not the first 100,000")
    parser.add_argument(
        "--stamp", choices=["every", "head"], default="every", help="frames of an allocation that name its owner"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes to share the work; default all CPUs",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first bad line of a trace")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the comparison; 0."""
    from structpage import placing
    from structpage.cli.source import opened
    from structpage.consumers import consumer_names
    from structpage.experiments import compare
    from structpage.experiments.workload import DEFAULT, Workload

    placements = options.placement or placing.placement_names()
    for name in placements:
        placing.placement_class(name)
    if not options.json:
        print(f"comparing {', '.join(placements)}", flush=True)
    with progress(compare.steps(len(placements), len(consumer_names()))) as step:
        name = options.workload or DEFAULT
        step(f"reading {name}")
        limit = None if options.full else compare.DEFAULT_REQUESTS
        work = Workload.load(opened(name, strict=options.strict), limit=limit, memory=options.memory, name=name)
        result = compare.compare(
            work,
            placements=placements,
            stamp=options.stamp,
            jobs=options.jobs,
            step=step,
        )
    print_result(result, as_json=options.json)
    return 0
