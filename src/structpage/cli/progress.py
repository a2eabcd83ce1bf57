"""A progress bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yield what to call before each of `total` parts of the work, with the part's name.

    On a terminal it draws a bar, or without tqdm (the extra `cli`) a line that is overwritten.
    """
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda name: print(f"\r\033[K{name}", end="", file=sys.stderr, flush=True)
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        return
    with tqdm(total=total, leave=False, bar_format="{n_fmt}/{total_fmt} {bar} {elapsed} {desc}") as bar:
        began = False

        def step(name: str) -> None:
            nonlocal began
            bar.update(int(began))
            bar.set_description_str(name)
            began = True

        yield step
