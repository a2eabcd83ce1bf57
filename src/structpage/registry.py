"""Names for pluggable things: a built-in table, then entry points, then `module:attribute`.

A placement or a consumer is chosen by its name, by the class itself, by the name of an entry point in the
group `structpage.placements` or `structpage.consumers`, or as `package.module:Class`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from structpage.errors import InvalidArgument, UnknownName, must

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points(**selection: str) -> Iterable[EntryPoint]:
    """Return the installed entry points of a selection, as `importlib.metadata` does, which is slow to import."""
    from importlib.metadata import entry_points as found

    return cast("Iterable[EntryPoint]", found(**selection))


def names(kind: str, builtin: Mapping[str, type]) -> list[str]:
    """Return the names that exist of a kind (`placement`, `consumer`): built-in ones first."""
    return [*builtin, *sorted(point.name for point in entry_points(group=f"structpage.{kind}s"))]


def find(kind: str, builtin: Mapping[str, type], choice: str | type) -> type:
    """Return the class that a name or class stands for; raises `UnknownName` or `InvalidArgument`."""
    if isinstance(choice, type):
        return choice
    if not isinstance(choice, str):
        raise InvalidArgument(must(kind, "a name or a class", repr(choice)))
    if choice in builtin:
        return builtin[choice]
    for point in entry_points(group=f"structpage.{kind}s", name=choice):
        return _a_class(kind, choice, point.load())
    module, _, attribute = choice.partition(":")
    if attribute:
        try:
            return _a_class(kind, choice, getattr(importlib.import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            raise UnknownName(must(kind, "importable", f"{choice!r} ({error})")) from error
    known = ", ".join(names(kind, builtin))
    raise UnknownName(must(kind, f"one of {known}, a class, or module:Class", repr(choice)))


def name_of(builtin: Mapping[str, type], cls: type) -> str:
    """Return the built-in name of a class, or else its own."""
    return next((name for name, known in builtin.items() if known is cls), cls.__name__)


def _a_class(kind: str, choice: str, found: object) -> type:
    if not isinstance(found, type):
        raise InvalidArgument(must(f"{kind} {choice!r}", "a class", repr(found)))
    return found
