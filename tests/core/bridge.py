"""The bridge that lets numba compile the core's methods as they stand: the core must not drift out of what it can.

Not the compiled engine; only the proof that one is possible. A method name is bridged once for all classes, so
it must have one signature everywhere.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

from structpage.core.buffers import Buffer

_signatures: dict[str, inspect.Signature] = {}


class LoopFill(NamedTuple):
    """Fills by a loop, which compiled code runs as fast as a memset."""

    words: Buffer

    def fill(self, start: int, stop: int, step: int, value: int) -> None:
        for index in range(start, stop, step):
            self.words[index] = value


def parameters(method) -> tuple[str, ...]:
    return tuple(inspect.signature(method).parameters)


def methods(cls: type) -> dict[str, object]:
    """The methods that an instance is called by: public, and neither class nor static ones."""
    return {name: member for name, member in vars(cls).items() if inspect.isfunction(member) and name[0] != "_"}


def bridge(cls: type) -> None:
    """Make the methods of a NamedTuple class callable in compiled code."""
    from numba import types
    from numba.extending import overload_method

    for name, method in methods(cls).items():
        signature = inspect.signature(method)
        known = _signatures.setdefault(name, signature)
        assert tuple(known.parameters) == tuple(signature.parameters), f"{cls.__name__}.{name}"
        if known is not signature:
            continue

        def implementation(*arguments, name=name):
            return getattr(arguments[0].instance_class, name, None)

        implementation.__signature__ = signature
        for kind in (types.NamedTuple, types.NamedUniTuple):
            overload_method(kind, name, jit_options={"_nrt": False})(implementation)
