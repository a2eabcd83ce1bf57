"""Turn a trace or a capture folder into an .npz that loads in milliseconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from structpage.cli.output import print_json

NAME = "import"
HELP = "turn a trace or capture into an .npz"
SUFFIXES = (".gz", ".xz", ".bz2", ".txt", ".trace", ".dat", ".log")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", metavar="FILE", help="ftrace text (plain, .gz, .xz) or a capture folder")
    parser.add_argument("-o", "--output", metavar="NPZ", help="where to write; default NAME.npz here")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad line of a trace")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Write the .npz and say what is in it; 0."""
    from structpage.cli.progress import progress
    from structpage.cli.source import opened
    from structpage.traces import Capture, save

    target = Path(options.output or f"{_stem(Path(options.file))}.npz")
    with progress(2) as step:
        step(f"reading {options.file}")
        source = opened(options.file, strict=options.strict)
        step(f"writing {target}")
        save(target, source)
    events = source.events if isinstance(source, Capture) else source
    report = {
        "output": str(target),
        "bytes": target.stat().st_size,
        "events": len(events),
        "bad_lines": events.bad_lines,
        "kinds": events.counts(),
    }
    if options.json:
        print_json(report)
    else:
        print(f"{target}: {report['events']} events, {report['bytes']} bytes")
    return 0


def _stem(path: Path) -> str:
    name = path.resolve().name
    while Path(name).suffix in SUFFIXES:
        name = name.removesuffix(Path(name).suffix)
    return name or "trace"
