"""Run recorded call scripts: buddy-conformance/1 on placements, memblock-conformance/1 on memblock."""

from __future__ import annotations

import argparse

from structpage.cli.output import print_json
from structpage.cli.progress import progress

NAME = "conformance"
HELP = "run recorded call scripts of other allocators' tests"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a script file")
    parser.add_argument("--placement", default="all", metavar="NAME|all", help="which placement; default all")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print each failed scenario and operation, and the counts by placement and in all; 1 if any failed."""
    from structpage import placing
    from structpage.experiments import conformance
    from structpage.tables import text_table

    placements = placing.placement_names() if options.placement == "all" else [options.placement]
    for name in placements:
        placing.placement_class(name)
    scenarios = [scenario for path in options.files for scenario in conformance.load(path)]
    with progress(len(scenarios)) as step:
        outcome = conformance.run(scenarios, placements, step=step)
    if options.json:
        report = outcome._asdict() | {
            "failures": [failure._asdict() for failure in outcome.failures],
            "placements": {name: tally._asdict() for name, tally in outcome.placements.items()},
        }
        print_json(report)
    else:
        for failure in outcome.failures:
            print(f"{failure.placement}: {failure.scenario}, op {failure.step} {failure.op}: {failure.reason}")
        header = ("placement", "passed", "failed", "beyond limit", "needs list order")
        print(text_table(header, [(name, *tally) for name, tally in outcome.placements.items()]), end="\n\n")
        print(
            f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped, "
            f"{outcome.beyond_limit} beyond a placement's limit"
        )
    return 1 if outcome.failed else 0
