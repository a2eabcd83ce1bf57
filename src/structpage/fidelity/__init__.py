"""Fidelity: a recorded kernel and the simulator side by side, page frame by page frame.

`asked` turns a capture into requests and records (with `probes` and `records`), `start` builds the machine, `follow`
runs the requests and compares (with `resync` after a wrong one and `explain` for the first), `order` puts those of
several CPUs in the order they began, and `replaying` is the whole.

The same for slab caches, object by object: `slab_state` makes them as recorded; `slab_pages`, `slab_untraced` and
`slab_interrupts` find what the events do not say; `slab_follow` runs the events and compares, `slab_same` compares the
end, and `slab_replay` is the whole.
"""

from __future__ import annotations

from structpage.fidelity.boot import Handover, handover_of, is_boot, memblock_of
from structpage.fidelity.replaying import Fidelity, replay_capture
from structpage.fidelity.slab_replay import replay_slab
from structpage.fidelity.slab_result import SlabReplay
from structpage.fidelity.slab_state import slab_states

__all__ = [
    "Fidelity",
    "Handover",
    "SlabReplay",
    "handover_of",
    "is_boot",
    "memblock_of",
    "replay_capture",
    "replay_slab",
    "slab_states",
]
