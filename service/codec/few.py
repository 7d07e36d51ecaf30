"""A few features as columns, which is what a stream's first batch has: numpy takes longer to begin than they do."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.catalog import PropertyType
from service.db.columns import Column
from service.db.copy import Wire
from service.db.queries import Statement
from service.domain import Key
from spatial.v1 import feature_pb2

FEW_BYTES = 16 * 1024  # as COPY sends them; twice as many take as long either way

LARGEST, SMALLEST = 2**63 - 1, -(2**63)
_EPOCHS_APART: Final = 946_684_800_000_000  # microseconds from 1970 to 2000
LISTS: Final[Mapping[PropertyType, str]] = MappingProxyType(
    {
        PropertyType.STRING: "strings",
        PropertyType.INTEGER: "integers",
        PropertyType.NUMBER: "numbers",
        PropertyType.BOOLEAN: "booleans",
        PropertyType.TIMESTAMP: "timestamps",
        PropertyType.JSON: "json",
        PropertyType.BYTES: "bytes",
    }
)

Integers = npt.NDArray[np.int64]
Add = Callable[[feature_pb2.FeatureColumns, Sequence[Any]], None]


class Few(NamedTuple):
    """So many features, the bytes of their FeatureColumns, and the key of the last."""

    features: int
    content: bytes
    last: Key


class FewColumns:
    """Made by protobuf, value by value."""

    def __init__(self, statement: Statement) -> None:
        self._decode = statement.decode
        self._adds = [_adding(column) for column in statement.columns]
        self._key = [column.kind for column in statement.columns].index("key")

    def read(self, rows: bytes) -> Few | None:
        """Of some whole rows as COPY sends them; None where there are no features."""
        decoded = self._decode(rows)
        if not decoded:
            return None
        columns = feature_pb2.FeatureColumns(count=len(decoded))
        for add, values in zip(self._adds, zip(*decoded, strict=True), strict=True):
            add(columns, values)
        last = decoded[-1][self._key]
        return Few(len(decoded), columns.SerializeToString(), last.decode() if isinstance(last, bytes) else last)


def _adding(column: Column) -> Add:
    if column.kind == "property":
        return _adding_property(column)
    if column.kind == "geometry":
        return lambda columns, values: columns.wkb.extend([value or b"" for value in values])
    if column.kind == "distance":
        return lambda columns, values: columns.distance_meters.extend(values)
    if column.field.wire is Wire.INT64:
        return lambda columns, values: columns.int64_ids.extend(values)
    return lambda columns, values: columns.string_ids.extend(_decoded(values))


def _adding_property(column: Column) -> Add:
    assert column.property is not None
    name, kind = column.property.name, LISTS[column.property.type]
    shown = _SHOWN.get(column.property.type)
    nothing: Any = _NOTHING.get(column.property.type, 0)

    def add(columns: feature_pb2.FeatureColumns, values: Sequence[Any]) -> None:
        added = columns.properties.add(name=name)
        if None in values:
            added.null_rows.extend([row for row, value in enumerate(values) if value is None])
            values = [nothing if value is None else value for value in values]
        getattr(added, kind).values.extend(shown(values) if shown else values)

    return add


def since_1970(microseconds: Integers) -> Integers:
    """From PostgreSQL's epoch. Infinities stay; what only just exists in PostgreSQL becomes the last before them."""
    finite = np.minimum(microseconds, LARGEST - 1 - _EPOCHS_APART) + _EPOCHS_APART
    return np.where((microseconds == LARGEST) | (microseconds == SMALLEST), microseconds, finite)


def _decoded(values: Sequence[bytes]) -> Sequence[str]:
    return [value.decode() for value in values]


def _moments(values: Sequence[int]) -> Sequence[int]:
    moments: list[int] = since_1970(np.array(values)).tolist()
    return moments


_SHOWN: Final[Mapping[PropertyType, Callable[[Any], Sequence[Any]]]] = MappingProxyType(
    {PropertyType.STRING: _decoded, PropertyType.JSON: _decoded, PropertyType.TIMESTAMP: _moments}
)
_NOTHING: Final[Mapping[PropertyType, bytes]] = MappingProxyType(
    dict.fromkeys((PropertyType.STRING, PropertyType.JSON, PropertyType.BYTES), b"")
)
