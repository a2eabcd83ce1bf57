"""`replay_stream`: requests that come in chunks, for a trace that is larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from structpage.arguments import at_least
from structpage.replay import Replay, resume, slot_table
from structpage.request import Requests

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator


def replay_stream(buddy: BuddyAllocator, chunks: Iterable[Requests], *, every: int = 0) -> Iterator[Replay]:
    """Run the chunks of a script one after the other, and yield what came of each when it is run.

    Together they are what `replay` makes of all chunks as one: slots mean the same in all of them, and rows are counted
    from the first of all, in time lines and in errors. A chunk is asked for when the one before was run, and nothing of
    it is kept but where the allocations are: 8 bytes per slot.

    Raises what `replay` raises, the chunks before the error done. O(1) per request.
    """
    at_least("every", every, 0)
    return _replays(buddy, chunks, every)


def _replays(buddy: BuddyAllocator, chunks: Iterable[Requests], every: int) -> Iterator[Replay]:
    where, done = slot_table(0), 0
    for requests in chunks:
        slots = min(requests.slots, done + len(requests))  # no more can have been named
        if slots > len(where):
            where = np.concatenate([where, slot_table(max(slots, 2 * len(where)) - len(where))])
        yield resume(buddy, requests, where, done=done, every=every)
        done += len(requests)
