"""What a capture's free lists say of the frames that are on none of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from structpage.errors import TraceError, must
from structpage.traces.capture import free_blocks, zone_spans

MAX_FRAMES: Final = 1 << 30
"""Frames of the largest memory whose frames are told apart: 4 TiB of 4 KiB frames."""

PAGEBLOCK_ORDER: Final = 9
"""log2 of the frames of a pageblock, the unit that has a migrate type, of the recorded kernels."""


def end_of_memory(lists: dict[str, Any]) -> int:
    """Return the PFN after the last zone's last frame; 0 without zones."""
    return max((span.end for span in zone_spans(lists)), default=0)


def held_frames(lists: dict[str, Any]) -> bytearray:
    """Return a byte per frame, from PFN 0: 1 if it is in use, that is in a zone, and on no list.

    Frames of a zone's span that no memory is behind are among those in use: nobody will free them.

    Raises:
        TraceError: there are more than `MAX_FRAMES` frames.

    Cost: a byte per frame, a step per block on the lists.

    """
    end = end_of_memory(lists)
    if end > MAX_FRAMES:
        raise TraceError(must("memory of the capture", f"of at most {MAX_FRAMES} frames", end))
    held = bytearray(end)
    for span in zone_spans(lists):
        held[span.start : span.end] = b"\1" * (span.end - span.start)
    for pfn, order in free_blocks(lists):
        held[pfn : min(pfn + (1 << order), end)] = bytes(max(0, min(1 << order, end - pfn)))
    return held


def types_and_zones(lists: dict[str, Any], pfns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the migrate type of each frame's pageblock, and the number of its zone; 0 where not recorded.

    A pageblock in a hole of the memory has no type, and is recorded as null.

    Cost: one pass over `pfns` per zone.
    """
    types, zones = np.zeros_like(pfns), np.zeros_like(pfns)
    for node in lists["nodes"]:
        for zone in node["zones"]:
            inside = (pfns >= zone["start_pfn"]) & (pfns < zone["start_pfn"] + zone["spanned"])
            zones[inside] = zone.get("idx", 0)
            blocks = np.array([kind or 0 for kind in zone.get("pageblocks", [])], np.int64)
            block = (pfns >> PAGEBLOCK_ORDER) - zone.get("pageblock_first", 0)
            known = inside & (block >= 0) & (block < len(blocks))
            types[known] = blocks[block[known]]
    return types, zones
