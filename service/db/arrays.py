"""Columns that PostgreSQL assembled: the aggregates that a statement asks for, and the Arrow array that they become."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.catalog import PropertyType
from service.db.columns import Column
from service.db.copy import Wire

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Assembly:
    """`aggregates` are SQL over `{value}`; of what they give, `array` makes so many values of an Arrow array."""

    aggregates: tuple[str, ...]
    array: Callable[..., pa.Array]


def assembly(column: Column, width: int | None = None) -> Assembly:
    """How a column is sent; `width` is how many bytes each of its values has, where all have as many."""
    wire, nullable = column.field.wire, column.field.nullable
    if wire is Wire.BOOL:
        return Assembly((_joined(_TRUTH),), _booleans)
    if wire is Wire.BYTES:
        if width is not None and not nullable:
            return Assembly((_joined("{value}"),), lambda count, content: _equally_long(count, content, width))
        length = "coalesce(octet_length({value}), -1)" if nullable else "octet_length({value})"
        return Assembly((_joined("{value}"), _joined(f"int4send({length})")), _of_lengths)
    values = _joined(f"{_sender(column)}({{value}})")
    order = ">f8" if wire is Wire.FLOAT64 else ">i8"
    if nullable:
        known = _joined("CASE WHEN {value} IS NULL THEN '0' ELSE '1' END")
        return Assembly((values, known), lambda count, content, known: _sparse_numbers(count, content, known, order))
    return Assembly((values,), lambda count, content: _numbers(count, content, order))


_TRUTH = "CASE WHEN {value} THEN '1' WHEN NOT {value} THEN '0' ELSE ' ' END"


def _joined(value: str) -> str:
    return f"string_agg({value}, '')"


def _sender(column: Column) -> str:
    if column.property is not None and column.property.type is PropertyType.TIMESTAMP:
        return "timestamptz_send"
    return "float8send" if column.field.wire is Wire.FLOAT64 else "int8send"


def _numbers(count: int, content: bytes, order: str) -> pa.Array:
    """PostgreSQL's bytes are big-endian."""
    values = np.frombuffer(content, order).astype(order.replace(">", "<"))
    _check(count, len(values))
    return pa.Array.from_buffers(_kind(order), count, [None, pa.py_buffer(values)])


def _sparse_numbers(count: int, content: bytes, known: bytes, order: str) -> pa.Array:
    """Of nulls, only the places are sent."""
    mask = np.frombuffer(known, np.uint8) == ord("1")
    _check(count, len(mask))
    values = np.zeros(count, order.replace(">", "<"))
    values[mask] = np.frombuffer(content, order)
    return pa.Array.from_buffers(_kind(order), count, [_bits(mask), pa.py_buffer(values)])


def _kind(order: str) -> pa.DataType:
    return pa.float64() if order.endswith("f8") else pa.int64()


def _booleans(count: int, content: bytes) -> pa.Array:
    truth = np.frombuffer(content, np.uint8)
    _check(count, len(truth))
    return pa.Array.from_buffers(pa.bool_(), count, [_bits(truth != ord(" ")), _bits(truth == ord("1"))])


def _of_lengths(count: int, content: bytes, lengths: bytes) -> pa.Array:
    """A length of -1 stands for null."""
    sizes = np.frombuffer(lengths, ">i4")
    _check(count, len(sizes))
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.maximum(sizes, 0), out=offsets[1:])
    _check(int(offsets[-1]), len(content))
    buffers = [_bits(sizes >= 0), pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), count, buffers)


def _equally_long(count: int, content: bytes, width: int) -> pa.Array:
    _check(count * width, len(content))
    offsets = np.arange(0, len(content) + 1, width, dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def _bits(mask: Mask) -> pa.Buffer | None:
    """Arrow's bitmap."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def _check(expected: int, given: int) -> None:
    """A column that is said to have no nulls and has some would shift its values to other features."""
    if expected != given:
        raise ValueError(f"{given} values or bytes where there must be {expected}")
