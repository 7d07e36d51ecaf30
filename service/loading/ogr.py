"""GeoPackage, Shapefile, GeoJSON, GeoJSONSeq, FlatGeobuf, and whatever else GDAL reads, through pyogrio and Arrow."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import compute

from service.loading.errors import LoadError
from service.loading.source import BATCH_ROWS, Batch, Source, Wanted, needed
from service.loading.systems import System, of_code, system_of

GEOMETRY_TYPES = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON")
# Their single shapes may be several all the same.
LOOSE = ("ESRI Shapefile",)
# They say at their beginning how many features they hold, and GDAL ends in silence where a file is cut between two.
COUNTED = ("FlatGeobuf",)
# One batch, in memory; GDAL's own limit is a quarter of the machine's.
BATCH_BYTES = 2 * 1024 * 1024  # at a time: more is memory that is new to the process, batch for batch
GEOJSON = ("GeoJSON", "GeoJSONSeq")
ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"


def open_ogr(path: Path, wanted: Wanted) -> Source:
    where = _address(path)
    info = _information(where, path, wanted)
    options: dict[str, Any] = {"layer": info["layer_name"], "encoding": wanted.encoding, "batch_size": BATCH_ROWS}
    ids = _ids(info, wanted)
    least = info["features"] if info["driver"] in COUNTED else 0
    batches = partial(_batches, where, options, [*info["fields"]], ids, info["geometry_type"] is not None, least)
    columns = _columns(where, options, [*info["fields"]], batches)
    return Source(
        name=info["layer_name"],
        columns=({ids: pyarrow.int64()} if ids else {}) | columns,
        system=_system(info, wanted),
        geometry=geometry_type(info),
        rows=info["features"] if info["features"] >= 0 else None,
        batches=batches,
    )


def _address(path: Path) -> str:
    """As GDAL knows it: it looks into archives if it is told to."""
    name = path.name.lower()
    prefix = "/vsizip/" if name.endswith(".zip") else "/vsigzip/" if name.endswith(".gz") else ""
    return f"{prefix}{path.resolve()}"


def _information(where: str, path: Path, wanted: Wanted) -> Any:
    ogr = needed("pyogrio")
    try:
        layers = [str(name) for name in ogr.list_layers(where)[:, 0]]
        if wanted.layer is None and len(layers) != 1:
            raise LoadError(f"{path} has {len(layers)} layers: choose one with --source-layer: {', '.join(layers)}")
        if wanted.layer is not None and wanted.layer not in layers:
            raise LoadError(f"{path} has no layer {wanted.layer!r}, but {', '.join(layers)}")
        return ogr.read_info(where, layer=wanted.layer, encoding=wanted.encoding, force_feature_count=True)
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None


def _ids(info: Any, wanted: Wanted) -> str | None:
    """What to call the numbers that GDAL has for features, where they are wanted as keys: a GeoPackage's column of
    them, the `id` beside GeoJSON's properties."""
    known = "id" if info["driver"] in GEOJSON else info["fid_column"]
    return known if wanted.key == known and known not in info["fields"] else None


def _system(info: Any, wanted: Wanted) -> System | None:
    if wanted.srid is not None:
        return of_code(wanted.srid)
    return system_of(info["crs"]) if info["crs"] else None


def geometry_type(info: Mapping[str, Any]) -> str | None:
    """What PostGIS calls the type that the file declares; "" for any."""
    declared = info["geometry_type"]
    if declared is None:
        return None
    found = re.fullmatch(r"(Measured )?(3D |2\.5D )?(\w+?)(M)?( Z)?", declared)
    plain = found[3].upper() if found else ""
    if not found or plain not in GEOMETRY_TYPES:
        return ""
    if info["driver"] in LOOSE and plain in ("LINESTRING", "POLYGON"):
        plain = f"MULTI{plain}"
    return plain + ("Z" if found[2] or found[5] else "") + ("M" if found[1] or found[4] else "")


def _columns(
    where: str, options: Mapping[str, Any], names: list[str], batches: Callable[[], Iterator[Batch]]
) -> dict[str, Any]:
    """With types for the times, which are read as texts later: those keep their zones. Not every format declares
    whether there are any, so what comes first is looked at."""
    with _opened(where, **options) as (_, reader):
        columns = {name: reader.schema.field(name).type for name in names}
    bare = [name for name, kind in columns.items() if pyarrow.types.is_timestamp(kind) and kind.tz is None]
    first = next(batches(), None) if bare else None
    zoned = [
        name for name in bare if first and compute.any(compute.match_substring_regex(first.columns[name], ZONE)).as_py()
    ]
    return columns | dict.fromkeys(zoned, pyarrow.timestamp("ms", "UTC"))


def _opened(where: str, **options: Any) -> Any:
    needed("pyogrio").set_gdal_config_options({"OGR_ARROW_MEM_LIMIT": str(BATCH_BYTES)})
    return needed("pyogrio.raw").open_arrow(where, use_pyarrow=True, **options)


def _batches(
    where: str, options: Mapping[str, Any], names: list[str], ids: str | None, has_geometry: bool, least: int
) -> Iterator[Batch]:
    rows = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            with _opened(where, datetime_as_string=True, return_fids=True, **options) as (_, reader):
                for batch in reader:
                    yield _batch(batch, names, ids, has_geometry)
                    rows += batch.num_rows
        except (OSError, RuntimeError, pyarrow.ArrowException) as error:
            raise LoadError(f"GDAL cannot read on: {error}") from None
    if rows < least:
        raise LoadError(f"the file is not whole: it ends after {rows:,} of {least:,} rows")


def _batch(batch: Any, names: list[str], ids: str | None, has_geometry: bool) -> Batch:
    """The numbers of features come first, then the attributes, then the geometry."""
    columns = {name: batch.column(1 + place) for place, name in enumerate(names)}
    if ids:
        columns = {ids: batch.column(0)} | columns
    if not has_geometry:
        return Batch(columns, None)
    shapes = batch.column(batch.num_columns - 1)
    return Batch(columns, [wkb or b"" for wkb in getattr(shapes, "storage", shapes).to_pylist()])
