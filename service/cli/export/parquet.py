"""GeoParquet 1.1: Parquet with WKB, and metadata that says so."""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from service.cli.export.packages import needed
from service.cli.export.schema import GEOMETRY, TYPES, crs_of
from spatial.v1 import query_pb2

ROWS_PER_GROUP = 65_536
BYTES_PER_GROUP = 32 * 1024 * 1024


def write_parquet(schema: Any, batches: Iterator[Any], layer: query_pb2.Layer, path: Path) -> None:
    """In row groups of a size that readers like, one of which is in memory at a time."""
    plain = _plain(schema)
    extent = _Extent()
    with needed("pyarrow.parquet").ParquetWriter(path, plain, compression="zstd") as writer:
        for group in _groups(batches, plain):
            extent.add(group.column(GEOMETRY))
            writer.write_table(group)
        # What the file is about is known only now.
        writer.add_key_value_metadata({"geo": json.dumps(_metadata(extent, crs_of(schema)))})


def _plain(schema: Any) -> Any:
    """Without Arrow's extension types, which not every reader of Parquet knows: JSON is text, geometry WKB."""
    arrow = needed("pyarrow")
    return arrow.schema(
        [arrow.field(field.name, getattr(field.type, "storage_type", field.type), field.nullable) for field in schema]
    )


def _groups(batches: Iterator[Any], schema: Any) -> Iterator[Any]:
    gathered: list[Any] = []
    for batch in batches:
        gathered.append(batch)
        full = sum(each.num_rows for each in gathered) >= ROWS_PER_GROUP
        if full or sum(each.nbytes for each in gathered) >= BYTES_PER_GROUP:
            yield _table(gathered, schema)
            gathered = []
    if gathered:
        yield _table(gathered, schema)


def _table(batches: list[Any], schema: Any) -> Any:
    arrow = needed("pyarrow")
    return arrow.Table.from_batches(
        [
            arrow.record_batch([getattr(column, "storage", column) for column in batch.columns], schema=schema)
            for batch in batches
        ]
    )


class _Extent:
    """The types and the bounds of all geometries."""

    def __init__(self) -> None:
        self._types: set[tuple[int, bool]] = set()
        self._least: Any = None
        self._most: Any = None

    def add(self, column: Any) -> None:
        numpy, shapely = needed("numpy"), needed("shapely")
        geometries = shapely.from_wkb(column.drop_null().to_numpy())
        self._types.update(
            zip(shapely.get_type_id(geometries).tolist(), shapely.has_z(geometries).tolist(), strict=True)
        )
        # Heights are NaN where there are none, which fmin and fmax pass over.
        coordinates = shapely.get_coordinates(geometries, include_z=True)
        if len(coordinates):
            least, most = numpy.fmin.reduce(coordinates), numpy.fmax.reduce(coordinates)
            self._least = least if self._least is None else numpy.fmin(self._least, least)
            self._most = most if self._most is None else numpy.fmax(self._most, most)

    def types(self) -> list[str]:
        names = {kind.value: kind.name for kind in needed("shapely").GeometryType}
        spelled = {known.upper(): known for known in TYPES}
        return sorted(spelled[names[number]] + (" Z" if deep else "") for number, deep in self._types)

    def bounds(self) -> list[float]:
        """Of the plane, or with heights where there are any; empty without coordinates."""
        if self._least is None:
            return []
        known = [number for number, height in enumerate(self._least) if isfinite(height)]
        return [float(corner[number]) for corner in (self._least, self._most) for number in known]


def _metadata(extent: _Extent, crs: Any) -> dict[str, Any]:
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": extent.types(), "crs": crs}
    if bounds := extent.bounds():
        column["bbox"] = bounds
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
