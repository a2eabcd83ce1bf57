"""The order of a cache's slabs, from the size of its slots.

The idea: the smallest order that holds enough objects (more with more CPUs, which each keep a slab) and wastes at most
a 16th of the slab; failing that an 8th, and so on. 6.1 asks for fewer objects before it wastes more than a quarter; 7.3
wastes up to a half and asks for no fewer. What is too large for `max_order` gets the order it needs.

Followed: Linux 6.1 and 7.3 mm/slub.c, `calculate_order`, `calc_slab_order`.
"""

from __future__ import annotations

from structpage.frames import PAGE_SHIFT, PAGE_SIZE

MAX_OBJECTS = 32767
"""A slab's count of objects has 15 bits."""


def calculate_order(size: int, least: int, min_order: int, max_order: int, kernel: str) -> int:
    """Return the order for slots of `size` bytes, of which at least `least` are wanted; see `geometry` for the rest.

    What no block holds gives an order that no block has.
    """
    return (_order_61 if kernel == "6.1" else _order_73)(size, least, min_order, max_order)


def min_objects(cpus: int) -> int:
    """Return how many objects a slab should have at least on a machine of so many CPUs."""
    return 4 * (cpus.bit_length() + 1)


def get_order(size: int) -> int:
    """Return the order of the smallest block of `size` bytes."""
    return (size - 1 >> PAGE_SHIFT).bit_length()


def objects_in(order: int, size: int) -> int:
    """Return how many slots a slab has."""
    return (PAGE_SIZE << order) // size


def _fits(size: int, orders: range, fraction: int) -> int | None:
    """Return the first order of which at most one part in `fraction` is left over."""
    for order in orders:
        slab = PAGE_SIZE << order
        if slab % size <= slab // fraction:
            return order
    return None


def _order_61(size: int, least: int, min_order: int, max_order: int) -> int:
    if objects_in(min_order, size) > MAX_OBJECTS:
        return get_order(size * MAX_OBJECTS) - 1
    for objects in range(min(least, objects_in(max_order, size)), 1, -1):
        start = max(min_order, get_order(objects * size))
        for fraction in (16, 8, 4):
            order = _fits(size, range(start, max_order + 1), fraction)
            if order is not None:
                return order
    return max(min_order, get_order(size))


def _order_73(size: int, least: int, min_order: int, max_order: int) -> int:
    objects = min(least, max(objects_in(max_order, size), 1))
    start = max(min_order, get_order(objects * size))
    if objects_in(start, size) > MAX_OBJECTS:
        return get_order(size * MAX_OBJECTS) - 1
    for fraction in (16, 8, 4, 2):
        order = _fits(size, range(start, max_order + 1), fraction)
        if order is not None:
            return order
    return get_order(size)
