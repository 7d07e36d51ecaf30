"""`spatial export`, from its options to its exit code."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import grpc

from service.cli.channels import channel
from service.cli.credentials import Credentials, connecting
from service.cli.export import ogr
from service.cli.export.files import FORMATS, Format, check, chosen, complete
from service.cli.export.progress import Counter, bar
from service.cli.export.question import PREDICATES, Question, read
from service.cli.export.schema import described
from service.cli.export.signals import stoppable
from service.cli.export.stream import CHANNEL, record_batches, with_schema
from spatial.v1 import query_pb2, query_pb2_grpc


@click.command()
@click.argument("layer")
@click.argument("target", metavar="FILE|-")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), help="What to write, whatever FILE ends in.")
@click.option("--bbox", metavar="W,S,E,N", help="Only features whose box meets this one; W > E: over the antimeridian.")
@click.option("--near", metavar="LON,LAT", help="Only features within --radius of this point, with their distances.")
@click.option("--radius", type=float, metavar="METERS", help="How far from --near.")
@click.option(
    "--intersects", metavar="WKT|@FILE", help="Only features that meet this geometry: WKT, GeoJSON, or a file of one."
)
@click.option("--predicate", type=click.Choice(PREDICATES), help="Read as: feature PREDICATE --intersects.")
@click.option("--filter", default="", metavar="CQL2", help="Only features of which this holds, as CQL2 text.")
@click.option("--properties", metavar="A,B", help="The properties to write; all unless given.")
@click.option("--srid", type=int, metavar="EPSG", help="The CRS to write in; the layer's unless given.")
@click.option(
    "--simplify",
    type=float,
    metavar="UNITS",
    help="By how much shapes may be off, in the layer's units, to be simpler.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--quiet", is_flag=True, help="No progress bar, and no count at the end.")
@click.option(
    "--target",
    "--server",
    "address",
    default="127.0.0.1:50051",
    envvar="SPATIAL_TARGET",
    show_default=True,
    help="The server.",
)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for the server to answer at all.")
@connecting
def export(layer: str, target: str, form: str | None, address: str, credentials: Credentials, **options: Any) -> None:
    """Write a layer, or what a question finds in it, to a file.

    FILE is GeoJSONSeq (.geojsonl, .geojsonseq, .ndjson), GeoPackage (.gpkg), FlatGeobuf (.fgb) or GeoParquet
    (.parquet, .geoparquet), after its name; - is GeoJSONSeq on standard output.

    \b
    spatial export zones zones.gpkg
    spatial export parcels land.parquet --properties name,land_use
    spatial export facilities near.fgb --near -74.006,40.7128 --radius 2000
    spatial export parcels box.geojsonl --bbox -74.02,40.70,-73.99,40.72
    spatial export districts some.gpkg --intersects @area.wkt --predicate within
    spatial export facilities - | head -1

    FILE appears once it is complete. A whole layer is written in the order of its keys, and goes on where it was if the
    server restarts meanwhile; FlatGeobuf orders it by place, and needs about 100 bytes of memory a feature for that.
    GeoJSONSeq is in EPSG:4326, all others are in the layer's CRS or that of --srid. All but GeoParquet have times to
    the millisecond.
    """
    question = read(layer, options)
    to = chosen(target, form)
    if target != "-":
        check(Path(target), overwrite=options["overwrite"])
    try:
        with stoppable(), channel(address, credentials, CHANNEL) as opened:
            _export(query_pb2_grpc.SpatialServiceStub(opened), question, to, target, options)
    except grpc.RpcError as error:
        raise click.ClickException(f"{error.code().name}: {error.details()}") from None


def _export(stub: Any, question: Question, to: Format, target: str, options: dict[str, Any]) -> None:
    name = question.request.query.layer
    layer = stub.GetLayer(query_pb2.GetLayerRequest(name=name), timeout=options["timeout"])
    layer.srid = question.request.output.srid or layer.srid  # what is written is as it was asked for
    batches = record_batches(getattr(stub, question.method), question.request)
    if target == "-":
        ogr.write_sequence(batches, layer, sys.stdout.buffer)
        return
    path, counter = Path(target), Counter()
    with (
        complete(path, overwrite=options["overwrite"]) as unfinished,
        bar(name, _total(layer, question), shown=not options["quiet"]) as progress,
    ):
        _write(to, counter.counted(batches, progress), layer, question, unfinished)
    if not options["quiet"]:
        click.echo(f"{counter.features:,} features in {path}")


def _write(to: Format, batches: Iterator[Any], layer: query_pb2.Layer, question: Question, path: Path) -> None:
    schema, batches = with_schema(batches, otherwise=partial(described, layer, question))
    to.write(schema, batches, layer, path)


def _total(layer: query_pb2.Layer, question: Question) -> int | None:
    """How many features to expect, where the planner's statistics say so."""
    if not question.whole_layer or not layer.HasField("estimated_rows"):
        return None
    return layer.estimated_rows
