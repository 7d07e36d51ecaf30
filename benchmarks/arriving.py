"""Rows that are imported: as a file for psql, and as messages for the service."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import shapely

from benchmarks import dataset, polygons
from benchmarks.programs import LOCAL
from spatial.v1 import feature_pb2, write_pb2

POINT_ROWS, POLYGON_ROWS = 100_000, 20_000
COLUMNS_IN_MESSAGE, ROWS_IN_MESSAGE = 1000, 500  # features in a message
_LISTS = {
    "strings": feature_pb2.StringValues,
    "booleans": feature_pb2.BoolValues,
    "json": feature_pb2.StringValues,
}


@dataclass(frozen=True)
class Rows:
    """Texts as COPY has them, column by column, with how each property travels; `geometries` are WKB."""

    name: str
    layer: str
    geometry: str
    geometries: Sequence[bytes]
    properties: Mapping[str, tuple[str, Sequence[str]]]

    def __len__(self) -> int:
        return len(self.geometries)

    @property
    def columns(self) -> list[str]:
        return ["id", self.geometry, *self.properties]

    @cached_property
    def file(self) -> Path:
        """For psql."""
        found = shapely.set_srid(shapely.from_wkb(self.geometries), 4326)
        placed = shapely.to_wkb(found, hex=True, include_srid=True)
        texts = (texts for _, texts in self.properties.values())
        path = LOCAL / f"{self.name}.rows"
        with path.open("w") as file:
            for number, row in enumerate(zip(placed, *texts, strict=True), 1):
                file.write("\t".join((str(number), *row)) + "\n")
        return path


def points(count: int = POINT_ROWS) -> Rows:
    lines = [line for part in dataset.copy_text(count) for line in part.getvalue().decode().splitlines()]
    names, kinds, active, places, tags, attributes = zip(*(line.split("\t") for line in lines), strict=True)
    wkbs = shapely.to_wkb(shapely.from_wkt([place.partition(";")[2] for place in places])).tolist()
    properties = {
        "name": ("strings", names),
        "kind": ("strings", kinds),
        "active": ("booleans", active),
        "tags": ("json", tags),
        "attributes": ("json", attributes),
    }
    return Rows("points", "facilities", "location", wkbs, properties)


def shapes(count: int = POLYGON_ROWS) -> Rows:
    """Of 65 vertices; not of parcels, whose overlaps would be looked for."""
    lines = [line for part in polygons.parcels(count) for line in part.getvalue().decode().splitlines()]
    found = shapely.from_wkb([line.rpartition("\t")[2] for line in lines])
    wkbs = shapely.to_wkb(shapely.multipolygons([[shape] for shape in found])).tolist()
    names = [line.partition("\t")[0] for line in lines]
    return Rows("polygons", "districts", "boundary", wkbs, {"name": ("strings", names)})


def in_columns(rows: Rows, *, keyed: bool = True) -> list[bytes]:
    return [
        write_pb2.ImportFeaturesRequest(columns=_columns(rows, part, keyed=keyed)).SerializeToString()
        for part in _parts(rows, COLUMNS_IN_MESSAGE)
    ]


def in_rows(rows: Rows) -> list[bytes]:
    return [
        write_pb2.ImportFeaturesRequest(
            rows=feature_pb2.FeatureRows(features=[_feature(rows, number) for number in part])
        ).SerializeToString()
        for part in _parts(rows, ROWS_IN_MESSAGE)
    ]


def _parts(rows: Rows, size: int) -> Iterator[range]:
    return (range(first, min(first + size, len(rows))) for first in range(0, len(rows), size))


def _columns(rows: Rows, part: range, *, keyed: bool) -> feature_pb2.FeatureColumns:
    columns = []
    for name, (kind, texts) in rows.properties.items():
        values: Any = [_value(name, kind, texts[number]) for number in part]
        columns.append(feature_pb2.Column(name=name, **{kind: _LISTS[kind](values=values)}))
    return feature_pb2.FeatureColumns(
        count=len(part),
        int64_ids=[number + 1 for number in part] if keyed else (),
        wkb=rows.geometries[part.start : part.stop],
        properties=columns,
    )


def _value(name: str, kind: str, text: str) -> Any:
    if name == "tags":  # an array, which travels as JSON
        return json.dumps(text.strip("{}").split(","))
    return text == "1" if kind == "booleans" else text


def _feature(rows: Rows, number: int) -> feature_pb2.Feature:
    feature = feature_pb2.Feature(id=str(number + 1))
    feature.geometry.wkb = rows.geometries[number]
    for name, (kind, texts) in rows.properties.items():
        value = _value(name, kind, texts[number])
        feature.properties.update({name: json.loads(value) if kind == "json" else value})
    return feature
