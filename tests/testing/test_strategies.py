"""What the strategies draw is what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import says
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import structpage.testing
from structpage import BuddyAllocator
from structpage.errors import MissingExtra, StructPageError
from structpage.request import ALLOC, FREE, SPLIT
from structpage.testing import operations, orders, requests, shapes, zone_from_picture
from structpage.testing.strategies import pictures
from structpage.zones import validated

QUIET = settings(database=None, max_examples=2000, phases=[Phase.generate])


@given(top=st.integers(0, 10), data=st.data())
def test_orders(top, data):
    assert 0 <= data.draw(orders(max_order=top)) <= top


@given(shape=shapes())
def test_shapes_are_machines(shape):
    assert validated(shape.zones, shape.frames)
    assert 1 <= shape.frames <= 64
    buddy = BuddyAllocator(shape.frames, zones=shape.zones, max_order=shape.max_order)
    assert buddy.free_frames == sum(end - start for zone in shape.zones for start, end in zone.present())


@pytest.mark.parametrize(
    "wanted",
    [
        lambda shape: shape.frames % 2 and shape.frames > 8,
        lambda shape: any(zone.holes for zone in shape.zones),
        lambda shape: len(shape.zones) == 3,
        lambda shape: {zone.node for zone in shape.zones} == {0, 1},
        lambda shape: any(zone.start % 2 for zone in shape.zones),
        lambda shape: shape.max_order == 0,
    ],
    ids=["odd size", "hole", "three zones", "two nodes", "odd border", "single frames"],
)
def test_shapes_reach_the_awkward_ones(wanted):
    assert wanted(find(shapes(), wanted, settings=QUIET))


@given(script=requests(), frames=st.integers(64, 128))
def test_requests_are_never_refused(script, frames):
    buddy = BuddyAllocator(frames)
    answers = buddy.replay(script).answers
    assert len(answers) == len(script)
    assert set(script.kind.tolist()) <= {ALLOC, FREE, SPLIT}
    buddy.check()


@given(operation=operations())
def test_operations_are_calls_that_return_or_are_refused(operation):
    buddy = zone_from_picture("#...2..      3........")
    try:
        assert getattr(buddy, operation.method)(**operation.arguments) is None or operation.method.startswith("alloc")
    except StructPageError as error:
        assert " must be " in str(error)  # noqa: PT017  either outcome is right


@given(picture=pictures(max_frames=16, max_order=2))
def test_pictures_are_taken(picture):
    assert zone_from_picture(picture, max_order=2).pages.frames <= 16


def test_all_names_exist():
    for name in structpage.testing.__all__:
        assert getattr(structpage.testing, name) is not None
    assert dir(structpage.testing) == sorted(structpage.testing.__all__)
    with pytest.raises(AttributeError, match=says("module 'structpage.testing' has no attribute 'nothing'")):
        structpage.testing.nothing  # noqa: B018


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    message = "hypothesis, which buddy_machine needs, must be installed (pip install 'structpage[test]'), not missing"
    with pytest.raises(MissingExtra, match=says(message)):
        structpage.testing.buddy_machine  # noqa: B018


def test_the_package_never_imports_hypothesis():
    code = (
        "import sys, structpage, structpage.testing as t; t.zone_from_picture('..'); "
        "sys.exit('hypothesis' in sys.modules or 'pytest' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
