"""Addresses of simulated memory as the kernel has them, with x86-64's layout and no randomisation.

Terminology: the *direct map* has every frame at `PAGE_OFFSET` plus its physical address; the *memmap* has the struct
page of every frame, of 64 bytes, from `VMEMMAP` on. So a recorded pointer and a simulated one can be compared.
"""

from __future__ import annotations

from structpage.core.slab.rows import PAGE_OFFSET
from structpage.frames import PAGE_SHIFT

VMEMMAP = 0xFFFF_EA00_0000_0000
TEXT = 0xFFFF_FFFF_8100_0000
"""Where the kernel's code begins."""


def address_of(pfn: int, offset: int = 0) -> int:
    """Return the direct map's address of byte `offset` of a frame."""
    return PAGE_OFFSET + (pfn << PAGE_SHIFT) + offset


def pfn_of(address: int) -> int:
    """Return the PFN of the frame in which an address of the direct map lies; negative below it."""
    return (address - PAGE_OFFSET) >> PAGE_SHIFT


def struct_page(pfn: int) -> int:
    """Return the address of a frame's struct page, which is a slab's struct slab."""
    return VMEMMAP + 64 * pfn
