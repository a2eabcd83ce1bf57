"""The testing kit: what shows that an allocator, or a placement, does what it should.

Names that are made of Hypothesis are imported when they are first used, and need the extra `test`:
`pip install 'structpage[test]'`. The others need nothing.

=================================================  =====================================================
`Model`, `ModelError`                              an obvious, slow allocator to hold the real one against
`zone_from_picture`, `picture_of`                  states drawn as strings, such as `"##..2 "`
`corrupt`, `KINDS`, `kinds_for`, `Corruption`      ways to break a state that `check()` must name
`orders`, `zones`, `shapes`, `Shape`               Hypothesis: sizes, zones with holes, whole machines
`requests`, `operations`, `Operation`, `pictures`  Hypothesis: scripts, single calls, drawn states
`buddy_machine`                                    Hypothesis: a state machine over one placement or several
=================================================  =====================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from structpage.errors import MissingExtra, must
from structpage.testing.corruptions import KINDS, Corruption, corrupt, kinds_for
from structpage.testing.drawing import picture_of, zone_from_picture
from structpage.testing.model import Model, ModelError

if TYPE_CHECKING:
    from structpage.testing.machine import buddy_machine
    from structpage.testing.strategies import (
        Operation,
        Shape,
        operations,
        orders,
        pictures,
        requests,
        shapes,
        zones,
    )

_OF_HYPOTHESIS = {
    "buddy_machine": "machine",
    "Operation": "strategies",
    "Shape": "strategies",
    "operations": "strategies",
    "orders": "strategies",
    "pictures": "strategies",
    "requests": "strategies",
    "shapes": "strategies",
    "zones": "strategies",
}


def __getattr__(name: str) -> Any:
    if name not in _OF_HYPOTHESIS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        importlib.import_module("hypothesis")
    except ImportError as error:
        rule = "installed (pip install 'structpage[test]')"
        raise MissingExtra(must(f"hypothesis, which {name} needs,", rule, "missing")) from error
    return getattr(importlib.import_module(f"{__name__}.{_OF_HYPOTHESIS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "KINDS",
    "Corruption",
    "Model",
    "ModelError",
    "Operation",
    "Shape",
    "buddy_machine",
    "corrupt",
    "kinds_for",
    "operations",
    "orders",
    "picture_of",
    "pictures",
    "requests",
    "shapes",
    "zone_from_picture",
    "zones",
]
