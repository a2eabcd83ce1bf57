"""The command line: one module per subcommand, and the parser here.

Exit status: 0 done, 1 the thing checked failed, 2 bad arguments or input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from structpage import __version__
from structpage.cli import bench, boot, cache, compare, conformance, convert, replay, words
from structpage.errors import CorruptionError, StructPageError

COMMANDS = (bench, boot, cache, compare, conformance, convert, replay, words)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(
        prog="structpage",
        description="Where does the state of a free page go? Every answer, run on a real workload.",
    )
    top.add_argument("--version", action="version", version=f"structpage {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.NAME, help=module.HELP, description=module.__doc__)
        module.arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except CorruptionError as error:
        return _failed(options, error, 1)
    except BrokenPipeError:
        # The reader of our output is gone, which is no error of ours; nothing more may be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StructPageError, OSError) as error:
        return _failed(options, error, 2)
    except KeyboardInterrupt:
        return 130
    return status


def _failed(options: argparse.Namespace, error: Exception, status: int) -> int:
    print(f"structpage {options.command}: {error}", file=sys.stderr)
    return status
