"""Show the words of a frame's descriptor, bit by bit, in every state."""

from __future__ import annotations

import argparse

from structpage.cli.output import print_json
from structpage.core.words import LAYOUTS
from structpage.tables import text_table

NAME = "words"
HELP = "draw the descriptor's words, bit by bit"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--layout", choices=[*LAYOUTS, "all"], default="all", help="which layout; default all")
    parser.add_argument("--table", action="store_true", help="a row per field, not a picture")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print pictures or tables; 0."""
    chosen = [layout for name, layout in LAYOUTS.items() if options.layout in (name, "all")]
    header = ("field", "word", "bits", "states", "meaning")
    if options.json:
        tables = {layout.name: [dict(zip(header, row, strict=True)) for row in layout.table()] for layout in chosen}
        print_json(tables)
    elif options.table:
        print("\n\n".join(f"{layout.name}\n{text_table(header, layout.table())}" for layout in chosen))
    else:
        print("\n\n".join(layout.diagram() for layout in chosen))
    return 0
