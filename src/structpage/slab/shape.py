"""The layout of objects in a slab: what a cache is before it has a page.

Terminology: an object's *address* is where its user's bytes begin; a slot is the `size` bytes from one object to the
next. Offsets count from the object's address, and `red_left_pad` bytes of the slot lie before it.

Layout of a slot, from its first byte::

    left red zone       red_left_pad bytes      with RED_ZONE
    object              object_size bytes
    right red zone      up to inuse             the filling up to a word; with RED_ZONE a word if there is none
    free pointer        8 bytes at offset       here if it may not lie within the object, else in the object's middle
    tracks              2 x 32 bytes            with STORE_USER: who allocated it, who freed it
    requested size      4 bytes                 with STORE_USER, in a kmalloc cache
    padding             up to the slot's end    the alignment's, and at least a word with RED_ZONE

Followed: Linux 6.1 mm/slub.c, `calculate_sizes`, `set_cpu_partial`, `kmem_cache_open`; mm/slab_common.c,
`calculate_alignment`, `kmalloc_slab`. For "7.3" its rules of where the free pointer lies, and of the order.
"""

from __future__ import annotations

from dataclasses import dataclass

from structpage.arguments import an_int, at_least, between, named
from structpage.errors import InvalidArgument, LimitExceeded, must
from structpage.frames import PAGE_SIZE
from structpage.slab.flags import DEBUG, INTERNAL, NO_CMPXCHG, NONE, SlabFlags, slab_flags
from structpage.slab.order import calculate_order, get_order, min_objects, objects_in

WORD = 8
CACHE_LINE = 64
TRACK_SIZE = 32
"""struct track: address (8 bytes), stack handle, CPU, PID (4 each, and 4 of filling), jiffies (8)."""
ORIG_SIZE = 4
MAX_ORDER = 10
"""The largest block of the page allocator."""
KMALLOC_MAX_SIZE = PAGE_SIZE << MAX_ORDER
KERNELS = ("6.1", "7.3")

KMALLOC_SIZES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
"""The kmalloc classes. What is larger than the last is taken as whole pages."""


@dataclass(frozen=True)
class Geometry:
    """What follows from an object's size, alignment and flags; sizes and offsets in bytes."""

    object_size: int
    align: int
    """What every object's address is a multiple of (and with red zones the slot's start, too)."""
    flags: SlabFlags
    """Those asked for, and OBJECT_POISON and CMPXCHG_DOUBLE where they apply."""
    inuse: int
    """End of the right red zone: where the metadata begin, if there are any."""
    offset: int
    """Of the free pointer."""
    red_left_pad: int
    size: int
    """From one object to the next."""
    order: int
    objects: int
    """Objects in a slab of `order`."""
    min_order: int
    """What is tried when there is no block of `order`."""
    min_objects: int
    min_partial: int
    """Partial slabs a node keeps before it gives an empty one back."""
    cpu_partial: int
    """Free objects meant to wait on a CPU's partial list; 0 for a debugging cache, which has none."""
    cpu_partial_slabs: int
    """The same as slabs of which half the objects are free: the limit that counts."""

    @property
    def debug(self) -> bool:
        """Whether the cache is on the debugging path."""
        return bool(self.flags & DEBUG)

    @property
    def freeptr_outside(self) -> bool:
        """Whether the free pointer lies after the object, so that it stays readable while the object is in use."""
        return self.offset >= self.inuse

    @property
    def info_end(self) -> int:
        """End of the free pointer if it is outside, else `inuse`: where the tracks begin."""
        return self.inuse + WORD * self.freeptr_outside

    @property
    def has_orig_size(self) -> bool:
        """Whether the requested size is kept: of kmalloc caches that store users."""
        both = SlabFlags.STORE_USER | SlabFlags.KMALLOC
        return self.flags & both == both

    @property
    def padding(self) -> int:
        """Start of the padding; it ends at `end`."""
        tracks = 2 * TRACK_SIZE if self.flags & SlabFlags.STORE_USER else 0
        return self.info_end + tracks + ORIG_SIZE * self.has_orig_size

    @property
    def end(self) -> int:
        """End of the slot."""
        return self.size - self.red_left_pad

    def objects_of(self, order: int) -> int:
        """Return how many objects a slab of 2^order pages has."""
        return objects_in(order, self.size)


def geometry(
    object_size: int,
    *,
    align: int = 0,
    flags: int | str = NONE,
    ctor: bool = False,
    freeptr_offset: int | None = None,
    cpus: int = 1,
    kernel: str = "6.1",
    slab_min_order: int = 0,
    slab_max_order: int = 3,
    slab_min_objects: int = 0,
) -> Geometry:
    """Return the layout and order of a cache's slabs.

    Args:
        object_size: bytes of an object, up to `KMALLOC_MAX_SIZE`.
        align: a power of two, or 0 for that of a word; HWCACHE_ALIGN may ask for more.
        flags: see `slab_flags`.
        ctor: whether objects are constructed, and so keep their content while they are free.
        freeptr_offset: where in a free object the pointer may lie although it is constructed or TYPESAFE_BY_RCU; a
            multiple of 8 that leaves room for it. "7.3" only.
        cpus: those of the machine.
        kernel: "6.1" or "7.3".
        slab_min_order: the boot parameter.
        slab_max_order: the boot parameter.
        slab_min_objects: the boot parameter; 0 for what the number of CPUs suggests.

    Raises:
        InvalidArgument: an argument that no cache has.
        LimitExceeded: an object and its metadata are larger than the largest block.

    """
    object_size = at_least("object size", object_size, 1)
    if object_size > KMALLOC_MAX_SIZE:
        raise LimitExceeded(must("object size", f"at most {KMALLOC_MAX_SIZE} bytes", object_size))
    wanted = slab_flags(flags) & ~INTERNAL
    align = _alignment(wanted, _an_align(align), object_size)
    named("kernel", kernel, KERNELS)
    freeptr_offset = _a_freeptr_offset(freeptr_offset, object_size, kernel)
    max_order = between("slab_max_order", slab_max_order, 0, MAX_ORDER)
    min_order = between("slab_min_order", slab_min_order, 0, max_order)
    least = at_least("slab_min_objects", slab_min_objects, 0) or min_objects(at_least("cpus", cpus, 1))

    inuse, offset, red_left_pad, size = _layout(object_size, align, wanted, ctor, freeptr_offset, kernel)
    order = calculate_order(size, least, min_order, max_order, kernel)
    if order > MAX_ORDER:
        raise LimitExceeded(must("object with its metadata", f"at most {KMALLOC_MAX_SIZE} bytes", size))
    if wanted & SlabFlags.POISON and not (wanted & SlabFlags.TYPESAFE_BY_RCU or ctor):
        wanted |= SlabFlags.OBJECT_POISON
    if not wanted & NO_CMPXCHG:
        wanted |= SlabFlags.CMPXCHG_DOUBLE
    objects, least_order = objects_in(order, size), get_order(size)
    cpu_partial = 0 if wanted & DEBUG else _cpu_partial(size)
    return Geometry(
        object_size=object_size,
        align=align,
        flags=wanted,
        inuse=inuse,
        offset=offset,
        red_left_pad=red_left_pad,
        size=size,
        order=order,
        objects=objects,
        min_order=least_order,
        min_objects=objects_in(least_order, size),
        min_partial=min(10, max(5, (size.bit_length() - 1) // 2)),
        cpu_partial=cpu_partial,
        cpu_partial_slabs=-(-2 * cpu_partial // objects),
    )


def kmalloc_index(size: int) -> int:
    """Return the index in `KMALLOC_SIZES` of the class that serves a request of `size` bytes.

    Raises `InvalidArgument` for less than one byte (the kernel answers with ZERO_SIZE_PTR), and `LimitExceeded` for
    more than the largest class, which is served by whole pages. O(1).
    """
    size = at_least("size", size, 1)
    if size > KMALLOC_SIZES[-1]:
        raise LimitExceeded(must("size of a kmalloc class", f"at most {KMALLOC_SIZES[-1]} bytes", size))
    if size <= 192:
        return _SMALL[(size - 1) // 8]
    return (size - 1).bit_length() - 1


def kmalloc_size(size: int) -> int:
    """Return the size of the kmalloc class that serves a request of `size` bytes; raises like `kmalloc_index`."""
    return KMALLOC_SIZES[kmalloc_index(size)]


def kmalloc_align(size: int) -> int:
    """Return the alignment of a kmalloc class (`create_boot_cache`): its size, if that is a power of two, or a word."""
    return size if size & size - 1 == 0 else WORD


_SMALL = [next(i for i, most in enumerate(KMALLOC_SIZES) if size <= most) for size in range(8, 193, 8)]


def _align(value: int, to: int) -> int:
    return (value + to - 1) & -to


def _an_align(align: object) -> int:
    number = an_int("align", align)
    if number < 0 or number & number - 1 or number > PAGE_SIZE << MAX_ORDER:
        raise InvalidArgument(must("align", f"0 or a power of two up to {PAGE_SIZE << MAX_ORDER}", number))
    return number


def _alignment(flags: SlabFlags, align: int, size: int) -> int:
    """`calculate_alignment`: a cache line, or the smallest part of one that holds the object."""
    if flags & SlabFlags.HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return _align(max(align, WORD), WORD)


def _a_freeptr_offset(offset: object, object_size: int, kernel: str) -> int | None:
    if offset is None:
        return None
    number = an_int("freeptr_offset", offset)
    if kernel == "6.1":
        raise InvalidArgument(must("freeptr_offset", 'None with kernel "6.1"', number))
    if number % WORD or not 0 <= number <= object_size - WORD:
        raise InvalidArgument(must("freeptr_offset", f"a multiple of 8 within {object_size} bytes of object", number))
    return number


def _layout(
    object_size: int, align: int, flags: SlabFlags, ctor: bool, freeptr_offset: int | None, kernel: str
) -> tuple[int, int, int, int]:
    """Return inuse, offset, red_left_pad and size."""
    red_zone = flags & SlabFlags.RED_ZONE
    kmalloc_user = flags & SlabFlags.KMALLOC and flags & SlabFlags.STORE_USER
    size = _align(object_size, WORD)
    if red_zone and size == object_size:
        size += WORD
    inuse = size
    keeps_content = (flags & SlabFlags.TYPESAFE_BY_RCU or ctor) and freeptr_offset is None
    exposed = red_zone and (object_size < WORD or (kmalloc_user and kernel != "6.1"))
    if keeps_content or flags & SlabFlags.POISON or exposed:
        offset = size
        size += WORD
    elif freeptr_offset is not None:
        offset = freeptr_offset
    else:
        offset = object_size // 2 & -WORD
    if flags & SlabFlags.STORE_USER:
        size += 2 * TRACK_SIZE + (ORIG_SIZE if kmalloc_user else 0)
    red_left_pad = _align(WORD, align) if red_zone else 0
    if red_zone:
        size += WORD + red_left_pad
    return inuse, offset, red_left_pad, _align(size, align)


def _cpu_partial(size: int) -> int:
    """`set_cpu_partial`."""
    for least, objects in ((PAGE_SIZE, 6), (1024, 24), (256, 52)):
        if size >= least:
            return objects
    return 120
