"""GeoJSONSeq, GeoPackage and FlatGeobuf: GDAL writes them, through pyogrio."""

import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import click

from service.cli.export.packages import needed
from service.cli.export.schema import GEOMETRY, TYPES
from spatial.v1 import query_pb2

ISO_WKB_Z = 1000
# What GDAL has years for.
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


def write_sequence(batches: Iterator[Any], layer: query_pb2.Layer, file: BinaryIO) -> None:
    """GeoJSONSeq, each batch as soon as it is there; in EPSG:4326, as GeoJSON is."""
    options = {"ID_FIELD": "id", "COORDINATE_PRECISION": "9"}
    for batch in batches:
        if not batch.num_rows:  # it is there for its schema alone
            continue
        lines = BytesIO()
        _write(batch.schema, iter([batch]), layer, lines, "GeoJSONSeq", options)
        file.write(lines.getbuffer())
        file.flush()


def write_geopackage(schema: Any, batches: Iterator[Any], layer: query_pb2.Layer, path: Path) -> None:
    """GDAL takes a column of the row numbers' name for the row numbers: they are called what no column is."""
    names = {name.lower() for name in schema.names}
    numbers = next(name for name in _names("fid") if name not in names)
    _write(schema, batches, layer, path, "GPKG", {"FID": numbers, "GEOMETRY_NAME": GEOMETRY})


def write_flatgeobuf(schema: Any, batches: Iterator[Any], layer: query_pb2.Layer, path: Path) -> None:
    """With its index, which has no place for a feature without geometry."""
    batches = map(_indexable, batches)
    if geometry_type(layer.geometry_type) == "Unknown":
        batches = map(_flat, batches)
    _write(schema, batches, layer, path, "FlatGeobuf", {"TEMPORARY_DIR": str(path.parent)})


def _write(
    schema: Any,
    batches: Iterator[Any],
    layer: query_pb2.Layer,
    target: Path | BytesIO,
    driver: str,
    options: dict[str, str],
) -> None:
    remembering = _Remembering(map(_datable, batches))
    # Who exports a layer of no CRS need not be told so by two libraries.
    warnings.filterwarnings("ignore", "'crs' was not provided|No SRS set on layer")
    try:
        needed("pyogrio.raw").write_arrow(
            needed("pyarrow").RecordBatchReader.from_batches(schema, remembering),
            target,
            layer=layer.name,
            driver=driver,
            geometry_name=GEOMETRY,
            geometry_type=geometry_type(layer.geometry_type),
            crs=f"EPSG:{layer.srid}" if layer.srid else None,
            layer_options=options,
        )
    except RuntimeError as error:
        raise remembering.failure or click.ClickException(f"GDAL: {error}") from None
    if remembering.failure:
        raise remembering.failure


def geometry_type(name: str) -> str:
    """As pyogrio calls what PostGIS calls `name`; "Unknown" stands for any."""
    found = re.fullmatch(r"(\w+?)(Z?M?)", name.upper())
    plain = {known.upper(): known for known in TYPES}.get(found[1]) if found else None
    if not found or not plain:
        return "Unknown"
    named = {"Z": f"{plain} Z", "M": f"Measured {plain}", "ZM": f"Measured 3D {plain}"}.get(found[2], plain)
    return named.replace("Measured Point", "PointM")


class _Remembering:
    """Iterates, and keeps what ended it: on the way through Arrow's C interface and GDAL an exception gets lost."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batches
        except BaseException as error:
            self.failure = error
            raise


def _indexable(batch: Any) -> Any:
    geometries = batch.column(GEOMETRY)
    if geometries.null_count:
        row = geometries.is_null().index(True).as_py()
        raise click.ClickException(
            f"feature {batch.column('id')[row].as_py()} has no geometry, which FlatGeobuf cannot index:"
            " write .gpkg or .parquet instead"
        )
    return batch


def _flat(batch: Any) -> Any:
    """Without a type for all geometries the format has no place for heights, and GDAL drops them."""
    compute = needed("pyarrow.compute")
    types = compute.unique(compute.binary_slice(batch.column(GEOMETRY), 1, 5)).to_pylist()
    if any(int.from_bytes(code, "little") >= ISO_WKB_Z for code in types):
        raise click.ClickException(
            "FlatGeobuf cannot hold Z or M in a layer of any geometry type: write .gpkg or .parquet instead"
        )
    return batch


def _datable(batch: Any) -> Any:
    """With null for the times that GDAL would turn into other ones."""
    arrow, compute = needed("pyarrow"), needed("pyarrow.compute")
    for number, field in enumerate(batch.schema):
        if arrow.types.is_timestamp(field.type):
            times = batch.column(number)
            known = compute.and_(
                compute.greater_equal(times, arrow.scalar(EARLIEST, field.type)),
                compute.less_equal(times, arrow.scalar(LATEST, field.type)),
            )
            batch = batch.set_column(number, field, compute.if_else(known, times, None))
    return batch


def _names(name: str) -> Iterator[str]:
    while True:
        yield name
        name = f"_{name}"
