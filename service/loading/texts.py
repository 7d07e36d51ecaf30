"""Columns of Arrow as the texts that PostgreSQL reads: whole columns at a time, where their types allow it."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow
from pyarrow import compute, types

from service.catalog import PropertyType
from service.loading.source import Fault

Texts = list[str | None]
# What PostgreSQL's types take; for all others it is asked.
_TAKEN = {
    PropertyType.INTEGER: r"^\s*[+-]?\d+\s*$",
    PropertyType.NUMBER: r"(?i)^\s*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)\s*$",
    PropertyType.BOOLEAN: r"(?i)^\s*(t|tr|tru|true|f|fa|fal|fals|false|y|ye|yes|n|no|on|of|off|0|1)\s*$",
}
_CALLED = {
    PropertyType.INTEGER: "an integer",
    PropertyType.NUMBER: "a number",
    PropertyType.BOOLEAN: "true or false",
}
LONGEST_SHOWN = 80


class Wanted(NamedTuple):
    """What a column is to become; `array` is whether PostgreSQL has it as an array."""

    field: str
    type: PropertyType
    array: bool = False


def texts_of(column: pyarrow.Array, wanted: Wanted) -> tuple[Texts, Mapping[int, Fault]]:
    """The texts, and by position why a value is none of the type."""
    column = _plain(column)
    if wanted.type is PropertyType.INTEGER and types.is_floating(column.type):
        column = _whole(column)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return _checked(column, wanted)
    return _written(column, wanted), {}


def _plain(column: Any) -> Any:
    column = getattr(column, "storage", column)
    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def _whole(column: Any) -> Any:
    """Integers, where a file has only room for doubles; texts if some are none."""
    try:
        return compute.cast(column, pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return compute.cast(column, pyarrow.string())


def _checked(column: Any, wanted: Wanted) -> tuple[Texts, Mapping[int, Fault]]:
    texts: Texts = column.to_pylist()
    nul = _fault(wanted, "it has a NUL, which no text may have")
    faults = dict.fromkeys(_rows(compute.match_substring(column, "\0")), nul)
    if pattern := _TAKEN.get(wanted.type):
        for row in _rows(compute.invert(compute.match_substring_regex(column, pattern))):
            shown = repr(texts[row])[:LONGEST_SHOWN]
            faults[row] = _fault(wanted, f"{shown} is not {_CALLED[wanted.type]}")
    if wanted.array:
        return [_array_of_json(text) for text in texts], faults
    return texts, faults


def _rows(marks: Any) -> list[int]:
    rows: list[int] = compute.indices_nonzero(compute.fill_null(marks, False)).to_pylist()
    return rows


def _fault(wanted: Wanted, message: str) -> Fault:
    return Fault("INVALID_PROPERTY_VALUE", message, wanted.field)


def _written(column: Any, wanted: Wanted) -> Texts:
    if types.is_binary(column.type) or types.is_large_binary(column.type) or types.is_fixed_size_binary(column.type):
        return _each(column, lambda value: f"\\x{value.hex()}")
    if wanted.array and types.is_list(column.type):
        return _each(column, array_literal)
    if types.is_nested(column.type):
        return _each(column, lambda value: json.dumps(value, default=str, ensure_ascii=False))
    if wanted.type is PropertyType.JSON and types.is_floating(column.type):
        return _each(column, lambda value: json.dumps(value))
    texts: Texts = compute.cast(column, pyarrow.string()).to_pylist()
    return texts


def _each(column: Any, write: Callable[[Any], str]) -> Texts:
    return [None if value is None else write(value) for value in column.to_pylist()]


def _array_of_json(text: str | None) -> str | None:
    """A list as JSON has it is made an array; what PostgreSQL has for arrays stays."""
    if text is None or not text.lstrip().startswith("["):
        return text
    try:
        return array_literal(json.loads(text))
    except ValueError:
        return text


def array_literal(items: list[Any]) -> str:
    return "{" + ",".join(map(_item, items)) + "}"


def _item(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return array_literal(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
