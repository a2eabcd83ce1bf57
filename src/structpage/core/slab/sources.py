"""Where slabs get their pages.

A source has two methods. `take(order, gfp, cpu, node, owner)` allocates 2^order frames for a caller on `cpu`, from
`node` or near to it, and returns the head's PFN, `NO_MEMORY` or `CORRUPT`; `give(pfn, order, cpu)` frees them, and
returns 0 or a status.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from structpage.core.buddy import Buddy
from structpage.core.linux.gfp import GFP_DMA, GFP_DMA32, highest_zid
from structpage.core.linux.machine import Machine
from structpage.core.words import DEFAULT_TYPE, ZIDS


class PageSource(Protocol):
    """Gives and takes back the pages of slabs."""

    def take(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate a block; its PFN, `NO_MEMORY` or `CORRUPT`."""

    def give(self, pfn: int, order: int, cpu: int) -> int:
        """Free a block; 0, `REFUSED` or `CORRUPT`."""


def wanted_zone(gfp: int, node: int) -> int:
    """Return the highest zone that will do for a buddy allocator: that of the flags if they name one, else any."""
    return node * ZIDS + (highest_zid(gfp) if gfp & (GFP_DMA | GFP_DMA32) else ZIDS - 1)


class FromBuddy(NamedTuple):
    """Pages of a buddy allocator, all of the one type that it has."""

    buddy: Buddy

    def take(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate a block."""
        return self.buddy.alloc(order, DEFAULT_TYPE, wanted_zone(gfp, node), owner)

    def give(self, pfn: int, order: int, cpu: int) -> int:
        """Free a block."""
        return self.buddy.free(pfn, order, DEFAULT_TYPE)


class FromMachine(NamedTuple):
    """Pages of a machine: the flags choose zone, type and watermark. Its trace is of the last call here."""

    machine: Machine

    def take(self, order: int, gfp: int, cpu: int, node: int, owner: int) -> int:
        """Allocate a block."""
        self.machine.percpu.zone_lists.trace.clear()
        return self.machine.alloc(order, gfp, cpu, node, owner)

    def give(self, pfn: int, order: int, cpu: int) -> int:
        """Free a block."""
        self.machine.percpu.zone_lists.trace.clear()
        return self.machine.free(pfn, order, cpu)
