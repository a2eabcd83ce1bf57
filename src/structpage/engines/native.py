"""Buffers and rows for compiled code: an address and a length, and several addresses with one length.

Imported only when something is compiled, for it needs numba. In compiled code a buffer is two machine words: no
reference is counted, no index is checked, and a negative index does not wrap. *Rows* are columns that are read
side by side, once and in order, with one counter for all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.core.imputils import RefType, iternext_impl
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    models,
    overload,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)


class NativeBuffer:
    """Words for compiled code, kept alive as long as this is."""

    __slots__ = ("address", "length", "words")

    def __init__(self, words: npt.NDArray[np.int64]) -> None:
        self.words, self.address, self.length = words, words.ctypes.data, len(words)


class NativeType(types.Type):
    """The type of native buffers: there is one."""

    def __init__(self) -> None:
        super().__init__(name="structpage.buffer")


NATIVE = NativeType()


@typeof_impl.register(NativeBuffer)
def _typeof(value: NativeBuffer, context: Any) -> NativeType:
    return NATIVE


@register_model(NativeType)
class _NativeModel(models.StructModel):
    def __init__(self, manager: Any, kind: NativeType) -> None:
        super().__init__(manager, kind, [("data", types.CPointer(types.int64)), ("length", types.int64)])


@unbox(NativeType)
def _unbox(kind: NativeType, obj: Any, c: Any) -> NativeValue:
    buffer = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    buffer.data = c.builder.inttoptr(_attribute(c, obj, "address"), buffer.data.type)
    buffer.length = _attribute(c, obj, "length")
    return NativeValue(buffer._getvalue(), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


def _attribute(c: Any, obj: Any, name: str) -> Any:
    value = c.pyapi.object_getattr_string(obj, name)
    number = c.pyapi.long_as_longlong(value)
    c.pyapi.decref(value)
    return number


def _buffer(context: Any, builder: Any, value: Any) -> Any:
    return cgutils.create_struct_proxy(NATIVE)(context, builder, value=value)


@intrinsic
def _load(typing: Any, buffer: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(_buffer(context, builder, args[0]).data, [args[1]]))

    return types.int64(NATIVE, types.int64), generate


@intrinsic
def _store(typing: Any, buffer: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(_buffer(context, builder, args[0]).data, [args[1]]))
        return context.get_dummy_value()

    return types.void(NATIVE, types.int64, types.int64), generate


@intrinsic
def _length(typing: Any, buffer: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _buffer(context, builder, args[0]).length

    return types.int64(NATIVE), generate


@overload(operator.getitem, strict=False)
def _getitem(buffer: Any, index: Any) -> Any:
    return (lambda buffer, index: _load(buffer, index)) if buffer is NATIVE else None


@overload(operator.setitem, strict=False)
def _setitem(buffer: Any, index: Any, value: Any) -> Any:
    return (lambda buffer, index, value: _store(buffer, index, value)) if buffer is NATIVE else None


@overload(len, strict=False)
def _len(buffer: Any) -> Any:
    return (lambda buffer: _length(buffer)) if buffer is NATIVE else None


# What else the core does with ints


@intrinsic
def _leading_zeros(typing: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], cgutils.false_bit)

    return types.int64(types.int64), generate


@overload_method(types.Integer, "bit_length")
def _bit_length(number: Any) -> Any:
    def bit_length(number: Any) -> Any:
        value = types.int64(number)
        return 64 - _leading_zeros(-value if value < 0 else value)

    return bit_length


# Rows


class NativeRows:
    """Columns of one length for compiled code, to be read side by side."""

    def __init__(self, columns: Sequence[npt.NDArray[np.int64]]) -> None:
        self.columns = columns
        self.length = len(columns[0])
        for number, column in enumerate(columns):
            setattr(self, f"address{number}", column.ctypes.data)


class RowsType(types.SimpleIterableType):
    """The type of rows of so many columns."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.iterator = RowsIterator(columns)
        super().__init__(f"structpage.rows({columns})", self.iterator)


class RowsIterator(types.SimpleIteratorType):
    """The type of what yields one row after the other, each a tuple of ints."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        super().__init__(f"structpage.rows_iterator({columns})", types.UniTuple(types.int64, columns))


def _row_members(columns: int) -> list[tuple[str, Any]]:
    return [("length", types.int64), *((f"address{i}", types.CPointer(types.int64)) for i in range(columns))]


@typeof_impl.register(NativeRows)
def _typeof_rows(value: NativeRows, context: Any) -> RowsType:
    return RowsType(len(value.columns))


@register_model(RowsType)
class _RowsModel(models.StructModel):
    def __init__(self, manager: Any, kind: RowsType) -> None:
        super().__init__(manager, kind, _row_members(kind.columns))


@register_model(RowsIterator)
class _IteratorModel(models.StructModel):
    def __init__(self, manager: Any, kind: RowsIterator) -> None:
        members = [("next", types.EphemeralPointer(types.int64)), *_row_members(kind.columns)]
        super().__init__(manager, kind, members)


@unbox(RowsType)
def _unbox_rows(kind: RowsType, obj: Any, c: Any) -> NativeValue:
    rows = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    rows.length = _attribute(c, obj, "length")
    for i in range(kind.columns):
        address = _attribute(c, obj, f"address{i}")
        setattr(rows, f"address{i}", c.builder.inttoptr(address, getattr(rows, f"address{i}").type))
    return NativeValue(rows._getvalue(), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@lower_builtin("getiter", RowsType)
def _getiter(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    rows = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    iterator = cgutils.create_struct_proxy(signature.return_type)(context, builder)
    iterator.next = cgutils.alloca_once_value(builder, context.get_constant(types.int64, 0))
    for name, _ in _row_members(signature.args[0].columns):
        setattr(iterator, name, getattr(rows, name))
    return iterator._getvalue()


@lower_builtin("iternext", RowsIterator)
@iternext_impl(RefType.UNTRACKED)
def _iternext(context: Any, builder: Any, signature: Any, args: Any, result: Any) -> None:
    (kind,) = signature.args
    iterator = cgutils.create_struct_proxy(kind)(context, builder, value=args[0])
    index = builder.load(iterator.next)
    is_valid = builder.icmp_signed("<", index, iterator.length)
    result.set_valid(is_valid)
    with builder.if_then(is_valid):
        addresses = (getattr(iterator, f"address{i}") for i in range(kind.columns))
        row = [builder.load(builder.gep(address, [index])) for address in addresses]
        result.yield_(context.make_tuple(builder, kind.yield_type, row))
        builder.store(builder.add(index, context.get_constant(types.int64, 1)), iterator.next)
