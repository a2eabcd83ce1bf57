"""What a capture's machine prints is what the recorded kernel printed just before it was stopped."""

import pytest

from structpage import open_workload
from structpage.fidelity.start import machine_of


@pytest.fixture(scope="module")
def capture():
    return open_workload("mixed")


@pytest.mark.parametrize("name", ["buddyinfo", "pagetypeinfo"])
def test_lists_are_printed_byte_for_byte(capture, name):
    assert getattr(machine_of(capture), name)() == capture.proc[f"before/{name}_at_dump"]


def test_zoneinfo_but_for_what_its_own_reading_changed(capture):
    found, told = machine_of(capture).zoneinfo(), capture.proc["before/zoneinfo"]
    others = [pair for pair in zip(found.splitlines(), told.splitlines(), strict=True) if pair[0] != pair[1]]
    assert all(line.lstrip().startswith("count: ") for pair in others for line in pair)
    assert len(others) <= 1
