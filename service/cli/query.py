"""`spatial query`: a few lines of client."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToDict
from google.type.latlng_pb2 import LatLng

from service.cli.channels import channel
from service.cli.credentials import connecting
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2, query_pb2_grpc

Stub = query_pb2_grpc.SpatialServiceStub


@click.group()
def query() -> None:
    """Ask a running server. `spatial query radius --help` shows how."""


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every query has."""
    command = connecting(command)
    for option in (
        click.option("--format", "form", type=click.Choice(["table", "geojson"]), default="table", show_default=True),
        click.option(
            "--filter",
            default="",
            metavar="CQL2",
            help="Only features of which this holds, e.g. \"kind = 'school' AND active\".",
        ),
        click.option("--limit", default=20, show_default=True, help="Features at most."),
        click.option("--digits", type=int, metavar="0-15", help="Decimal digits of coordinates."),
        click.option("--simplify", type=float, metavar="UNITS", help="By how much shapes may be off, to be simpler."),
        click.option("--srid", type=int, metavar="EPSG", help="The CRS to answer in; the layer's unless given."),
        click.option(
            "--property", "properties", multiple=True, help="A property to show, again for more; all unless given."
        ),
        click.option(
            "--target", default="127.0.0.1:50051", envvar="SPATIAL_TARGET", show_default=True, help="The server."
        ),
        click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait."),
    ):
        command = option(command)
    return command


def probe(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what is asked about; one of them must be given. The command gets what it says as `probe`."""

    @wraps(command)
    def about(*arguments: Any, at: str, wkt: str, bbox: str, feature: str, **options: Any) -> None:
        command(*arguments, probe=_probe(at, wkt, bbox, feature), **options)

    for option in (
        click.option("--feature", metavar="LAYER/ID", help="A feature of any layer."),
        click.option("--at", metavar="LAT,LON", help="A point."),
        click.option("--wkt", help="Any geometry, in EPSG:4326 unless it begins with SRID=…;"),
        click.option("--bbox", metavar="WEST,SOUTH,EAST,NORTH", help="A box; west > east crosses the antimeridian."),
    ):
        about = option(about)
    return about


def bounds(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the nearest may be."""
    for option in (
        click.option("--inside", metavar="WKT", help="Only features that meet this polygon."),
        click.option("--within", "farthest", type=float, help="Metres beyond which nothing is found."),
    ):
        command = option(command)
    return command


def area(inside: str | None) -> geometry_pb2.Geometry | None:
    return None if inside is None else geometry_pb2.Geometry(wkt=inside)


predicate = click.option(
    "--predicate",
    type=click.Choice([name.removeprefix("PREDICATE_").lower() for name in geometry_pb2.Predicate.keys()[1:]]),
    default="intersects",
    show_default=True,
    help="Read as: feature PREDICATE probe.",
)


@query.command()
@click.argument("layer")
@probe
@click.option("--radius", required=True, type=float, help="Metres.")
@common
def radius(layer: str, probe: geometry_pb2.Probe, radius: float, **options: Any) -> None:
    """Features within a distance, nearest first.

    \b
    spatial query radius facilities --at 40.7128,-74.006 --radius 2000 --property name --property kind
    """
    request = query_pb2.SearchRadiusRequest(
        query=query_pb2.RadiusQuery(layer=layer, center=probe, radius_meters=radius, filter=options["filter"]),
        output=_output(options),
        page_size=options["limit"],
    )
    _run(options, lambda stub, timeout: stub.SearchRadius(request, timeout=timeout))


@query.command()
@click.argument("layer")
@probe
@bounds
@common
def nearest(layer: str, probe: geometry_pb2.Probe, farthest: float | None, inside: str | None, **options: Any) -> None:
    """The nearest features, by true distance.

    \b
    spatial query nearest zones --at 0,-30 --limit 5 --property name
    """
    request = query_pb2.SearchNearestRequest(
        query=query_pb2.NearestQuery(
            layer=layer,
            center=probe,
            max_distance_meters=farthest,
            within=area(inside),
            filter=options["filter"],
        ),
        output=_output(options),
        limit=options["limit"],
    )
    _run(options, lambda stub, timeout: stub.SearchNearest(request, timeout=timeout))


@query.command()
@click.argument("layer")
@probe
@predicate
@common
def intersects(layer: str, probe: geometry_pb2.Probe, predicate: str, **options: Any) -> None:
    """Features that stand in a relation to a geometry, in order of their ids.

    \b
    spatial query intersects parcels --bbox -74.02,40.70,-73.99,40.72 --format geojson
    spatial query intersects zones --at 48.85,2.35 --predicate contains --property name
    """
    name = f"PREDICATE_{predicate.upper()}"
    request = query_pb2.SearchIntersectsRequest(
        query=query_pb2.IntersectsQuery(layer=layer, probe=probe, predicate=name, filter=options["filter"]),
        output=_output(options),
        page_size=options["limit"],
    )
    _run(options, lambda stub, timeout: stub.SearchIntersects(request, timeout=timeout))


def _probe(at: str | None, wkt: str | None, bbox: str | None, feature: str | None) -> geometry_pb2.Probe:
    if sum(option is not None for option in (at, wkt, bbox, feature)) != 1:
        raise click.UsageError("say where: exactly one of --at, --wkt, --bbox, --feature")
    if feature is not None:
        layer, _, key = feature.partition("/")
        return geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer=layer, id=key))
    if wkt is not None:
        return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=wkt))
    if at is not None:
        latitude, longitude = numbers(at, 2, "--at")
        return geometry_pb2.Probe(point=LatLng(latitude=latitude, longitude=longitude))
    west, south, east, north = numbers(bbox or "", 4, "--bbox")
    return geometry_pb2.Probe(bbox=geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north))


def numbers(text: str, count: int, option: str) -> list[float]:
    """The numbers of an option whose value is so many with commas between."""
    try:
        given = [float(part) for part in text.split(",")]
    except ValueError:
        given = []
    if len(given) != count:
        raise click.BadParameter(f"{text!r} is not {count} numbers with commas between", param_hint=option)
    return given


def _output(options: dict[str, Any]) -> query_pb2.Output:
    encoding = geometry_pb2.GEOMETRY_ENCODING_WKT
    if options["form"] == "geojson":
        encoding = geometry_pb2.GEOMETRY_ENCODING_GEOJSON
    return query_pb2.Output(
        properties=options["properties"],
        encoding=encoding,
        srid=options["srid"],
        simplify_tolerance=options["simplify"],
        decimal_digits=options["digits"],
    )


def _run(options: dict[str, Any], ask: Callable[[Stub, float], Any]) -> None:
    with channel(options["target"], options["credentials"]) as opened:
        try:
            features = ask(Stub(opened), options["timeout"]).features
        except grpc.RpcError as error:
            raise click.ClickException(f"{error.code().name}: {error.details()}") from None
    lines = _geojson(features) if options["form"] == "geojson" else _table(features, options["properties"])
    for line in lines:
        click.echo(line)


def _geojson(features: list[feature_pb2.Feature]) -> Iterator[str]:
    collection = [
        {
            "type": "Feature",
            "id": feature.id,
            "geometry": MessageToDict(feature.geometry.geojson) if feature.HasField("geometry") else None,
            "properties": _properties(feature),
        }
        for feature in features
    ]
    yield json.dumps({"type": "FeatureCollection", "features": collection}, ensure_ascii=False, indent=1)


def _properties(feature: feature_pb2.Feature) -> dict[str, Any]:
    properties: dict[str, Any] = {name: _whole(value) for name, value in MessageToDict(feature.properties).items()}
    if feature.HasField("distance_meters"):
        properties["distance_meters"] = feature.distance_meters
    return properties


def _whole(value: Any) -> Any:
    """Numbers without a fraction as JSON has them: a Struct knows floats alone."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


_AROUND = ("id", "distance_meters", "geometry")


def _table(features: list[feature_pb2.Feature], asked: Sequence[str]) -> Iterator[str]:
    """Columns in the order in which they were asked for, as wide as their widest value, long values cut."""
    rows = [{"id": feature.id, **_properties(feature), "geometry": feature.geometry.wkt} for feature in features]
    # A Struct has no order of its own.
    given = dict.fromkeys(sorted({name for row in rows for name in row} - set(_AROUND)))
    names = ["id", *(asked or given), *(name for name in _AROUND[1:] if any(name in row for row in rows))]
    texts = [names, *([_text(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        yield "  ".join(value.ljust(width) for value, width in zip(text, widths, strict=True)).rstrip()


def _text(value: Any) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False).strip('"')
    return text if len(text) <= 40 else f"{text[:39]}…"
