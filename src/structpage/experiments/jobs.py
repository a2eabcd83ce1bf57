"""Independent runs of one workload, here or in several processes.

The processes are started afresh (spawned), so that numpy's threads and the caller's state are none of theirs.
They import what they need: a placement or consumer of one's own must be importable there, and a script that uses
them must not run on import.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from structpage.errors import InvalidArgument, must
from structpage.experiments.workload import Workload

_received: Workload


class Task(NamedTuple):
    """One run: `function(workload, *arguments)`, and its name."""

    title: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_tasks(work: Workload, tasks: Sequence[Task], jobs: int, tell: Callable[[str], None]) -> Iterator[Any]:
    """Yield the results of tasks in their order, with `jobs` processes; `tell` is given each title before its result.

    Raises `InvalidArgument` for a class that another process could not import, and what the tasks raise.
    """
    if jobs == 1:
        for task in tasks:
            tell(task.title)
            yield task.function(work, *task.arguments)
        return
    for task in tasks:
        for argument in task.arguments:
            _check_importable(argument)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), context, _receive, (work,)) as pool:
        results = [pool.submit(_run, task) for task in tasks]
        for task, result in zip(tasks, results, strict=True):
            tell(task.title)
            yield result.result()


def _check_importable(argument: object) -> None:
    if isinstance(argument, type):
        module = sys.modules.get(argument.__module__)
        if argument.__module__ == "__main__" or getattr(module, argument.__qualname__, None) is not argument:
            raise InvalidArgument(
                must(f"class {argument.__name__}", "importable to run with jobs above 1", "a local one")
            )


def _receive(work: Workload) -> None:
    global _received
    _received = work


def _run(task: Task) -> Any:
    return task.function(_received, *task.arguments)
