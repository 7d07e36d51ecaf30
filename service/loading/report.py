"""The rows that were refused, as GeoJSON that any desktop GIS opens: where they are, why, and what they said."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import shapely

from service.changes import Rejection
from service.loading.errors import LoadError
from service.loading.source import Batch, Source
from service.loading.systems import WGS84, System, of_code, transformed

OURS = ("row", "id", "reason", "message", "field", "location")


def write_report(path: Path, source: Source, rejections: Sequence[Rejection]) -> None:
    """Reads the file again, as far as the last of the rows."""
    try:
        with path.open("w", encoding="utf-8") as file:
            _write(file, source, rejections)
    except OSError as error:
        raise LoadError(f"{path} cannot be written: {error.strerror}") from None


def _write(file: TextIO, source: Source, rejections: Sequence[Rejection]) -> None:
    file.write('{"type": "FeatureCollection", "features": [')
    separator = "\n"
    for feature in _features(source, sorted(rejections)):
        file.write(separator + json.dumps(feature, default=str, ensure_ascii=False, allow_nan=False))
        separator = ",\n"
    file.write("\n]}\n")


def _features(source: Source, rejections: Sequence[Rejection]) -> Iterator[dict[str, Any]]:
    left, first = list(rejections), 0
    for batch in source.batches() if left else ():
        while left and left[0].row < first + batch.rows:
            rejection = left.pop(0)
            yield _feature(batch, rejection.row - first, rejection, source.system or of_code(WGS84))
        first += batch.rows
        if not left:
            return


def _feature(batch: Batch, row: int, rejection: Rejection, system: System) -> dict[str, Any]:
    spot = _moved(_point(rejection), system)
    shape = _moved(batch.geometries[row] if batch.geometries else b"", system)
    ours: Mapping[str, Any] = rejection._asdict() | {"location": spot.wkt if spot is not None else None}
    theirs = {
        f"source_{name}" if name in OURS else name: _value(column[row].as_py())
        for name, column in batch.columns.items()
    }
    shown = shape if shape is not None else spot
    geometry = None if shown is None else json.loads(shapely.to_geojson(shown))
    return {"type": "Feature", "geometry": geometry, "properties": {name: ours[name] for name in OURS} | theirs}


def _point(rejection: Rejection) -> bytes:
    if rejection.location is None or not all(map(math.isfinite, rejection.location)):
        return b""
    return shapely.to_wkb(shapely.Point(rejection.location), byte_order=1)


def _moved(wkb: bytes, system: System) -> Any:
    """In EPSG:4326, as GeoJSON is; None for what nobody could draw."""
    shape = shapely.from_wkb(wkb or None, on_invalid="ignore")
    if shape is None or shape.is_empty:
        return None
    own = int(shapely.get_srid(shape))
    system = of_code(own) if own else system
    if system.srid != WGS84:
        shape = shapely.from_wkb(transformed([shapely.to_wkb(shapely.force_2d(shape))], system, WGS84)[0])
    coordinates = shapely.get_coordinates(shape)
    return shape if all(map(math.isfinite, coordinates.flat)) else None


def _value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
