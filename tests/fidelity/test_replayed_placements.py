"""Which placements a capture can be replayed over."""

import pytest

from structpage import Declaration, InvalidArgument, open_workload, replay_capture
from structpage.core.placements.side_table import SideTable


class Unordered(SideTable):
    """Says of itself that its lists are in no order."""

    @staticmethod
    def declares():
        return Declaration(keeps_order=False)


def test_a_placement_without_order_is_left_out():
    with pytest.raises(InvalidArgument, match="must be one that keeps the order of its lists"):
        replay_capture(open_workload("mixed"), placement=Unordered)
