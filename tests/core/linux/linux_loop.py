"""A loop of the core over rows of `script`, for tests of the engines."""

from __future__ import annotations

from structpage.core.linux.script import act


def run_rows(machine, rows, where, answer):
    """Run all rows, each without a hint; `answer` becomes what each returned."""
    i = 0
    for row in rows:
        machine.percpu.zone_lists.hint[0] = row[6]
        answer[i] = act(machine, row, where)
        i += 1
    return i
