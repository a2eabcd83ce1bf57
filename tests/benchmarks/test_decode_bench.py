"""The measuring stick of decoding measures what it says."""

from __future__ import annotations

import decode_bench
import pytest


@pytest.mark.parametrize("placement", ["in-words", "one-word"])
def test_the_states_are_what_they_are_called(placement):
    pages = dict(decode_bench.used_states(placement, 1 << 12))
    assert pages["all free"].is_free.all()
    for order in (0, 1, 3):
        some = pages[f"every other block of order {order} free"]
        assert set(some.order.tolist()) == {order}
        assert some.is_free.reshape(-1, 1 << order).all(axis=1).tolist() == [True, False] * (1 << 11 - order)
    assert 0.3 < pages["60 % used, orders 0 to 9"].is_free.mean() < 0.5


def test_a_row_for_every_state(capsys):
    decode_bench.main(1 << 10, 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all("copy " in line and "free_runs " in line for line in lines)
