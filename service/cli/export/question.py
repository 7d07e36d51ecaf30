"""From the command's options to the request that asks for the stream."""

import json
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click
from google.protobuf.json_format import ParseDict, ParseError
from google.type.latlng_pb2 import LatLng

from service.cli.query import numbers
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2

Request: TypeAlias = query_pb2.StreamFeaturesRequest | query_pb2.StreamRadiusRequest | query_pb2.StreamIntersectsRequest
PREDICATES = [name.removeprefix("PREDICATE_").lower() for name in geometry_pb2.Predicate.keys()[1:]]


class Question(NamedTuple):
    """A request, the method that answers it, and whether everything in the layer does."""

    method: str
    request: Request
    whole_layer: bool = False


def read(layer: str, options: dict[str, Any]) -> Question:
    """What the options ask; a UsageError where they do not fit together."""
    given = [f"--{name}" for name in ("bbox", "near", "intersects") if options[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} are different questions: ask one of them")
    for name, needs in (("radius", "near"), ("predicate", "intersects")):
        if options[name] is not None and options[needs] is None:
            raise click.UsageError(f"--{name} goes with --{needs}")
    common: dict[str, Any] = {"output": _output(options), "layout": feature_pb2.BATCH_LAYOUT_ARROW}
    if options["near"] is not None:
        near = _radius(layer, options)
        return Question("StreamRadius", query_pb2.StreamRadiusRequest(query=near, **common))
    if options["intersects"] is not None:
        return Question(
            "StreamIntersects", query_pb2.StreamIntersectsRequest(query=_relation(layer, options), **common)
        )
    box = None if options["bbox"] is None else _box(options["bbox"])
    query = query_pb2.LayerQuery(layer=layer, bbox=box, filter=options["filter"])
    # In the order of the key a whole layer costs no sort, and a stream that is cut can be gone on with.
    request = query_pb2.StreamFeaturesRequest(query=query, resumable=box is None, **common)
    return Question("StreamFeatures", request, whole_layer=box is None and not options["filter"])


def _radius(layer: str, options: dict[str, Any]) -> query_pb2.RadiusQuery:
    if options["radius"] is None:
        raise click.UsageError("--near goes with --radius")
    longitude, latitude = numbers(options["near"], 2, "--near")
    center = geometry_pb2.Probe(point=LatLng(latitude=latitude, longitude=longitude))
    return query_pb2.RadiusQuery(layer=layer, center=center, radius_meters=options["radius"], filter=options["filter"])


def _relation(layer: str, options: dict[str, Any]) -> query_pb2.IntersectsQuery:
    predicate = f"PREDICATE_{(options['predicate'] or 'intersects').upper()}"
    probe = geometry_pb2.Probe(geometry=_geometry(options["intersects"]))
    return query_pb2.IntersectsQuery(layer=layer, probe=probe, predicate=predicate, filter=options["filter"])


def _geometry(text: str) -> geometry_pb2.Geometry:
    if text.startswith("@"):
        text = _content(Path(text[1:]))
    if not text.lstrip().startswith("{"):
        return geometry_pb2.Geometry(wkt=text.strip())
    try:
        return ParseDict({"geojson": json.loads(text)}, geometry_pb2.Geometry())
    except (ValueError, ParseError) as error:
        raise click.BadParameter(f"not a GeoJSON geometry: {error}", param_hint="--intersects") from None


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--intersects") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is not a text", param_hint="--intersects") from None


def _box(text: str) -> geometry_pb2.BoundingBox:
    west, south, east, north = numbers(text, 4, "--bbox")
    return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)


def _output(options: dict[str, Any]) -> query_pb2.Output:
    properties = options["properties"]
    names = [] if properties is None else [name.strip() for name in properties.split(",")]
    if not all(names):
        raise click.BadParameter(f"{properties!r} is not names with commas between", param_hint="--properties")
    return query_pb2.Output(properties=names, srid=options["srid"], simplify_tolerance=options["simplify"])
