"""The rows of an import that come as columns."""

from collections.abc import Container, Mapping, Sequence
from typing import Final, TypeVar

from service.catalog import Layer, Property
from service.changes import Importing, ImportPlan, Incoming
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.texts import Texts, texts_of
from service.codec.fields import at
from service.codec.rejected import Rejections, required
from service.errors import InvalidArgument, Reason
from spatial.v1 import feature_pb2

# Of rows that bring nothing: a few bytes say how many there are, so no limit of a message's bytes holds them.
MOST_BARE_ROWS: Final = 10_000

T = TypeVar("T")


class ColumnsReader:
    """`read` is for one message; its refusals name the field relative to the columns."""

    def __init__(self, plan: ImportPlan, layer: Layer, arrivals: ArrivalReader, missing: Container[int]) -> None:
        self._plan = plan
        self._layer = layer
        self._arrivals = arrivals
        self._missing = missing

    def read(self, columns: feature_pb2.FeatureColumns, first: int) -> Incoming:
        count = columns.count
        _check_counts(columns)
        rejections = Rejections(first, self._missing)
        keys = self._keys(columns, rejections)
        geometries = self._geometries(columns, rejections)
        values = self._values(columns, rejections)
        if keys is None and geometries is None and not values:
            _check_bare(count)
        ids = values.get(self._plan.match, []) if self._plan.match else keys
        kept = [row for row in range(count) if row not in rejections] if rejections else range(count)
        return Incoming(
            range(first, first + count) if not rejections else [first + row for row in kept],
            _picked(keys, kept),
            _picked(geometries, kept),
            {name: _picked(texts, kept) or [] for name, texts in values.items()},
            rejections.among(range(count), [each or "" for each in ids] if rejections and ids else None),
        )

    def _keys(self, columns: feature_pb2.FeatureColumns, rejections: Rejections) -> list[str] | None:
        integer = self._layer.integer_key
        ours, others = ("int64_ids", "string_ids") if integer else ("string_ids", "int64_ids")
        if getattr(columns, others):
            problem = f"keys of layer {self._layer.name!r} come as {ours}"
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, problem, field=others)
        keys = list(map(str, getattr(columns, ours)))
        if not keys:
            if self._plan.mode is Importing.UPSERT and not self._plan.match and columns.count:
                raise required(ours, "a row that may replace another one says which")
            return None
        if not integer:
            self._check_keys(keys, rejections)
        return keys

    def _check_keys(self, keys: list[str], rejections: Rejections) -> None:
        for row, key in enumerate(keys):
            try:
                self._layer.parse_key(key)
            except InvalidArgument as error:
                rejections.add(row, error, "id")

    def _geometries(self, columns: feature_pb2.FeatureColumns, rejections: Rejections) -> list[bytes | None] | None:
        if not columns.wkb:
            return None
        plan = self._plan
        read, refused = self._arrivals.read_many(
            columns.wkb,
            self._layer,
            srid=plan.srid or self._layer.srid,
            repair=plan.repair,
            own_srid_only=plan.own_srid_only,
        )
        for row, error in refused.items():
            rejections.add(row, error, "geometry")
        return read

    def _values(self, columns: feature_pb2.FeatureColumns, rejections: Rejections) -> dict[str, Texts]:
        found: dict[str, Texts] = {}
        for index, column in enumerate(columns.properties):
            with at(f"properties[{index}]"):
                prop = self._property(column.name, found)
                if prop.writable:
                    found[prop.name], refused = texts_of(self._layer, prop, column, columns.count)
                    for row, error in refused.items():
                        rejections.add(row, error, f"properties.{prop.name}")
        if self._plan.match and columns.count:
            self._check_match(self._plan.match, found, rejections)
        return found

    def _property(self, name: str, found: Mapping[str, Texts]) -> Property:
        prop = self._layer.properties.get(name)
        if prop is None:
            problem = f"layer {self._layer.name!r} has no property {name[:80]!r}"
            metadata = {"layer": self._layer.name}
            raise InvalidArgument(Reason.UNKNOWN_PROPERTY, problem, field="name", metadata=metadata)
        if name in found:
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, f"property {name!r} has come before", field="name")
        return prop

    def _check_match(self, name: str, found: Mapping[str, Texts], rejections: Rejections) -> None:
        why = "it says which feature a row is"
        if name not in found:
            raise InvalidArgument(Reason.REQUIRED, f"property {name!r} must be there: {why}", field="properties")
        for row, text in enumerate(found[name]):
            if text is None:
                rejections.add(row, required(f"properties.{name}", why))


def _check_counts(columns: feature_pb2.FeatureColumns) -> None:
    if columns.count < 0:
        problem = f"count must not be negative, and is {columns.count}"
        raise InvalidArgument(Reason.OUT_OF_RANGE, problem, field="count")
    if columns.distance_meters:
        raise InvalidArgument(Reason.UNEXPECTED_FIELD, "a distance cannot be written", field="distance_meters")
    for field in ("int64_ids", "string_ids", "wkb"):
        there = len(getattr(columns, field))
        if there not in (0, columns.count):
            problem = f"there are {there} {field} of {columns.count} features"
            raise InvalidArgument(Reason.OUT_OF_RANGE, problem, field=field)


def _check_bare(count: int) -> None:
    if count > MOST_BARE_ROWS:
        problem = f"of rows that bring nothing a message has at most {MOST_BARE_ROWS}, not {count}"
        metadata = {"limit": str(MOST_BARE_ROWS)}
        raise InvalidArgument(Reason.TOO_MANY_ELEMENTS, problem, field="count", metadata=metadata)


def _picked(column: list[T] | None, rows: Sequence[int]) -> list[T] | None:
    return column if column is None or len(rows) == len(column) else [column[row] for row in rows]
