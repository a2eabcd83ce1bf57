"""Fragmentation, from counts of free blocks and from runs of free frames; whole arrays in, whole arrays out.

Terminology: *counts* are numbers of free blocks, all migratetypes together, as /proc/buddyinfo shows them: any
array of ints whose last axis is the order, from 0 up, such as `free_counts`, `free_counts_by_zone` or a time line
of (samples, zones, orders). Of one such row, F is the number of free pages and B that of free blocks, and S(j) the
number of blocks of order j that could be had from it, its *suitable* blocks. A *run* is free frames in a row,
whatever blocks they are in, as `PageArray.free_runs` gives them.

An index of order j tells of a request for 2^j pages, and stands at place j of the last axis. Pages on per-CPU
lists are no free blocks. Followed: Linux 6.1 mm/vmstat.c, `fill_contig_page_info` and what is computed from it,
in the same integers, which are 64 bits wide here as there. Every function is O(size of the counts).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from structpage.arguments import between
from structpage.errors import InvalidArgument, must

Counts = npt.NDArray[np.int64]

HUGE_ORDER = 9
"""The order of a 2 MiB page of 4 KiB frames: HPAGE_PMD_ORDER of x86-64."""


def _counts(counts: npt.ArrayLike) -> Counts:
    array = np.asarray(counts)
    if array.dtype.kind not in "iu" or array.ndim == 0:
        raise InvalidArgument(must("counts", "ints with an axis of orders", f"{array.dtype} of shape {array.shape}"))
    if array.size and array.min() < 0:
        raise InvalidArgument(must("counts", "at least 0", int(array.min())))
    return array.astype(np.int64, copy=False)


def free_pages(counts: npt.ArrayLike) -> Counts:
    """Return F, the number of free pages; int64, of the counts' shape without the orders.

    Raises `InvalidArgument` for anything but counts, as every function here does.
    """
    array = _counts(counts)
    pages: Counts = (array << np.arange(array.shape[-1])).sum(axis=-1)
    return pages


def suitable_blocks(counts: npt.ArrayLike) -> Counts:
    """Return S(j), the number of blocks of each order that the free blocks of it and above hold; int64.

    Followed: `fill_contig_page_info`.
    """
    array = _counts(counts)
    orders = np.arange(array.shape[-1])
    from_above: Counts = (array << orders)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return from_above >> orders


def _wasted(counts: Counts, scale: int, when_empty: int) -> Counts:
    orders = np.arange(counts.shape[-1])
    free = free_pages(counts)[..., None]
    share: Counts = (free - (suitable_blocks(counts) << orders)) * scale // np.maximum(free, 1)
    return np.where(free == 0, when_empty, share)


def unusable_index(counts: npt.ArrayLike) -> Counts:
    """Return the share of the free pages that no request of each order can use, x1000; int64.

    0 is best, 1000 worst, which is also what a zone without free pages has. Followed: `unusable_free_index`, which
    /sys/kernel/debug/extfrag/unusable_index shows.
    """
    return _wasted(_counts(counts), 1000, 1000)


def extfrag_for_order(counts: npt.ArrayLike) -> Counts:
    """Return the share of the free pages that no request of each order can use, in percent; int64.

    0 for a zone without free pages. Followed: `extfrag_for_order`, of which proactive compaction makes its score.
    """
    return _wasted(_counts(counts), 100, 0)


def extfrag_index(counts: npt.ArrayLike) -> Counts:
    """Return why a request of each order would fail, x1000; int64.

    Towards 0 for lack of memory (below it, down to -500, with a block or two), towards 1000 because of
    fragmentation; -1000 where it would succeed, 0 where there is no free block. Costly orders are compacted only above
    vm.extfrag_threshold, 500. Followed: `__fragmentation_index`, which /sys/kernel/debug/extfrag/extfrag_index shows.
    """
    array = _counts(counts)
    blocks = array.sum(axis=-1, keepdims=True)
    wanted = free_pages(array)[..., None] * 1000 >> np.arange(array.shape[-1])
    failing = 1000 - (1000 + wanted) // np.maximum(blocks, 1)
    return np.where(blocks == 0, 0, np.where(suitable_blocks(array) > 0, -1000, failing))


def fmfi(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the free memory fragmentation index of each order, 1 - (1 + F / 2^j) / B; float64.

    That is `extfrag_index` without its special value: at most 1, and below 0, without bound, where there is plenty.
    0 where there is no free block. Gorman and Whitcroft's, in real numbers, as much research quotes it; what other
    papers call by that name is the unusable index.
    """
    array = _counts(counts)
    blocks = array.sum(axis=-1, keepdims=True)
    wanted = free_pages(array)[..., None] / (1 << np.arange(array.shape[-1]))
    index: npt.NDArray[np.float64] = 1 - (1 + wanted) / np.maximum(blocks, 1)
    return np.where(blocks == 0, 0.0, index)


def huge_pages(counts: npt.ArrayLike, order: int = HUGE_ORDER) -> Counts:
    """Return the number of huge pages, blocks of `order`, that could be had at once, 0 if no block is so large.

    int64, of the counts' shape without the orders.
    """
    array = _counts(counts)
    order = between("order", order, 0, 62)
    if order >= array.shape[-1]:
        return np.zeros(array.shape[:-1], np.int64)
    return suitable_blocks(array)[..., order]


def huge_pages_in_runs(starts: npt.ArrayLike, lengths: npt.ArrayLike, order: int = HUGE_ORDER) -> Counts:
    """Return for each run of free frames the number of huge pages in it, aligned to 2^order; int64.

    As many as `huge_pages` counts if every block has merged as far as it can; also where no block may be so large.
    """
    first, count = _counts(starts), _counts(lengths)
    order = between("order", order, 0, 62)
    return np.maximum((first + count >> order) - (first + (1 << order) - 1 >> order), 0)


def frames_by_run_length(lengths: npt.ArrayLike) -> Counts:
    """Return at place k the number of frames in runs of 2^k to 2^(k+1) - 1 frames, as far as there are any; int64.

    The share of memory in runs of at least 2^k frames is `frames[k:].sum() / frames.sum()`.
    """
    count = _counts(lengths)
    classes = np.frexp(count)[1] - 1
    frames: Counts = np.bincount(classes[count > 0], count[count > 0]).astype(np.int64)
    return frames
