"""Methods of NamedTuples, and functions that other functions call, for compiled code: the bridge to numba.

numba knows the fields of a NamedTuple and nothing of its methods. Here each method of a class is compiled under a
name that the class alone has, so classes may differ in what they mean by a name, and NamedTuples of others are not
touched. Methods are compiled into their callers, which keeps all addresses of buffers in registers.
"""

from __future__ import annotations

import inspect
import itertools
import types as python
from collections.abc import Callable, Iterator
from typing import Any

from numba import njit, types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import overload_method

from structpage.engines.plain import members

OPTIONS: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""numba's options for methods. Its manual does not mention these: without them all is as correct, and slower to run
(the first) or to compile (the others)."""

_bridged: dict[type, dict[str, str]] = {}
_numbers = itertools.count()
_functions: dict[Callable[..., Any], Any] = {}


@infer_getattr
class _Methods(AttributeTemplate):
    """An attribute that is no field of a bridged class is the method under its own name."""

    key = types.BaseNamedTuple

    def generic_resolve(self, value: Any, attribute: str) -> Any:
        name = _bridged.get(value.instance_class, {}).get(attribute)
        return None if name is None else self.context.resolve_getattr(value, name)


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """Return the methods of a class and its bases, by name; a static one takes its instance too."""
    found = {name: _method(member) for name, member in members(cls).items()}
    return {name: method for name, method in found.items() if method is not None}


def _method(member: Any) -> Callable[..., Any] | None:
    if isinstance(member, staticmethod) and inspect.isfunction(member.__func__):
        function = compiled_function(member.__func__)
        return lambda self, *arguments: function(*arguments)
    return member if inspect.isfunction(member) else None


def bridge(cls: type) -> None:
    """Make the methods of a NamedTuple class callable in compiled code, as they are now; once per class."""
    if cls in _bridged:
        return
    number, found = next(_numbers), methods(cls)
    _bridged[cls] = {name: f"structpage_{number}_{name}" for name in found}
    for name, method in found.items():
        _overload(cls, _bridged[cls][name], linked(method))


def _overload(cls: type, name: str, method: Callable[..., Any]) -> None:
    def choose(*args: Any) -> Any:
        return method if args[0].instance_class is cls else None

    choose.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    for kind in (types.NamedTuple, types.NamedUniTuple):
        overload_method(kind, name, jit_options=OPTIONS)(choose)


def called(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the global functions in plain Python that a function names, each with the name."""
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if inspect.isfunction(value) and value is not function:
            yield name, value


def linked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the global functions that it names compiled."""
    compiled = {name: compiled_function(value) for name, value in called(function)}
    if not compiled:
        return function
    copy = python.FunctionType(
        function.__code__,
        {**function.__globals__, **compiled},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def compiled_function(function: Callable[..., Any]) -> Any:
    """Return numba's dispatcher of a global function; one for each."""
    if function not in _functions:
        _functions[function] = njit(linked(function))
    return _functions[function]
