"""Replay a recorded kernel: the same start and the same requests, and whether the same page frames come of it."""

from __future__ import annotations

import argparse

from structpage.cli.output import print_json, print_result
from structpage.errors import InvalidArgument, must

NAME = "replay"
HELP = "a recorded kernel, page frame by page frame"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "capture",
        nargs="?",
        metavar="CAPTURE",
        help="a capture folder, of a boot too, an .npz, or the name of a shipped capture; by default that",
    )
    parser.add_argument(
        "--requests",
        choices=["kmem", "hints"],
        default="hints",
        help="made from the standard events alone, or from kprobe lines too (the default)",
    )
    parser.add_argument(
        "--slab",
        action="store_true",
        help="the slab events instead, object by object; from the slab caches' state if the folder has it",
    )
    parser.add_argument("--placement", default="side-table", metavar="NAME", help="where the free lists live")
    parser.add_argument("--engine", default="plain", metavar="NAME", help="plain (the default), compiled or probed")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad line of a trace")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print how far simulator and kernel agree; 0."""
    from structpage.cli.source import opened
    from structpage.experiments.workload import DEFAULT
    from structpage.fidelity import handover_of, is_boot, replay_capture, replay_slab, slab_states
    from structpage.traces import Capture

    name = options.capture or DEFAULT
    if options.slab:
        replay = replay_slab(opened(name, strict=options.strict), name=name, states=slab_states(name))
        print_result(replay, as_json=options.json)
        return 0
    if is_boot(name):
        print_json(handover_of(name, placement=options.placement, engine=options.engine).as_dict())
        return 0
    capture = opened(name, strict=options.strict)
    if not isinstance(capture, Capture):
        raise InvalidArgument(must(f"capture {name}", "a recording with free lists", "a bare trace"))
    result = replay_capture(capture, requests=options.requests, placement=options.placement, engine=options.engine)
    print_result(result, as_json=options.json)
    return 0
