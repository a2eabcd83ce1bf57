"""Free pointers: the address of the next free object, as it stands in a free one.

Hardened, it is stored as the address, the cache's random number and the address of its own place with the bytes
reversed, all three combined by exclusive or: who overwrites it by chance does not make a valid pointer of it, nor does
who knows one of the three. Followed: Linux 6.1 mm/slub.c, `freelist_ptr`.
"""

from __future__ import annotations

_HALF = 0xFFFFFFFF
_SIGN = 0x80000000


def swab(value: int) -> int:
    """Return a signed 64-bit value with its bytes in the other order."""
    high = _swab32(value & _HALF)
    return ((high ^ _SIGN) - _SIGN) << 32 | _swab32(value >> 32 & _HALF)


def _swab32(half: int) -> int:
    return (half & 0xFF) << 24 | (half & 0xFF00) << 8 | half >> 8 & 0xFF00 | half >> 24


def hardened(pointer: int, random: int, at: int) -> int:
    """Return what is stored at address `at` for a pointer, or the pointer for what is stored there."""
    return pointer ^ random ^ swab(at)
