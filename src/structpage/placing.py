"""Building a placement for a memmap: names to classes, and stated limits enforced."""

from __future__ import annotations

from typing import cast

from structpage import registry
from structpage.core.buffers import Declaration, Placement, Room
from structpage.core.placements import BUILTIN
from structpage.errors import InvalidArgument, LimitExceeded, must
from structpage.pages import PageArray

METHODS = ("first", "next", "push_front", "push_back", "remove", "reset")
"""What a placement must have; `last` and `prev` let `check()` walk backwards too."""


def placement_names() -> list[str]:
    """Return the names of all placements, built-in ones first, then those of entry points."""
    return registry.names("placement", BUILTIN)


def placement_class(choice: str | type) -> type:
    """Return a placement's class by name, class, entry point or `module:Class`; raises `UnknownName`."""
    cls = registry.find("placement", BUILTIN, choice)
    missing = [name for name in ("build", *METHODS) if not callable(getattr(cls, name, None))]
    if missing:
        raise InvalidArgument(must(f"placement {cls.__name__}", f"a class with {', '.join(missing)}", "one without"))
    return cls


def title(cls: type) -> str:
    """Return a placement's name: the built-in one, or that of its class."""
    return registry.name_of(BUILTIN, cls)


def declared(cls: type) -> Declaration:
    """Return what a placement says of itself; the defaults where it says nothing."""
    declares = getattr(cls, "declares", None)
    return cast(Declaration, declares()) if declares is not None else Declaration()


def check_limits(cls: type, pages: PageArray, max_order: int, lists: int) -> None:
    """Raise `LimitExceeded` when the placement's or the layout's stated limits do not allow this machine."""
    limits, name = declared(cls), registry.name_of(BUILTIN, cls)
    if pages.layout.name != limits.layout:
        raise LimitExceeded(must(f"layout for placement {name}", limits.layout, pages.layout.name))
    if max_order > limits.max_order:
        raise LimitExceeded(must(f"max_order for placement {name}", f"at most {limits.max_order}", max_order))
    if pages.frames + lists > limits.max_nodes:
        found = f"{pages.frames} + {lists}"
        raise LimitExceeded(must(f"frames + list heads for placement {name}", f"at most {limits.max_nodes}", found))


def build(cls: type, room: Room) -> Placement:
    """Return a placement with all its lists empty."""
    placement = cast(Placement, cls.build(room))  # type: ignore[attr-defined]
    for lst in range(room.lists):
        placement.reset(lst)
    return placement
