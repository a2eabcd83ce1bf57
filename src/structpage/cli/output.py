"""Printing what a command found, to be read or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any, Protocol


class Result(Protocol):
    """What draws itself as text and has plain values."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain Python values."""


def print_json(value: Any, indent: int = 2) -> None:
    """Print plain values as JSON."""
    json.dump(value, sys.stdout, indent=indent)
    print()


def print_result(result: Result, *, as_json: bool, indent: int = 2) -> None:
    """Print a result: its text, or its plain values as JSON."""
    if as_json:
        print_json(result.as_dict(), indent)
    else:
        print(result)
