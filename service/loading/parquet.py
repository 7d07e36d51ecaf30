"""GeoParquet: Parquet whose metadata say which column is WKB, and in which CRS. Without them, a table of columns."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from service.loading.coordinates import positioned
from service.loading.errors import LoadError
from service.loading.shapes import common_type
from service.loading.source import BATCH_ROWS, Batch, Source, Wanted
from service.loading.systems import System, of_code, system_of

LONGITUDES_AND_LATITUDES = "OGC:CRS84"  # where the metadata say nothing of a CRS


def open_parquet(path: Path, wanted: Wanted) -> Source:
    try:
        file = parquet.ParquetFile(path, memory_map=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None
    schema, rows = file.schema_arrow, file.metadata.num_rows
    geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
    columns = {field.name: _plain(field.type) for field in schema}
    if geo is None:
        source = Source(path.stem, columns, None, None, rows, partial(_batches, path, list(columns), None))
        return positioned(source, wanted)
    primary = geo["primary_column"]
    about = geo["columns"][primary]
    if about["encoding"] != "WKB":
        raise LoadError(f"{path} has geometries as {about['encoding']!r}: only WKB is read")
    names = [name for name in columns if name not in geo["columns"]]
    return Source(
        name=path.stem,
        columns={name: columns[name] for name in names},
        system=_system(about, wanted),
        geometry=common_type(name.upper().replace(" ", "") for name in about.get("geometry_types", ())),
        rows=rows,
        batches=partial(_batches, path, names, primary),
    )


def _plain(type_: Any) -> Any:
    """Without Arrow's extensions, but for JSON."""
    return type_ if pyarrow.types.is_nested(type_) or "json" in str(type_) else getattr(type_, "storage_type", type_)


def _system(about: dict[str, Any], wanted: Wanted) -> System | None:
    if wanted.srid is not None:
        return of_code(wanted.srid)
    said = about.get("crs", LONGITUDES_AND_LATITUDES)
    return None if said is None else system_of(json.dumps(said) if isinstance(said, dict) else said)


def _batches(path: Path, names: list[str], geometry: str | None) -> Iterator[Batch]:
    wanted = [*names, geometry] if geometry else names
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                shapes = batch.column(geometry) if geometry else None
                wkbs = None if shapes is None else getattr(shapes, "storage", shapes).to_pylist()
                columns = {name: batch.column(name) for name in names}
                yield Batch(columns, None if wkbs is None else [wkb or b"" for wkb in wkbs])
    except (OSError, pyarrow.ArrowException) as error:
        raise LoadError(f"{path} cannot be read on: {error}") from None
