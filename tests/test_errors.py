"""One tree of exceptions, one grammar of messages."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from helpers import says

from structpage import errors
from structpage.arguments import a_pfn, a_range, an_int, at_least, between, named
from structpage.errors import (
    AccessError,
    CorruptionError,
    InvalidArgument,
    InvalidObject,
    OutOfRange,
    SlabCorruption,
    StructPageError,
    UnknownName,
    must,
)

BUILTIN = {
    "InvalidArgument": ValueError, "LimitExceeded": ValueError, "OutOfRange": IndexError, "InvalidFree": ValueError,
    "OutOfMemory": MemoryError, "UnknownName": LookupError, "MissingExtra": ImportError, "TraceError": ValueError,
    "CorruptionError": RuntimeError, "AccessError": RuntimeError, "BootstrapError": RuntimeError,
    "InvalidObject": ValueError, "DoubleFree": ValueError, "CacheInUse": RuntimeError, "SlabCorruption": RuntimeError,
}  # fmt: skip


def test_every_class_is_ours_and_a_builtin_kind():
    classes = {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if cls.__module__ == errors.__name__ and cls is not StructPageError
    }
    assert classes.keys() == BUILTIN.keys()
    for name, cls in classes.items():
        assert issubclass(cls, StructPageError)
        assert issubclass(cls, BUILTIN[name])
        assert cls.request is None
        assert cls.__doc__


def test_must():
    assert must("order", "at most 10", 11) == "order must be at most 10, not 11"


def test_a_corruption_says_where():
    error = CorruptionError("order", 3, 4, zone="DMA of node 0", list="order 3 Movable", pfn=8)
    assert str(error) == "zone DMA of node 0, list order 3 Movable, PFN 8, order must be 3, not 4"
    assert (error.field, error.expected, error.found) == ("order", 3, 4)
    assert (error.zone, error.list, error.pfn) == ("DMA of node 0", "order 3 Movable", 8)
    assert str(CorruptionError("tag", 1, 2)) == "tag must be 1, not 2"
    assert str(CorruptionError("tag", 1, 2, pfn=0)) == "PFN 0, tag must be 1, not 2"


def test_a_corruption_of_a_slab_says_where():
    error = SlabCorruption("Poison", "0x6b", "0x41", cache="dentry", address=0x1234, offset=0x234, object=0x1200, pfn=1)
    message = "cache dentry, object 0x1200, Poison at offset 564 of the slab must be 0x6b, not 0x41"
    assert (str(error), error.report) == (message, "")
    assert (error.cache, error.object, error.address, error.offset, error.pfn) == ("dentry", 0x1200, 0x1234, 0x234, 1)
    assert (error.field, error.expected, error.found, error.zone) == ("Poison", "0x6b", "0x41", None)
    whole = SlabCorruption("inuse", 3, 4, cache="dentry", address=0x1000, offset=0)
    assert str(whole) == "cache dentry, inuse at offset 0 of the slab must be 3, not 4"


def test_a_free_of_no_object_says_what_is_there():
    error = InvalidObject("dentry", 0x1234, "an object", "a page", report="BUG")
    assert str(error) == "address 0x1234 freed to cache dentry must be an object, not a page"
    assert (error.cache, error.address, error.report) == ("dentry", 0x1234, "BUG")


def test_a_wrong_access_says_where():
    error = AccessError("index of link", "between 0 and 9", 10, operation="remove(PFN 5)", buffer="link", index=10)
    assert str(error) == "remove(PFN 5): index of link must be between 0 and 9, not 10"
    assert (error.operation, error.buffer, error.index, error.pfn) == ("remove(PFN 5)", "link", 10, None)
    assert str(AccessError("answer", "0", 1, pfn=3)) == "answer must be 0, not 1"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: an_int("n", 1.5), InvalidArgument, "n must be an int, not 1.5"),
        (lambda: an_int("n", True), InvalidArgument, "n must be an int, not True"),
        (lambda: an_int("n", "1"), InvalidArgument, "n must be an int, not '1'"),
        (lambda: between("n", 4, 0, 3), InvalidArgument, "n must be between 0 and 3, not 4"),
        (lambda: at_least("n", 0, 1), InvalidArgument, "n must be at least 1, not 0"),
        (lambda: a_pfn(8, 8), OutOfRange, "PFN must be between 0 and 7, not 8"),
        (lambda: a_range(7, 2, 8), OutOfRange, "range must be within the 8 frames of memory, not [7, 9)"),
        (lambda: a_range(7, 0, 8), InvalidArgument, "count must be at least 1, not 0"),
        (lambda: named("c", "x", ("a", "b")), UnknownName, "c must be one of a, b, not 'x'"),
    ],
)
def test_arguments(call, error, message):
    with pytest.raises(error, match=says(message)):
        call()


def test_numpy_integers_are_ints():
    for value in (np.int64(3), np.uint64(3), np.uint8(3)):
        assert type(an_int("n", value)) is int
    assert a_range(np.uint64(1), np.uint64(2), 8) == (1, 3)
