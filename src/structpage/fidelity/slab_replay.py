"""`replay_slab`: the slab events of a recorded kernel, asked of slab caches here, and how far the two agree.

With the state of the kernel's caches at the start (`slab_before.json`), the caches begin as they were: every slab,
every free list, what each CPU and node had. Then the object of each allocation is predicted, and when a slab is made or
given back, and of which order. From a bare trace the caches begin empty, and only how many slabs and objects they have
is of interest: frees of objects from before the trace are left out, and free lists are ascending.

Page frames are those of the allocator here; a recorded slab is found again by what was done to it. Which frame a new
slab gets is the page allocator's answer: `replay_capture` predicts those.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from structpage.allocator import BuddyAllocator
from structpage.arguments import at_least
from structpage.errors import TraceError, must
from structpage.fidelity.slab_follow import follow
from structpage.fidelity.slab_pages import page_calls
from structpage.fidelity.slab_result import SlabReplay
from structpage.fidelity.slab_state import (
    Recorded,
    make_caches,
    pages_of,
    place_caches,
    slab_states,
)
from structpage.fidelity.slab_times import Times
from structpage.fidelity.slab_untraced import untraced_frees
from structpage.slab.layer import Allocator
from structpage.traces import Capture, Events, open_workload
from structpage.traces.slab_events import slab_events
from structpage.traces.slab_requests import SlabRequests, sizes_of, slab_requests

_LEAST_FRAMES = 1 << 16


def replay_slab(
    source: str | os.PathLike[str] | Capture | Events,
    *,
    name: str | None = None,
    states: tuple[Recorded, Recorded] | None = None,
    allocator: Allocator | None = None,
    every: int = 0,
) -> SlabReplay:
    """Replay the slab events of a trace.

    Args:
        source: a workload as for `open_workload`, or one that is open. A folder with `slab_before.json` and
            `slab_after.json` is replayed from that state.
        name: what the result is called; by default the capture's name, or the path's last part.
        states: that of the slab caches before and after, as `slab_states` returns it, for a source that is open.
        allocator: where the slabs' pages come from, with no caches on it; by default a `BuddyAllocator` that is large
            enough.
        every: slab events from one sample of the time line to the next; 0 for a hundredth of them.

    Raises:
        TraceError: the trace has no slab events, or one of them or the states lack something.
        InvalidArgument: the allocator has caches, or too few CPUs.
        OutOfMemory: the allocator is too small.
        UnknownName, OSError: as `open_workload`.

    Cost: 10 us per event, and the reading of the trace.

    """
    every = at_least("every", every, 0)
    if not isinstance(source, Capture | Events):
        states = states or slab_states(source)
        name, source = name or Path(source).name, open_workload(source)
    capture, events = (source, source.events) if isinstance(source, Capture) else (None, source)
    name = capture.name if capture else Path(name or "trace").name
    found = slab_events(events)
    if not len(found):
        raise TraceError(must(f"trace {name}", "one with slab events (kmalloc, kmem_cache_alloc, ...)", "without"))
    before = states[0] if states else None
    placed_pages = pages_of(before) if before is not None else 0
    known = {cache["name"]: (cache["object_size"], cache["size"]) for cache in before} if before else None
    requests = slab_requests(found, known)
    cpus = 1 + int(found.rows["cpu"].max())
    if before is not None:
        cpus = max([cpus, *(1 + cpu["cpu"] for cache in before for cpu in cache["cpu"])])
    if allocator is None:
        allocator = BuddyAllocator(_frames(requests, placed_pages))
    placed = place_caches(before, allocator, cpus) if before is not None else make_caches(requests, allocator, cpus)
    calls = page_calls(events, requests, placed.deltas)
    untraced = untraced_frees(requests, calls)
    times = Times(requests, allocator)
    begun = time.perf_counter()
    followed = follow(requests, placed, calls, untraced, every=every or -(-len(found) // 100), sample=times.sample)
    seconds = time.perf_counter() - begun
    return SlabReplay(
        name,
        capture.kernel if capture else "",
        requests,
        followed,
        allocator,
        placed,
        calls,
        states[1] if states else None,
        capture.proc.get("after/slabinfo") if capture else None,
        times.rows(),
        seconds,
    )


def _frames(requests: SlabRequests, placed_pages: int) -> int:
    # Enough for four times the bytes that are ever in use, as slabs are not full.
    rows = requests.events.rows
    size = np.array([size for _, size in sizes_of(requests)], np.int64)
    mine = requests.cache >= 0
    signs = np.where(requests.is_alloc[mine], 1, -1)
    signs[(signs < 0) & (requests.own[mine] < 0)] = 0
    most = int(np.cumsum(size[requests.cache[mine]] * signs).max(initial=0)) if len(rows) else 0
    needed = 4 * (most >> 12) + 16 * len(size) + 2 * placed_pages
    return max(_LEAST_FRAMES, 1 << needed.bit_length())
