"""Fidelity: a recorded kernel and the simulator side by side, page frame by page frame.

`asked` turns a capture into requests and records (with `probes` and `records`), `start` builds the machine, `follow`
runs the requests and compares (with `resync` after a wrong one and `explain` for the first), `order` puts those of
several CPUs in the order they began, and `replaying` is the whole.
"""

from __future__ import annotations

from structpage.fidelity.boot import Handover, handover_of, is_boot, memblock_of
from structpage.fidelity.replaying import Fidelity, replay_capture

__all__ = ["Fidelity", "Handover", "handover_of", "is_boot", "memblock_of", "replay_capture"]
