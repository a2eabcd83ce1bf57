"""`SlabFlags`: the flags of a slab cache, with the kernel's values, and the letters that slub_debug= takes.

Terminology: a *debugging* flag is one that puts a cache on the slow path, where every object is looked at; `F` checks
the metadata at each call, `Z` puts red zones about the object, `P` poisons what is free, `U` notes who allocated and
freed. A flag's name is the kernel's without SLAB_.

Followed: Linux 6.1 include/linux/slab.h, mm/slab.h (`SLAB_DEBUG_FLAGS`), mm/slub.c (`parse_slub_debug_flags`).
"""

from __future__ import annotations

import enum

from structpage.errors import InvalidArgument, must


class SlabFlags(enum.IntFlag):
    """The flags of a cache; what a recorded `flags` word of Linux 6.1 says."""

    CONSISTENCY_CHECKS = 0x100
    RED_ZONE = 0x400
    POISON = 0x800
    KMALLOC = 0x1000
    HWCACHE_ALIGN = 0x2000
    CACHE_DMA = 0x4000
    CACHE_DMA32 = 0x8000
    STORE_USER = 0x10000
    RECLAIM_ACCOUNT = 0x20000
    PANIC = 0x40000
    TYPESAFE_BY_RCU = 0x80000
    MEM_SPREAD = 0x100000
    TRACE = 0x200000
    DEBUG_OBJECTS = 0x400000
    NOLEAKTRACE = 0x800000
    FAILSLAB = 0x2000000
    ACCOUNT = 0x4000000
    KASAN = 0x8000000
    NO_USER_FLAGS = 0x10000000
    SKIP_KFENCE = 0x20000000
    CMPXCHG_DOUBLE = 0x40000000
    """The kernel's own: free list and counters are exchanged in one instruction."""
    OBJECT_POISON = 0x80000000
    """The kernel's own: the object's bytes are poisoned too, which a constructor or RCU forbids."""


NONE = SlabFlags(0)
DEBUG_DEFAULT = SlabFlags.CONSISTENCY_CHECKS | SlabFlags.RED_ZONE | SlabFlags.POISON | SlabFlags.STORE_USER
"""What slub_debug without letters turns on."""
DEBUG = DEBUG_DEFAULT | SlabFlags.TRACE
"""With any of these a cache is on the debugging path: no object of it is ever on a per-CPU free list."""
NO_CMPXCHG = SlabFlags.CONSISTENCY_CHECKS | SlabFlags.STORE_USER | SlabFlags.TRACE
INTERNAL = SlabFlags.CMPXCHG_DOUBLE | SlabFlags.OBJECT_POISON
"""What the kernel decides for itself: see `structpage.slab.shape.geometry`."""
LETTERS = {
    "F": SlabFlags.CONSISTENCY_CHECKS,
    "Z": SlabFlags.RED_ZONE,
    "P": SlabFlags.POISON,
    "U": SlabFlags.STORE_USER,
    "-": NONE,
}


def slab_flags(value: int | str) -> SlabFlags:
    """Return flags given as such, as a number of the kernel's, or as letters of slub_debug=.

    Letters may be of any case, and a minus takes back those before it. Raises `InvalidArgument` for an unknown letter
    or bit; T, A and O are not simulated.
    """
    if isinstance(value, str):
        flags = NONE
        for letter in value.upper():
            if letter not in LETTERS:
                raise InvalidArgument(must("slub_debug letter", f"one of {', '.join(LETTERS)}", repr(letter)))
            flags = LETTERS[letter] | (NONE if letter == "-" else flags)
        return flags
    try:
        known = not value & ~sum(SlabFlags)
    except TypeError:
        known = False
    if not known:
        rule = "SlabFlags, a number made of them, or letters of slub_debug="
        raise InvalidArgument(must("flags", rule, hex(value) if isinstance(value, int) else repr(value)))
    return SlabFlags(value)
