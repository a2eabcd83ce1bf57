"""Running recorded calls of memblock: format memblock-conformance/1.

A *scenario* is a list of calls in the kernel's words. Each has its arguments, whether allocation went bottom up, what
was returned, and both arrays of regions as they were afterwards: base, size, nid, flags. An operation `state` sets
both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from structpage.boot.memblock import Memblock
from structpage.boot.regions import HOTPLUG, MIRROR, NOMAP
from structpage.boot.state import ACCESSIBLE, CACHE_LINE, NO_NODE
from structpage.errors import OutOfMemory, must

FORMAT = "memblock-conformance/1"
MAX_NODES = 16
"""MAX_NUMNODES of the kernel's own tests."""
LOW = 0xFFFFFFFF
"""ARCH_LOW_ADDRESS_LIMIT."""
Op = dict[str, Any]


def _ranged(name: str, *more: object) -> Callable[[Memblock, Op], None]:
    return lambda memblock, op: getattr(memblock, name)(op["base"], op["size"], *more)


def _alloc(exact: bool = False, end: int = ACCESSIBLE) -> Callable[[Memblock, Op], int]:
    return lambda memblock, op: memblock.alloc(
        op["size"],
        op.get("align", CACHE_LINE),
        start=op.get("min_addr", 0),
        end=op.get("max_addr", end),
        nid=op.get("nid", NO_NODE),
        exact=exact,
    )


def _phys_alloc(memblock: Memblock, op: Op) -> int:
    return memblock.phys_alloc_range(
        op["size"],
        op.get("align", CACHE_LINE),
        op.get("start", 0),
        op.get("end", ACCESSIBLE),
        nid=op.get("nid", NO_NODE),
        exact=bool(op.get("exact_nid", False)),
    )


CALLS: dict[str, Callable[[Memblock, Op], int | None]] = {
    "memblock_add": _ranged("add"),
    "memblock_add_node": lambda memblock, op: memblock.add(op["base"], op["size"], op["nid"], op["flags"]),
    "memblock_remove": _ranged("remove"),
    "memblock_reserve": _ranged("reserve"),
    "memblock_free": lambda memblock, op: memblock.free(op["base"], op["size"]) if op["base"] else None,
    "memblock_phys_free": _ranged("free"),
    "memblock_trim_memory": lambda memblock, op: memblock.trim_memory(op["align"]),
    "memblock_set_node": lambda memblock, op: memblock.set_node(
        op["base"], op["size"], op["nid"], reserved=op.get("type") == "reserved"
    ),
    "memblock_mark_hotplug": _ranged("mark", HOTPLUG),
    "memblock_clear_hotplug": _ranged("clear", HOTPLUG),
    "memblock_mark_mirror": _ranged("mark", MIRROR),
    "memblock_mark_nomap": _ranged("mark", NOMAP),
    "memblock_clear_nomap": _ranged("clear", NOMAP),
    "memblock_enforce_memory_limit": lambda memblock, op: memblock.enforce_memory_limit(op["limit"]),
    "memblock_cap_memory_range": _ranged("cap_memory_range"),
    "memblock_alloc_exact_nid_raw": _alloc(exact=True),
    "memblock_alloc_low": _alloc(end=LOW),
    **dict.fromkeys(
        [f"memblock_alloc{name}" for name in ("", "_raw", "_from", "_node", "_try_nid", "_try_nid_raw")], _alloc()
    ),
    **dict.fromkeys(
        ["memblock_alloc_range_nid", *(f"memblock_phys_alloc{name}" for name in ("", "_range", "_try_nid"))],
        _phys_alloc,
    ),
}
"""What each call of the format is here; it returns an address, or `None` for the kernel's 0."""


def is_scenario(scenario: object) -> bool:
    """Whether it has the shape of the format's scenarios: a name (`test`), and operations."""
    return (
        isinstance(scenario, dict)
        and isinstance(scenario.get("test"), str)
        and isinstance(scenario.get("ops"), list)
        and all(isinstance(op, dict) and isinstance(op.get("op"), str) for op in scenario["ops"])
    )


def difference(memblock: Memblock, op: Op) -> tuple[Memblock, str | None]:
    """Do one operation; return the memblock to go on with, and how the outcome differs from the recorded one.

    Raises what a call raises, and `KeyError` for an argument that is missing.
    """
    if op["op"] == "state":
        return Memblock.from_regions(op["memory"], op["reserved"], numa=memblock.numa, max_nodes=MAX_NODES), None
    call = CALLS.get(op["op"])
    if call is None:
        return memblock, must("op", "one of the format's", repr(op["op"]))
    memblock.bottom_up = bool(op["bottom_up"])
    try:
        returned = call(memblock, op) or 0
    except OutOfMemory:
        returned = None
    found = {
        "ret": returned,
        "memory": [list(region) for region in memblock.memory],
        "reserved": [list(region) for region in memblock.reserved],
    }
    wrong = [must(name, str(op[name]), value) for name, value in found.items() if value != op[name]]
    return memblock, "; ".join(wrong) or None
