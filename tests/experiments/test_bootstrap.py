"""Costs of boot, the workload that empties a memory, and the search for the smallest reserve."""

import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from structpage import InvalidArgument, Machine, UnknownName, boot_costs, fill_and_empty, highmem_wall
from structpage.core.words import LAYOUTS
from structpage.errors import must
from structpage.experiments.bootstrap import COST, smallest_reserve
from structpage.placing import declared, placement_class, placement_names


@given(st.integers(0, 3000))
def test_the_search_finds_the_smallest(answer):
    asked = []

    def holds(reserve):
        asked.append(reserve)
        return reserve >= answer

    assert smallest_reserve(holds) == answer
    assert len(asked) <= 2 * answer.bit_length() + 3


def test_a_search_ends():
    with pytest.raises(InvalidArgument, match=says(must("nodes", "enough with 64", "too few"))):
        smallest_reserve(lambda reserve: False, most=64)


@pytest.fixture(scope="module")
def costs():
    return boot_costs("16M")


def test_a_row_for_each_placement_and_descriptor_that_has_room(costs):
    wanted = [
        (name, size)
        for name in placement_names()
        for size in (64, 32, 16, 8)
        if size >= 8 * LAYOUTS[declared(placement_class(name)).layout].words
    ]
    assert costs.rows.dtype == COST
    assert [(row["placement"], row["descriptor_bytes"]) for row in costs.rows] == wanted


def test_what_is_taken_is_the_sum_and_the_memmap_the_product(costs):
    rows = costs.rows
    assert (rows["taken"] == rows["memmap"] + rows["tables"] + rows["reserve"] + rows["others"]).all()
    assert (rows["memmap"] == 4096 * rows["descriptor_bytes"]).all()
    noded = [declared(placement_class(name)).node_bytes > 0 for name in rows["placement"]]
    assert ((rows["reserve"] > 0) == noded).all()
    assert (rows["allocates_while_freeing"] == noded).all()


def test_costs_draw_themselves(costs):
    values = costs.as_dict()
    assert [row["taken"] for row in values["rows"]] == costs.rows["taken"].tolist()
    assert "slab-nodes" in repr(costs)
    assert "<table>" in costs._repr_html_()


def test_a_descriptor_that_no_placement_fits():
    with pytest.raises(InvalidArgument):
        boot_costs("16M", ["side-table"], descriptor_bytes=[8])
    with pytest.raises(InvalidArgument, match=says(must("placements", "at least one", "none"))):
        boot_costs("16M", [])


def test_one_placement_and_one_size():
    assert boot_costs("16M", "bitmap", 16).rows["placement"].tolist() == ["bitmap"]


@pytest.mark.parametrize("placement", placement_names())
def test_every_placement_survives_being_emptied(placement):
    run = fill_and_empty(placement, memory="5M", reserve=64 if declared(placement_class(placement)).node_bytes else 0)
    assert run.holds
    assert run.freed == run.allocated > 500
    assert "all freed" in str(run)


def test_arguments():
    with pytest.raises(UnknownName):
        fill_and_empty("side-table", order="backwards")
    with pytest.raises(InvalidArgument):
        highmem_wall(lowmem="64M", memory="32M")
    with pytest.raises(UnknownName):
        Machine.boot("16M", "nowhere")
