"""The exceptions of structpage: one tree, and every class is also the builtin kind one would expect.

::

    StructPageError
        InvalidArgument (ValueError)      a value no call accepts
            LimitExceeded                 a stated limit of a layout or placement
        OutOfRange (IndexError)           a PFN or range outside the memory
        InvalidFree (ValueError)          a free, release or take of frames that are in another state
            InvalidObject                 an address that is no object in use of the slab cache
                DoubleFree                an object that was freed before
        CacheInUse (RuntimeError)         a slab cache of which objects are in use is destroyed
        OutOfMemory (MemoryError)         no free block that would do
        BootstrapError (RuntimeError)     a layer needs another that needs it first, step by step
        UnknownName (LookupError)         a placement, engine, consumer or workload that does not exist
        MissingExtra (ImportError)        an optional dependency is needed
        TraceError (ValueError)           a trace, capture or script that cannot be read
        CorruptionError (RuntimeError)    a broken invariant, with the place of it
            SlabCorruption                bytes of a slab that are not what they should be, with the kernel's report
        AccessError (RuntimeError)        an access that the checked engine does not allow, with the place of it

All messages speak one grammar, *subject must be rule, not value*, made by `must`.
"""

from __future__ import annotations


def must(subject: str, rule: str, value: object) -> str:
    """Return the message of a broken rule: *subject must be rule, not value*."""
    return f"{subject} must be {rule}, not {value}"


class StructPageError(Exception):
    """Root of everything this package raises on purpose.

    `request` is the row of the request that met it, where requests were replayed from arrays.
    """

    request: int | None = None


class InvalidArgument(StructPageError, ValueError):
    """An argument is of a value that no state of the machine would accept; nothing was changed."""


class LimitExceeded(InvalidArgument):
    """A stated limit of a word layout or a placement does not allow it; choose another, or less memory."""


class OutOfRange(StructPageError, IndexError):
    """A PFN, or a range of PFNs, is not within the memory; nothing was changed."""


class InvalidFree(StructPageError, ValueError):
    """Frames are not in the state that this call needs (a double free, a wrong order); nothing was changed."""


class InvalidObject(InvalidFree):
    """An address is not an object in use of the slab cache.

    Attributes: `cache` (its name), `address`, and `report`, the lines the kernel would print, empty where it prints
    nothing. `given_to` names the call where it is not the free of that cache.
    """

    def __init__(
        self, cache: str, address: int, rule: str, value: object, *, report: str = "", given_to: str | None = None
    ) -> None:
        self.cache, self.address, self.report = cache, address, report
        what = f"freed to cache {cache}" if given_to is None else f"given to {given_to}"
        super().__init__(must(f"address {address:#x} {what}", rule, value))


class DoubleFree(InvalidObject):
    """An object is freed that is free already; it stays on its free list once."""


class CacheInUse(StructPageError, RuntimeError):
    """A slab cache is destroyed while objects of it are in use: free them first; nothing was changed."""


class OutOfMemory(StructPageError, MemoryError):
    """No free block satisfies the request; nothing was changed."""


class BootstrapError(StructPageError, RuntimeError):
    """Two layers need each other first: a placement's nodes come from the slab, whose slabs come from its lists.

    `steps` tell who needed what from whom, in order.
    """

    def __init__(self, placement: str, steps: list[str]) -> None:
        self.placement, self.steps = placement, tuple(steps)
        told = "".join(f"\n  {number}. {step}" for number, step in enumerate(steps, 1))
        super().__init__(
            must(
                f"nodes of placement {placement}",
                "there before they are needed",
                "in a circle, which a larger reserve breaks:",
            )
            + told
        )


class UnknownName(StructPageError, LookupError):
    """A name is not registered; the message lists those that are."""


class MissingExtra(StructPageError, ImportError):
    """A feature needs an optional dependency; the message names the extra to install."""


class TraceError(StructPageError, ValueError):
    """A trace, capture, script or data file is not of the format it should have."""


class CorruptionError(StructPageError, RuntimeError):
    """An invariant of the allocator is broken.

    Attributes say where, each `None` where it does not apply: `zone` (name), `list` (a readable list
    name), `pfn`, `field`, `expected` and `found`.
    """

    def __init__(
        self,
        field: str,
        expected: object,
        found: object,
        *,
        zone: str | None = None,
        list: str | None = None,  # noqa: A002  the report's own word
        pfn: int | None = None,
    ) -> None:
        self.zone, self.list, self.pfn = zone, list, pfn
        self.field, self.expected, self.found = field, expected, found
        place = [f"zone {zone}"] if zone is not None else []
        place += [f"list {list}"] if list is not None else []
        place += [f"PFN {pfn}"] if pfn is not None else []
        super().__init__(f"{', '.join([*place, field])} must be {expected}, not {found}")


class SlabCorruption(CorruptionError):
    """Bytes of a slab are not what its cache's debugging left there: somebody wrote where it was not his to write.

    The damage is repaired and isolated as the kernel does it before this is raised, and the call did nothing else.

    Attributes beside those of `CorruptionError`: `cache` (its name), `address` of the first bad byte, `object`, the
    address of the object it belongs to (`None` for what is the slab's), `offset` of the byte in the slab, and `report`,
    the lines the kernel would print. `field` is the kernel's word, such as "Right Redzone".
    """

    def __init__(
        self,
        field: str,
        expected: object,
        found: object,
        *,
        cache: str,
        address: int,
        offset: int,
        object: int | None = None,  # noqa: A002  the report's own word
        pfn: int | None = None,
        report: str = "",
    ) -> None:
        self.cache, self.address, self.offset = cache, address, offset
        self.object, self.report = object, report
        place = f"cache {cache}, object {object:#x}" if object is not None else f"cache {cache}"
        super().__init__(f"{place}, {field} at offset {offset} of the slab", expected, found)
        self.field, self.pfn = field, pfn


class AccessError(StructPageError, RuntimeError):
    """The checked engine met an access to what is out of bounds or somebody else's, or a wrong call or answer.

    It is raised at the access, so what was done before it in the same operation stays done: the allocator is of no
    further use. Attributes say where, each `None` where it does not apply: `operation`, the placement's method with
    its arguments, `None` while the allocator's own code ran; `buffer` (name), `index`, and `pfn`.
    """

    def __init__(
        self,
        subject: str,
        rule: str,
        value: object,
        *,
        operation: str | None = None,
        buffer: str | None = None,
        index: int | None = None,
        pfn: int | None = None,
    ) -> None:
        self.operation, self.buffer, self.index, self.pfn = operation, buffer, index, pfn
        super().__init__(must(f"{operation}: {subject}" if operation else subject, rule, value))
