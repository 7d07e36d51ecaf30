"""Features as columns: the fastest way for pure Python to read very many."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from spatial.v1 import feature_pb2

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
# Beyond them a datetime cannot go; PostgreSQL's infinities are farther out still.
FIRST, LAST = ((end - EPOCH) // timedelta(microseconds=1) for end in (EARLIEST, LATEST))


class Columns:
    """Some of a stream's features, row by row in lists of equal length."""

    def __init__(self, message: feature_pb2.FeatureColumns, srid: int) -> None:
        self._message = message
        self.srid = srid

    def __len__(self) -> int:
        return self._message.count

    @cached_property
    def ids(self) -> list[int] | list[str]:
        """The keys: integers in a layer whose keys are, else text."""
        return self._message.int64_ids[:] or self._message.string_ids[:]

    @cached_property
    def wkb(self) -> list[bytes]:
        """ISO WKB, little-endian; no bytes where there is no geometry. Empty where none was asked for."""
        return self._message.wkb[:]

    @cached_property
    def distance_meters(self) -> list[float]:
        """Empty unless the question measures a distance."""
        return self._message.distance_meters[:]

    @cached_property
    def properties(self) -> Mapping[str, list[Any]]:
        """By name, each column decoded when first asked for. None for null, datetimes in UTC, JSON as Python values."""
        return _Properties(self._message.properties)


class _Properties(Mapping[str, list[Any]]):
    def __init__(self, columns: Sequence[feature_pb2.Column]) -> None:
        self._columns = {column.name: column for column in columns}
        self._decoded: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._decoded:
            self._decoded[name] = _values(self._columns[name])
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _values(column: feature_pb2.Column) -> list[Any]:
    kind = column.WhichOneof("values") or "strings"
    values: list[Any] = getattr(column, kind).values[:]
    # Before they are converted: what stands for null need not be JSON.
    nulls = set(column.null_rows)
    if convert := _CONVERT.get(kind):
        return [None if row in nulls else convert(value) for row, value in enumerate(values)]
    for row in nulls:
        values[row] = None
    return values


def _datetime(microseconds: int) -> datetime:
    if microseconds <= FIRST:
        return EARLIEST
    return LATEST if microseconds >= LAST else EPOCH + timedelta(microseconds=microseconds)


_CONVERT: Mapping[str, Callable[[Any], Any]] = {"timestamps": _datetime, "json": json.loads}
