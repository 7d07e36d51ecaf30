"""The files that an export can be: which format, and how one comes to be all at once or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from service.cli.export import ogr, parquet
from service.cli.export.packages import needed
from spatial.v1 import query_pb2

Writer = Callable[[Any, Iterator[Any], query_pb2.Layer, Path], None]


class Format(NamedTuple):
    """A format, the ends of its files' names, what writes it and the modules needed for that."""

    name: str
    suffixes: tuple[str, ...]
    write: Writer
    modules: tuple[str, ...]


def _write_sequence(schema: Any, batches: Iterator[Any], layer: query_pb2.Layer, path: Path) -> None:
    with path.open("wb") as file:
        ogr.write_sequence(batches, layer, file)


_OGR = ("pyarrow", "pyogrio")
SEQUENCE = Format("geojsonseq", (".geojsonl", ".geojsonseq", ".ndjson"), _write_sequence, _OGR)
FORMATS = {
    form.name: form
    for form in (
        SEQUENCE,
        Format("gpkg", (".gpkg",), ogr.write_geopackage, _OGR),
        Format("flatgeobuf", (".fgb",), ogr.write_flatgeobuf, _OGR),
        Format("geoparquet", (".parquet", ".geoparquet"), parquet.write_parquet, ("pyarrow", "pyproj", "shapely")),
    )
}


def chosen(target: str, name: str | None) -> Format:
    """The format of this name, or the one that the target's name says; its modules are there."""
    form = FORMATS[name] if name else _by_suffix(target)
    if target == "-" and form is not SEQUENCE:
        raise click.UsageError(f"only {SEQUENCE.name} can be written to standard output, not {form.name}")
    for module in form.modules:
        needed(module)
    return form


def _by_suffix(target: str) -> Format:
    suffix = Path(target).suffix.lower()
    for form in FORMATS.values():
        if target == "-" or suffix in form.suffixes:
            return form
    known = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
    raise click.UsageError(f"no format is known by the name of {target!r}: end it in one of {known}, or give --format")


def check(path: Path, *, overwrite: bool) -> None:
    """Complains where no file can come to be at `path`."""
    if path.exists() and not path.is_file():
        raise click.ClickException(f"{path} is not a file")
    if os.path.lexists(path) and not overwrite:
        raise click.ClickException(f"{path} exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise click.ClickException(f"there is no folder {path.parent}")


@contextmanager
def complete(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Where to write what shall be at `path`: there it is once everything is written, and nothing is otherwise.

    A folder beside it, since GDAL makes files beside its files.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=path.parent))
        try:
            yield folder / path.name
            check(path, overwrite=overwrite)
            (folder / path.name).replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None
