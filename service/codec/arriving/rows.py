"""The rows of an import that come as features, one after the other."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from google.protobuf import struct_pb2

from service.catalog import Layer
from service.changes import Importing, ImportPlan, Incoming
from service.codec.arriving.changed import given_properties
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.texts import text_writer
from service.codec.rejected import Rejections, required
from service.codec.systems import WGS84
from service.errors import InvalidArgument, Reason
from spatial.v1 import feature_pb2

Features = Sequence[feature_pb2.Feature]
Given = Mapping[str, struct_pb2.Value]

_NULL = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)


class _Brought(NamedTuple):
    """What a row has; rows of which all have the same make columns."""

    key: bool
    geometry: bool
    properties: frozenset[str]


class RowsReader:
    """`read` is for one message."""

    def __init__(self, plan: ImportPlan, layer: Layer, arrivals: ArrivalReader, missing: Container[int]) -> None:
        self._plan = plan
        self._layer = layer
        self._arrivals = arrivals
        self._missing = missing
        self._writers = {name: text_writer(layer, prop) for name, prop in layer.properties.items() if prop.writable}

    def read(self, features: Iterable[feature_pb2.Feature], first: int) -> list[Incoming]:
        return list(self._read(list(features), first))

    def _read(self, features: Features, first: int) -> Iterator[Incoming]:
        rejections = Rejections(first, self._missing)
        given = [dict(feature.properties.fields.items()) for feature in features]
        brought = [self._row(row, feature, given[row], rejections) for row, feature in enumerate(features)]
        geometries = self._geometries(features, rejections)
        values = [self._values(row, given[row], brought[row], rejections) for row in range(len(features))]
        match = self._plan.match
        ids = [_text(each.get(match, _NULL)) for each in given] if match else [feature.id for feature in features]
        for row in range(1, len(features)):
            if row in rejections:  # which needs no columns, and so ends none
                brought[row] = brought[row - 1]
        for what, numbers in groupby(range(len(features)), brought.__getitem__):
            run = list(numbers)
            kept = [row for row in run if row not in rejections]
            yield Incoming(
                [first + row for row in kept],
                [features[row].id for row in kept] if what.key else None,
                [geometries[row] for row in kept] if what.geometry else None,
                {name: [values[row][name] for row in kept] for name in sorted(what.properties)},
                rejections.among(range(run[0], run[-1] + 1), ids),
            )

    def _row(self, row: int, feature: feature_pb2.Feature, given: Given, rejections: Rejections) -> _Brought:
        """What it brings, of which the geometry and the values are still to be read."""
        names: frozenset[str] = frozenset()
        try:
            names = frozenset(given_properties(self._layer, given))
            self._check(feature, given)
        except InvalidArgument as error:
            rejections.add(row, error)
        return _Brought(bool(feature.id), feature.HasField("geometry"), names)

    def _check(self, feature: feature_pb2.Feature, given: Given) -> None:
        for name, there in (("etag", feature.etag), ("distance_meters", feature.HasField("distance_meters"))):
            if there:
                raise InvalidArgument(Reason.UNEXPECTED_FIELD, f"{name} cannot be written", field=name)
        if feature.id:
            try:
                self._layer.parse_key(feature.id)
            except InvalidArgument as error:
                raise error.at("id") from None
        match, why = self._plan.match, "it says which feature a row is"
        if match:
            if given.get(match, _NULL).WhichOneof("kind") == "null_value":
                raise required(f"properties.{match}", why)
        elif self._plan.mode is Importing.UPSERT and not feature.id:
            raise required("id", why)

    def _geometries(self, features: Features, rejections: Rejections) -> dict[int, bytes | None]:
        """WKB of one CRS together, which is faster, and the rest one by one."""
        found: dict[int, bytes | None] = {}
        alike: dict[int | None, list[int]] = defaultdict(list)
        for row, feature in enumerate(features):
            if not feature.HasField("geometry") or row in rejections:
                continue
            geometry = feature.geometry
            if geometry.wkb:
                alike[geometry.srid if geometry.HasField("srid") else None].append(row)
            else:
                found[row] = self._geometry(row, feature, rejections)
        for srid, rows in alike.items():
            self._many(features, rows, srid, found, rejections)
        return found

    def _geometry(self, row: int, feature: feature_pb2.Feature, rejections: Rejections) -> bytes | None:
        plan = self._plan
        try:
            placed = self._arrivals.read(
                feature.geometry, self._layer, repair=plan.repair, own_srid_only=plan.own_srid_only
            )
        except InvalidArgument as error:
            rejections.add(row, error, "geometry")
            return None
        return bytes.fromhex(placed.hexewkb)

    def _many(
        self,
        features: Features,
        rows: list[int],
        srid: int | None,
        found: dict[int, bytes | None],
        rejections: Rejections,
    ) -> None:
        read, refused = self._arrivals.read_many(
            [features[row].geometry.wkb for row in rows],
            self._layer,
            srid=WGS84 if srid is None else srid,
            repair=self._plan.repair,
            own_srid_only=self._plan.own_srid_only,
            contradictable=srid is None,
        )
        found.update(zip(rows, read, strict=True))
        for place, error in refused.items():
            rejections.add(rows[place], error, "geometry")

    def _values(self, row: int, given: Given, brought: _Brought, rejections: Rejections) -> dict[str, str | None]:
        texts: dict[str, str | None] = dict.fromkeys(brought.properties)
        if row in rejections:
            return texts
        for name in brought.properties:
            try:
                texts[name] = self._writers[name](given[name])
            except InvalidArgument as error:
                rejections.add(row, error, f"properties.{name}")
        return texts


def _text(value: struct_pb2.Value) -> str:
    """What rejections call a row by."""
    kind = value.WhichOneof("kind")
    return str(getattr(value, kind)) if kind in ("string_value", "number_value", "bool_value") else ""
