"""`KernelLog`: the reports of the slab debugging, line by line as the kernel prints them.

A report is a banner with what is wrong, the place, who allocated and freed the object, what the slab's record says, and
a dump of the object's slot. Repairs follow as FIX lines. Pointers are printed as with no_hash_pointers. What a
simulation does not have is left out: the stack dump, and of the page's flags node, zone and last CPU.

Followed: Linux 6.1 mm/slub.c, `slab_bug`, `print_trailer`, `print_slab_info`, `slab_fix`; lib/hexdump.c,
`print_hex_dump`; kernel/panic.c, `print_tainted`.
"""

from __future__ import annotations

NOT_TAINTED = "Not tainted"
TAINTED = "Tainted: G    B             "
"""Once a report was printed: TAINT_BAD_PAGE."""
_ROW = 16
_ASCII_COLUMN = 3 * _ROW + 1


class KernelLog:
    """What was printed: `lines`, oldest first. All caches of an allocator share one: the taint is the kernel's."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tainted = False

    def bug(self, cache: str, what: str) -> None:
        """Begin a report."""
        taint = TAINTED if self.tainted else NOT_TAINTED
        self.lines += ["=" * 77, f"BUG {cache} ({taint}): {what}", "-" * 77, ""]
        self.tainted = True

    def fix(self, cache: str, what: str) -> None:
        """Print a repair."""
        self.lines.append(f"FIX {cache}: {what}")

    def dump(self, label: str, address: int, data: bytes) -> None:
        """Print bytes, 16 to a line."""
        self.lines += [
            f"{label}{address + at:016x}: {hex_row(data[at : at + _ROW])}" for at in range(0, len(data), _ROW)
        ]


def hex_row(data: bytes) -> str:
    """Return up to 16 bytes in hexadecimal and, in a column of their own, as ASCII."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{data.hex(' '):<{_ASCII_COLUMN}}{text}"


def shown(pointer: int) -> str:
    """Return a pointer as reports show it."""
    return f"0x{pointer:016x}"


def span(start: int, end: int) -> str:
    """Return the bytes from `start` up to and without `end`, as reports name them."""
    return f"{shown(start)}-{shown(end - 1)}"
