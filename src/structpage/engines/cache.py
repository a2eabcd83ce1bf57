"""Compiled loops: one per loop and classes of state, kept on disk for the next process.

numba's own cache sees a change in the compiled function's file, but not in methods that it reaches in other files.
So each compiled loop has a folder of its own, named by a digest of all that went into it: the files of `core/`, of
every class of the state and of every function these name, the numbers they name from elsewhere, and the versions of
numba and Python. A change is another folder, and nothing stale is found; the folders used longest ago are deleted.

The folder is below `$STRUCTPAGE_CACHE_DIR`, or else `$XDG_CACHE_HOME/structpage`, or `~/.cache/structpage`. What no
other process can import (a class of a notebook, or of `__main__`), or has no file, is compiled without a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import logging
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numba
from numba.core.errors import NumbaError

import structpage.core
from structpage.engines import bridge
from structpage.errors import InvalidArgument, must

KEPT = 64
"""Folders that are kept."""
log = logging.getLogger("structpage")

DAMAGED = (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError, KeyError, AttributeError, ImportError)
"""What loading a file of numba's raises when it was cut or written over."""
ENTRY_FILE, DONE = "entry.py", "compiled"
ENTRY = """\
from numba import njit
from structpage.engines.bridge import compiled_function
from {module} import {name} as loop

loop = compiled_function(loop)


@njit(cache=True)
def entry({parameters}):
    return loop({parameters})
"""

_entries: dict[tuple[Any, ...], Callable[..., int] | InvalidArgument] = {}


def compiled(loop: Callable[..., int], classes: Sequence[type], arguments: tuple[Any, ...]) -> Callable[..., int]:
    """Return the compiled loop for arguments of these types, compiling or loading it where it is not here yet.

    Raises `InvalidArgument` for a class whose methods numba does not compile.
    """
    key = (loop, *classes)
    if key not in _entries:
        try:
            _entries[key] = _made(loop, classes, arguments)
        except InvalidArgument as error:
            _entries[key] = error
    entry = _entries[key]
    if isinstance(entry, InvalidArgument):
        raise entry
    return entry


def _made(loop: Callable[..., int], classes: Sequence[type], arguments: tuple[Any, ...]) -> Any:
    for cls in classes:
        bridge.bridge(cls)
    folder = _folder(loop, classes)
    entry = bridge.compiled_function(loop) if folder is None else _imported(folder / ENTRY_FILE)
    done = folder / DONE if folder else None
    if done is None or not done.exists():
        log.warning("compiling %s over %s; once, some seconds", loop.__name__, ", ".join(map(_name, classes)))
    kinds = tuple(numba.typeof(argument) for argument in arguments)
    try:
        entry.compile(kinds)
    except NumbaError as error:
        raise InvalidArgument(must("what is compiled", "code that numba knows", _reason(error))) from error
    except DAMAGED as error:
        if folder is None:
            raise
        log.warning("compiled code in %s cannot be read (%s); it is deleted", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        entry, done = bridge.compiled_function(loop), None
        entry.compile(kinds)
    if done:
        with contextlib.suppress(OSError):
            done.touch()
    return entry


def _name(cls: type) -> str:
    return cls.__name__


def _reason(error: NumbaError) -> str:
    # The innermost complaint and its place, which come first: numba then repeats them for every caller.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    places = [number for number, line in enumerate(lines) if line.startswith('File "')]
    return " ".join(lines[places[0] - 1 : places[0] + 1]) if places and places[0] else lines[0]


# On disk


def _folder(loop: Callable[..., int], classes: Sequence[type]) -> Path | None:
    # The folder of these sources with its entry module, made where it is missing; None when it cannot be.
    if not all(map(_is_importable, (loop, *classes))):
        return None
    parameters = ", ".join(inspect.signature(loop).parameters)
    try:
        folder = cache_folder() / digest(loop, classes)
        if not (folder / ENTRY_FILE).exists():
            _write(folder / ENTRY_FILE, ENTRY.format(module=loop.__module__, name=loop.__name__, parameters=parameters))
            _prune(folder.parent)
        os.utime(folder)
    except OSError as error:
        log.info("compiled code is not kept: %s", error)
        return None
    return folder


def cache_folder() -> Path:
    """Return where compiled code is kept, whether it exists or not."""
    base = os.environ.get("STRUCTPAGE_CACHE_DIR")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "structpage"


def digest(loop: Callable[..., int], classes: Sequence[type]) -> str:
    """Return 24 hexadecimal digits of everything that decides what is compiled."""
    functions = list(_reached([loop, *(method for cls in classes for method in bridge.methods(cls).values())]))
    files = {Path(inspect.getfile(cls)) for cls in classes} | {Path(inspect.getfile(item)) for item in functions}
    files |= set(Path(structpage.core.__file__).parent.rglob("*.py"))
    files |= set(Path(bridge.__file__).parent.glob("*.py"))
    parts = [numba.__version__, sys.version, *(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)]
    parts += sorted({f"{name}={value!r}" for function in functions for name, value in _numbers(function)})
    state = hashlib.sha256("\n".join(parts).encode())
    for file in sorted(files):
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()[:24]


def _reached(functions: Sequence[Callable[..., Any]]) -> dict[Callable[..., Any], None]:
    found: dict[Callable[..., Any], None] = {}
    todo = list(functions)
    while todo:
        function = todo.pop()
        if function not in found:
            found[function] = None
            todo += [value for _, value in bridge.called(function)]
    return found


def _numbers(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    # What numba freezes into the code: global numbers, wherever they were imported from.
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, int | float | tuple):
            yield f"{function.__qualname__}.{name}", value


def _is_importable(item: Any) -> bool:
    module = sys.modules.get(item.__module__)
    if module is None or item.__module__ == "__main__" or getattr(module, item.__qualname__, None) is not item:
        return False
    return os.path.isfile(getattr(module, "__file__", None) or "")


def _imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"structpage_entry_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # numba imports it by name
    spec.loader.exec_module(module)
    return module.entry


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False) as temporary:
        temporary.write(text)
    os.replace(temporary.name, file)


def _prune(folder: Path) -> None:
    known = sorted((path for path in folder.iterdir() if (path / ENTRY_FILE).exists()), key=os.path.getmtime)
    for path in known[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)
