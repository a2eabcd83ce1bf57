"""The same text in every engine: plain, probed and compiled answer alike and leave the same words."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linux_loop import run_rows
from machine_helpers import plans, words

from structpage.core.linux.script import ALLOC, BULK, COMMIT, DRAIN, FOLD, FREE, PREPARE
from structpage.gfp import parse_gfp

GFPS = [
    parse_gfp(text) for text in ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC", "GFP_KERNEL|__GFP_RECLAIMABLE")
]


@st.composite
def scripts(draw, plan):
    """Rows that allocate, free what was allocated, also in two steps, and do what goes on elsewhere."""
    rows, live, prepared, slots = [], [], [], 0
    nodes = sorted({zone.node for zone in plan.options["zones"]})
    zones, cpus = [zone.number for zone in plan.options["zones"]], st.integers(0, plan.options["cpus"] - 1)
    for kind in draw(st.lists(st.sampled_from("aaaaabffffpcdo"), max_size=60)):
        cpu = draw(cpus)
        if kind == "a":
            order = draw(st.integers(0, plan.options["max_order"]))
            rows.append((ALLOC, order, slots, draw(st.sampled_from(GFPS)), cpu, draw(st.sampled_from(nodes)), 0))
            live.append((slots, order))
            slots += 1
        elif kind == "b":
            count = draw(st.integers(2, 9))
            rows.append((BULK, count, slots, draw(st.sampled_from(GFPS)), cpu, draw(st.sampled_from(nodes)), 0))
            live += [(slots + i, 0) for i in range(count)]
            slots += count
        elif kind in "fp" and live:
            slot, order = live.pop(draw(st.integers(0, len(live) - 1)))
            rows.append((FREE if kind == "f" else PREPARE, order, slot, 0, cpu, 0, 0))
            prepared += [(slot, order)] if kind == "p" else []
        elif kind == "c" and prepared:
            slot, order = prepared.pop()
            rows.append((COMMIT, order, slot, 0, cpu, draw(st.integers(0, 3)), 0))
        elif kind == "d":
            rows.append((DRAIN, 0, 0, 0, cpu, draw(st.sampled_from(zones)), 0))
        elif kind == "o":
            rows.append((FOLD, 0, 0, 0, cpu, 0, 0))
    return rows, slots


def followed(plan, rows, slots, **options):
    machine = plan.build(**options)
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)] or [np.zeros(0, np.int64)] * 7
    where, answer = np.full(slots + 1, -1, np.int64), np.zeros(len(rows), np.int64)
    assert machine.engine.run(run_rows, machine.machine, columns, [where, answer]) == len(rows)
    machine.check() if not any(row[0] == PREPARE for row in rows) else None
    return answer.tolist(), where.tolist(), words(machine)


@given(data=st.data())
@settings(max_examples=40)
def test_plain_and_probed(data):
    plan = data.draw(plans())
    rows, slots = data.draw(scripts(plan))
    assert followed(plan, rows, slots, engine="plain") == followed(plan, rows, slots, engine="probed")


@pytest.mark.skipif(os.environ.get("STRUCTPAGE_PROFILE") != "long", reason="compiles for a minute")
@pytest.mark.parametrize("placement", ["side-table", "in-page", "in-words", "one-word"])
@given(data=st.data())
def test_plain_and_compiled(placement, data):
    plan = data.draw(plans())
    rows, slots = data.draw(scripts(plan))
    one, other = (followed(plan, rows, slots, engine=name, placement=placement) for name in ("plain", "compiled"))
    assert one == other
