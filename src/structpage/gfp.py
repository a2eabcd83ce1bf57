"""The allocation flags (gfp) of a trace: names as the kernel prints them, and bits.

Terminology
    *Flag* (`__GFP_ZERO`): one bit. *Combination* (`GFP_KERNEL`): several, printed in preference.
    The kernel goes through its table in order, and prints each entry all of whose bits are still to be
    named; what no entry names is printed as a hexadecimal number; no bits at all are printed as `none`.

The values are those of the print format of `mm_page_alloc` in Linux 6.1. They are the same up to 7.3 but
for these: `__GFP_ATOMIC` (0x200) went in 6.3, so `GFP_ATOMIC` is 0x820 there, and is read as 0xa20; the
bits from 24 on depend on the configuration, and are given here the places of a 6.1 kernel with all of
them. No zone, migrate type or order depends on any of these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from structpage.arguments import between
from structpage.errors import InvalidArgument, TraceError, must

DMA: Final = 0
DMA32: Final = 1
NORMAL: Final = 2
HIGHMEM: Final = 3
MOVABLE: Final = 4

# By the four lowest bits: DMA 1, HIGHMEM 2, DMA32 4, MOVABLE 8, which counts with HIGHMEM alone.
_ZONES: Final = np.array([(NORMAL, HIGHMEM, DMA32, DMA32)[bits >> 1 & 3] for bits in range(16)])
_ZONES[1::2] = DMA
_ZONES[0xA] = MOVABLE

_RECLAIM: Final = 0x400 | 0x800
_KERNEL: Final = _RECLAIM | 0x40 | 0x80
_USER: Final = _KERNEL | 0x100000
_HIGHUSER_MOVABLE: Final = _USER | 0x02 | 0x08
_TRANSHUGE_LIGHT: Final = (_HIGHUSER_MOVABLE | 0x40000 | 0x80000 | 0x2000) & ~_RECLAIM

PRINTED: Final[tuple[tuple[str, int], ...]] = (
    ("GFP_TRANSHUGE", _TRANSHUGE_LIGHT | 0x400),
    ("GFP_TRANSHUGE_LIGHT", _TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", _HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", _USER | 0x02),
    ("GFP_USER", _USER),
    ("GFP_KERNEL_ACCOUNT", _KERNEL | 0x400000),
    ("GFP_KERNEL", _KERNEL),
    ("GFP_NOFS", _RECLAIM | 0x40),
    ("GFP_ATOMIC", 0x20 | 0x200 | 0x800),
    ("GFP_NOIO", _RECLAIM),
    ("GFP_NOWAIT", 0x800),
    ("GFP_DMA", 0x01),
    ("__GFP_HIGHMEM", 0x02),
    ("GFP_DMA32", 0x04),
    ("__GFP_HIGH", 0x20),
    ("__GFP_ATOMIC", 0x200),
    ("__GFP_IO", 0x40),
    ("__GFP_FS", 0x80),
    ("__GFP_NOWARN", 0x2000),
    ("__GFP_RETRY_MAYFAIL", 0x4000),
    ("__GFP_NOFAIL", 0x8000),
    ("__GFP_NORETRY", 0x10000),
    ("__GFP_COMP", 0x40000),
    ("__GFP_ZERO", 0x100),
    ("__GFP_NOMEMALLOC", 0x80000),
    ("__GFP_MEMALLOC", 0x20000),
    ("__GFP_HARDWALL", 0x100000),
    ("__GFP_THISNODE", 0x200000),
    ("__GFP_RECLAIMABLE", 0x10),
    ("__GFP_MOVABLE", 0x08),
    ("__GFP_ACCOUNT", 0x400000),
    ("__GFP_WRITE", 0x1000),
    ("__GFP_RECLAIM", _RECLAIM),
    ("__GFP_DIRECT_RECLAIM", 0x400),
    ("__GFP_KSWAPD_RECLAIM", 0x800),
    ("__GFP_ZEROTAGS", 0x800000),
    ("__GFP_SKIP_ZERO", 0x1000000),
    ("__GFP_SKIP_KASAN_UNPOISON", 0x2000000),
    ("__GFP_SKIP_KASAN_POISON", 0x4000000),
    ("__GFP_NOLOCKDEP", 0x8000000),
)
"""Names and bits in the order in which the kernel tries them."""

# Names that other versions print for the same bits (or, for the last, for one that 6.1 does not have).
_ALIASES: Final = {
    "none": 0,
    "__GFP_DMA": 0x01,
    "__GFP_DMA32": 0x04,
    "__GFP_REPEAT": 0x4000,
    "__GFP_SKIP_KASAN": 0x2000000 | 0x4000000,
    "__GFP_NO_OBJ_EXT": 0x10000000,
}
_BITS: Final = dict(PRINTED) | _ALIASES


def zones_wanted(gfp: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the highest zone that allocations with these flags may use: 0 DMA to 4 Movable.

    Followed: Linux 6.1 include/linux/gfp.h, `gfp_zone`. Cost: one pass.
    """
    zones: NDArray[np.int64] = _ZONES[gfp & 0xF]
    return zones


@lru_cache(maxsize=4096)
def parse_gfp(text: str) -> int:
    """Return the bits of allocation flags as a trace prints them.

    Args:
        text: names and numbers (`0x` hexadecimal) joined by `|`, such as `GFP_KERNEL|__GFP_ZERO`, or
            `none`. The short flag names printed before Linux 4.6 (`GFP_ZERO`) are read too.

    Raises:
        TraceError: a part is neither a known name nor a number of at most 32 bits.

    Cost: one dict look-up per name; the last 4,096 texts are remembered.

    """
    bits = 0
    for name in text.split("|"):
        known = _BITS.get(name)
        if known is None:
            known = _BITS.get("__" + name)
        bits |= _number(name) if known is None else known
    return bits


@lru_cache(maxsize=4096)
def format_gfp(bits: int) -> str:
    """Return allocation flags as Linux 6.1 prints them; `parse_gfp` gives the same bits back.

    Raises:
        TraceError: `bits` is negative or of more than 32 bits.

    Cost: one pass over `PRINTED`; the last 4,096 answers are remembered.

    """
    if not 0 <= bits < 1 << 32:
        raise TraceError(must("gfp flags", "of at most 32 bits", hex(bits)))
    names = []
    for name, mask in PRINTED:
        if bits & mask == mask:
            names.append(name)
            bits &= ~mask
    if bits:
        names.append(hex(bits))
    return "|".join(names) or "none"


def _number(text: str) -> int:
    try:
        bits = int(text, 16) if text.startswith("0x") else -1
    except ValueError:
        bits = -1
    if not 0 <= bits < 1 << 32:
        raise TraceError(must("gfp flag", "a known name or a hexadecimal number", repr(text[:60])))
    return bits


def a_gfp(gfp: int | str) -> int:
    """Return the bits of the flags of a request, given so or by names; raises `InvalidArgument`.

    Followed: Linux 6.1 include/linux/gfp.h, `gfp_migratetype`, which allows no request both mobility flags.
    """
    if not isinstance(gfp, str):
        bits = between("gfp", gfp, 0, (1 << 32) - 1)
    else:
        try:
            bits = parse_gfp(gfp)
        except TraceError as error:
            raise InvalidArgument(str(error)) from error
    if bits >> 3 & 3 == 3:
        raise InvalidArgument(must("gfp", "Movable or Reclaimable at most", format_gfp(bits)))
    return bits
