"""`spatial load`: a file, into a layer."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
from sqlalchemy.exc import DBAPIError

from service.changes import Importing, Rejection, Totals
from service.cli import settings
from service.cli.credentials import connecting
from service.cli.export.signals import stoppable
from service.cli.pace import paced
from service.embedded import EmbeddedPostgres
from service.errors import SpatialError
from service.loading import direct
from service.loading.creating import created, planned
from service.loading.errors import LoadError
from service.loading.files import open_source
from service.loading.manner import Manner
from service.loading.mapping import ColumnMapping, Target, map_columns, read_pairs
from service.loading.report import write_report
from service.loading.source import Source, Wanted
from service.postgres.programs import PostgresError

SHOWN = 5  # rejections on the terminal
SOME_REJECTED, FAILED = 1, 2


class Loaded(NamedTuple):
    """How a load ended; `rejections` are the first ones."""

    totals: Totals
    rejections: Sequence[Rejection]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--layer", required=True, help="The layer, or the table, that the rows go into.")
@click.option("--source-layer", metavar="NAME", help="Which layer of FILE, where it has several.")
@click.option("--map", "pairs", multiple=True, metavar="SOURCE=PROPERTY", help="A column's property; none: leave it.")
@click.option("--key", metavar="COLUMN", help="The column of FILE that has the keys.")
@click.option("--mode", type=click.Choice(["insert", "upsert"]), default="insert", show_default=True)
@click.option(
    "--match", metavar="PROPERTY", help="With upsert: what tells which feature a row is, in place of its key."
)
@click.option("--repair", is_flag=True, help="Make invalid geometries valid rather than reject them.")
@click.option("--create", is_flag=True, help="Make the table, with types, keys and indexes for FILE.")
@click.option("--srid", type=int, metavar="EPSG", help="With --create: the table's CRS; FILE's unless given.")
@click.option("--keep", is_flag=True, help="With --create: keep the table also if the load fails.")
@click.option("--source-srid", type=int, metavar="EPSG", help="The CRS of FILE, whatever it says itself.")
@click.option("--lon", metavar="COLUMN", help="In CSV and plain Parquet, where x is.")
@click.option("--lat", metavar="COLUMN", help="In CSV and plain Parquet, where y is.")
@click.option("--wkt", metavar="COLUMN", help="In CSV and plain Parquet, where WKT is.")
@click.option("--encoding", help="Of the texts in CSV and Shapefile, if it is not what they say, or UTF-8.")
@click.option("--dry-run", is_flag=True, help="Do everything but commit.")
@click.option("--rejected", type=click.Path(path_type=Path), metavar="FILE", help="Write what is rejected as GeoJSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing at the end but what is wrong.")
@click.option(
    "--embedded",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Load into a private PostGIS cluster in this directory, unless SPATIAL_DATABASE_URL names another database.",
)
@click.option("--target", metavar="HOST:PORT", help="Load through a running server, rather than into the database.")
@connecting
@click.pass_context
def load(context: click.Context, /, file: Path, **options: Any) -> None:
    """Load a file into a layer.

    FILE is GeoPackage (.gpkg), Shapefile (.shp, .zip), GeoJSON (.geojson, .json), GeoJSONSeq (.geojsonl, .geojsonseq,
    .ndjson), FlatGeobuf (.fgb), GeoParquet (.parquet, .geoparquet) or CSV (.csv, .tsv) with longitudes and latitudes or
    WKT; .gz is read as well. Rows go into the database at SPATIAL_DATABASE_URL, without a server.

    \b
    spatial load places.gpkg --layer places --create
    spatial load parcels.shp --layer parcels --map LANDUSE=land_use --mode upsert --match number
    spatial load points.csv --layer facilities --lon x --lat y --source-srid 32633 --rejected wrong.geojson

    \b
    Exit code:
      0   every row is in
      1   some rows were rejected, all others are in
      2   the load failed; rows that were committed before stay, but for those of a table that it made
    """
    try:
        with stoppable():
            loaded = _load(file, options)
    except (LoadError, PostgresError, SpatialError) as error:
        _fail(str(error))
    except DBAPIError as error:
        _fail(str(error.orig).partition("\n")[0])
    _tell(loaded, file, options)
    context.exit(SOME_REJECTED if loaded.totals.rejected else 0)


def _load(file: Path, options: Mapping[str, Any]) -> Loaded:
    _check(options)
    source = open_source(file, _wanted(options))
    if options["target"]:
        return _through_server(file, source, options)
    with _database(options["directory"]) as url:
        return _into_database(file, source, url, options)


def _through_server(file: Path, source: Source, options: Mapping[str, Any]) -> Loaded:
    from service.loading import remote  # gRPC, which nothing else here needs

    with remote.server(options["target"], **options["credentials"].for_client()) as server:
        layer = server.layer(options["layer"])
        mapping = _mapping(source, remote.target_of(layer), read_pairs(options["pairs"]), options)
        with paced(file.name, source.rows, shown=not options["quiet"]) as told:
            loaded = Loaded(*server.load(source, layer, mapping, _manner(options), told))
    _report(source, loaded, options)
    return loaded


@contextmanager
def _database(directory: Path | None) -> Iterator[str]:
    known = settings.load()
    if directory is not None and known.database_url is None:
        with EmbeddedPostgres(directory) as cluster:
            direct.prepare(cluster.url)
            yield cluster.url
    else:
        yield settings.database_url(known)


def _into_database(file: Path, source: Source, url: str, options: Mapping[str, Any]) -> Loaded:
    with direct.database(settings.load(), url) as database:
        made = planned(source, options["layer"], **_table(options)) if options["create"] else None
        keeping = created(made, database.engine, dry_run=options["dry_run"], keep=options["keep"]) if made else None
        with keeping or nullcontext():
            layer = database.layer(options["layer"])
            pairs = made.pairs if made else read_pairs(options["pairs"])
            mapping = _mapping(source, direct.target_of(layer), pairs, options)
            with paced(file.name, source.rows, shown=not options["quiet"]) as told:
                outcome = database.load(source, layer, mapping, _manner(options), told)
            loaded = Loaded(outcome.totals, outcome.rejections)
            _report(source, loaded, options)
            if made and loaded.totals.rejected and not loaded.totals.inserted:
                raise LoadError(f"every row was rejected, the first one since {_sentence(loaded.rejections[0])}")
    return loaded


def _check(options: Mapping[str, Any]) -> None:
    if options["create"] and options["mode"] == "upsert":
        raise click.UsageError("--create makes a table without rows: there is nothing to upsert")
    if options["create"] and options["target"]:
        raise click.UsageError("--create needs the database: it does not go with --target")
    if options["directory"] and options["target"]:
        raise click.UsageError("--embedded is a database: it does not go with --target")
    if options["match"] and options["mode"] != "upsert":
        raise click.UsageError("--match goes with --mode upsert")
    for name in ("srid", "keep"):
        if options[name] and not options["create"]:
            raise click.UsageError(
                f"--{name} goes with --create" + ("; FILE's CRS is --source-srid" * (name == "srid"))
            )


def _wanted(options: Mapping[str, Any]) -> Wanted:
    return Wanted(
        layer=options["source_layer"],
        srid=options["source_srid"],
        longitude=options["lon"],
        latitude=options["lat"],
        wkt=options["wkt"],
        encoding=options["encoding"],
        key=options["key"],
    )


def _table(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"srid": options["srid"], "key": options["key"], "pairs": read_pairs(options["pairs"])}


def _manner(options: Mapping[str, Any]) -> Manner:
    mode = Importing[options["mode"].upper()]
    return Manner(mode, options["match"], options["repair"], options["dry_run"], fresh=options["create"])


def _mapping(source: Source, target: Target, pairs: Mapping[str, str], options: Mapping[str, Any]) -> ColumnMapping:
    mapping = map_columns(source, target, pairs, key=options["key"], match=options["match"])
    if not options["quiet"]:
        _introduce(mapping)
    return mapping


def _introduce(mapping: ColumnMapping) -> None:
    said = [f"{mapping.key} as its key"] if mapping.key else []
    said += [name if column == name else f"{column} as {name}" for name, column in mapping.columns.items()]
    click.echo(f"loads {', '.join(said) or 'geometries alone'}", err=True)
    if mapping.left:
        click.echo(f"leaves {', '.join(mapping.left)}", err=True)


def _report(source: Source, loaded: Loaded, options: Mapping[str, Any]) -> None:
    if options["rejected"] is not None:
        write_report(options["rejected"], source, loaded.rejections)


def _tell(loaded: Loaded, file: Path, options: Mapping[str, Any]) -> None:
    totals = loaded.totals
    if not options["quiet"]:
        would = "a dry run, nothing was kept: " if options["dry_run"] else ""
        counts = ((totals.inserted, "inserted"), (totals.updated, "updated"), (totals.rejected, "rejected"))
        said = ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no rows"
        click.echo(f"{file.name} -> {options['layer']}: {would}{said}")
    for rejection in loaded.rejections[:SHOWN]:
        click.echo(f"  {_sentence(rejection)}", err=True)
    if totals.rejected > SHOWN:
        where = options["rejected"] or "--rejected FILE writes them"
        click.echo(f"  and {totals.rejected - SHOWN:,} more: {where}", err=True)


def _sentence(rejection: Rejection) -> str:
    named = f" ({rejection.id})" if rejection.id else ""
    about = f"{rejection.field}: " if rejection.field else ""
    return f"row {rejection.row}{named}: {rejection.reason}: {about}{rejection.message}"


def _fail(reason: str) -> NoReturn:
    click.echo(f"Error: {reason}", err=True)
    sys.exit(FAILED)
