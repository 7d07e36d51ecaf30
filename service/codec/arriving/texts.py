"""Values on their way into columns, as texts that PostgreSQL reads."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
from google.protobuf import struct_pb2

from service.catalog import Layer, Property, PropertyType
from service.codec.arriving.literals import Unfit, json_writer, writer
from service.codec.few import LISTS
from service.errors import InvalidArgument, Reason
from spatial.v1 import feature_pb2

Texts = list[str | None]
Refusals = dict[int, InvalidArgument]

# What only just exists in PostgreSQL, in microseconds since 1970.
_FIRST_MOMENT: Final = -210_866_803_200_000_000
_INFINITE: Final = {2**63 - 1: "infinity", -(2**63): "-infinity"}


def text_of(layer: Layer, prop: Property, value: struct_pb2.Value) -> str | None:
    """None is null; INVALID_PROPERTY_VALUE, without a field, for what the property cannot have."""
    try:
        content = _content(value)
        return None if content is None else writer(prop)(content)
    except Unfit as why:
        raise _refused(layer, prop, str(why)) from None


def text_writer(layer: Layer, prop: Property) -> Callable[[struct_pb2.Value], str | None]:
    """`text_of` for many values of a property."""
    return partial(text_of, layer, prop)


def texts_of(layer: Layer, prop: Property, column: feature_pb2.Column, count: int) -> tuple[Texts, Refusals]:
    """The texts of a whole column, None for null and for values that are refused; and the refusals by position. A
    column that is not of the property's type or has not so many values is refused as a whole."""
    wanted, given = LISTS[prop.type], column.WhichOneof("values")
    if given != wanted:
        raise _refused(layer, prop, f"it comes as {wanted}, not as {given or 'nothing'}")
    values = getattr(column, wanted).values
    if len(values) != count:
        raise _refused(layer, prop, f"there are {len(values)} values of {count} features")
    nulls = _nulls(layer, prop, column, count)
    texts, unfit = _written(prop, values, nulls)
    for row in nulls:
        texts[row] = None
    return texts, {row: _refused(layer, prop, why) for row, why in unfit.items() if row not in nulls}


def _content(value: struct_pb2.Value) -> Any:
    """As json.loads would give it."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":  # the most common
        return value.string_value
    if kind is None:
        raise Unfit("there is no value")
    if kind == "null_value":
        return None
    if kind == "struct_value":
        # In an order of their own, so that the same value is the same text.
        return {name: _content(member) for name, member in sorted(value.struct_value.fields.items(), key=_name)}
    if kind == "list_value":
        return [_content(member) for member in value.list_value.values]
    return getattr(value, kind)


def _name(member: tuple[str, struct_pb2.Value]) -> str:
    return member[0]


def _nulls(layer: Layer, prop: Property, column: feature_pb2.Column, count: int) -> set[int]:
    rows = column.null_rows
    if rows and max(rows) >= count:
        raise _refused(layer, prop, f"row {max(rows)} is to be null, and there are {count}")
    return set(rows)


def _written(prop: Property, values: Sequence[Any], nulls: Iterable[int]) -> tuple[Texts, dict[int, str]]:
    match prop.type:
        case PropertyType.BOOLEAN:
            return ["true" if value else "false" for value in values], {}
        case PropertyType.BYTES:
            return [f"\\x{value.hex()}" for value in values], {}
        case PropertyType.TIMESTAMP:
            return _moments(values)
        case PropertyType.JSON:
            # Many are alike, as a rule.
            return _each(values, cache(json_writer(prop)), nulls)
    return _each(values, writer(prop), nulls)


def _each(values: Sequence[Any], write: Callable[[Any], str], nulls: Iterable[int]) -> tuple[Texts, dict[int, str]]:
    """Value by value once something does not fit; what stands where null is to be need not."""
    try:
        return list(map(write, values)), {}
    except Unfit:
        texts: Texts = [None] * len(values)
    unfit = {}
    for row, value in enumerate(values):
        try:
            texts[row] = write(value)
        except Unfit as why:
            unfit[row] = str(why)
    return texts, unfit


def _moments(values: Sequence[int]) -> tuple[Texts, dict[int, str]]:
    """From microseconds since 1970; of the years before 1, and beyond 9999, too."""
    moments = np.fromiter(values, np.int64, len(values))
    texts: Texts = [f"{text}Z" for text in np.datetime_as_string(moments.view("M8[us]")).tolist()]
    unfit = {}
    for row in np.flatnonzero((moments < -62_135_596_800_000_000) | (moments == 2**63 - 1)).tolist():
        value = int(moments[row])
        if value < _FIRST_MOMENT and value not in _INFINITE:
            unfit[row], texts[row] = f"{value} is before all that PostgreSQL can tell", None
        else:
            texts[row] = _INFINITE.get(value) or _before_christ(str(moments[row : row + 1].view("M8[us]")[0]))
    return texts, unfit


def _before_christ(text: str) -> str:
    """The year 0 is 1 BC, and -1 is 2 BC."""
    year, rest = text[:-22], text[-22:]
    return f"{1 - int(year):04}{rest}Z BC"


def _refused(layer: Layer, prop: Property, why: str) -> InvalidArgument:
    return InvalidArgument(
        Reason.INVALID_PROPERTY_VALUE,
        f"property {prop.name!r} of layer {layer.name!r} cannot have this value: {why}",
        metadata={"layer": layer.name, "property": prop.name},
    )
