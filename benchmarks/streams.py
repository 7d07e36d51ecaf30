"""What is asked in bulk, as SQL for psql and as messages for the service."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng

from benchmarks.dataset import EAST, LIMIT, NORTH, PROPERTIES, RADIUS_METERS, SEED, SOUTH, WEST, Centre
from spatial.v1 import geometry_pb2, query_pb2

LAYOUTS = ("ROWS", "COLUMNS", "ARROW")
PROBES = 4096
PROBES_A_MESSAGE = 256
PROBES_A_STATEMENT = 64
MIDDLE = Centre(10.0, 50.0)

T = TypeVar("T")


def probes() -> list[Centre]:
    """Far enough from the border that every circle lies among the points."""
    random = np.random.default_rng(SEED + 4)
    longitudes = random.uniform(WEST + 0.5, EAST - 0.5, PROBES).round(6)
    latitudes = random.uniform(SOUTH + 0.5, NORTH - 0.5, PROBES).round(6)
    return [Centre(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)]


@dataclass(frozen=True)
class Asked:
    """A stream: its method and what is sent, in hexadecimal."""

    method: str
    requests: list[str]


@dataclass(frozen=True)
class Whole:
    """All of a layer."""

    layer: str
    geometry: str
    properties: Sequence[str]

    @property
    def statement(self) -> str:
        return f"SELECT id, ST_AsBinary({self.geometry}, 'NDR'), {', '.join(self.properties)} FROM {self.layer}"

    @property
    def content(self) -> str:
        """What there is to be had: features, the sum of their ids, the bytes of their WKB."""
        return f"SELECT count(*), sum(id), sum(length(ST_AsBinary({self.geometry}))) FROM {self.layer}"

    def asked(self, layout: str) -> Asked:
        request = query_pb2.StreamFeaturesRequest(
            query=query_pb2.LayerQuery(layer=self.layer),
            output=query_pb2.Output(properties=self.properties),
            layout=f"BATCH_LAYOUT_{layout}",
        )
        return Asked("StreamFeatures", _sent(request))


POINTS = Whole("facilities", "location", PROPERTIES)
PARCELS = Whole("parcels", "boundary", ("number", "name", "land_use"))
ZONES = Whole("zones", "boundary", ("code", "name", "category"))


@dataclass(frozen=True)
class Circle:
    """The points within a distance of the middle."""

    radius_meters: float

    @property
    def statement(self) -> str:
        probe = f"geography(ST_SetSRID(ST_MakePoint({MIDDLE.longitude}, {MIDDLE.latitude}), 4326))"
        return f"""
            SELECT id, ST_Distance(geography(location), {probe}), ST_AsBinary(location, 'NDR'), name, kind, active
              FROM facilities WHERE ST_DWithin(geography(location), {probe}, {self.radius_meters})
        """

    def asked(self, layout: str) -> Asked:
        request = query_pb2.StreamRadiusRequest(
            query=query_pb2.RadiusQuery(layer="facilities", center=_probe(MIDDLE), radius_meters=self.radius_meters),
            output=query_pb2.Output(properties=PROPERTIES),
            layout=f"BATCH_LAYOUT_{layout}",
        )
        return Asked("StreamRadius", _sent(request))


LARGE_CIRCLE = Circle(100_000.0)
SMALL_CIRCLE = Circle(RADIUS_METERS)


def match_statements(places: Sequence[Centre]) -> list[str]:
    """The radius search for each place, nearest first, as many in a statement as share one in the service."""
    return [_match_statement(some) for some in _batched(places, PROBES_A_STATEMENT)]


def _match_statement(places: Sequence[Centre]) -> str:
    longitudes = json.dumps([place.longitude for place in places])
    latitudes = json.dumps([place.latitude for place in places])
    return f"""
        WITH probe AS MATERIALIZED (
            SELECT ordinal, geography(ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)) AS place
              FROM unnest(ARRAY{longitudes}::float8[], ARRAY{latitudes}::float8[])
                   WITH ORDINALITY AS given(longitude, latitude, ordinal)
        )
        SELECT ordinal, found.*
          FROM probe CROSS JOIN LATERAL (
            SELECT id, ST_Distance(geography(location), place) AS distance,
                   ST_AsBinary(location, 'NDR') AS wkb, name, kind, active
              FROM facilities WHERE ST_DWithin(geography(location), place, {RADIUS_METERS})
             ORDER BY distance, id LIMIT {LIMIT}
          ) AS found
    """


def match_asked(places: Sequence[Centre]) -> Asked:
    keyed = [query_pb2.MatchProbe(key=str(number), probe=_probe(place)) for number, place in enumerate(places)]
    requests = [query_pb2.MatchRequest(probes=some) for some in _batched(keyed, PROBES_A_MESSAGE)]
    radius = query_pb2.RadiusQuery(layer="facilities", radius_meters=RADIUS_METERS)
    requests[0].query.radius.CopyFrom(radius)
    requests[0].output.properties.extend(PROPERTIES)
    requests[0].limit = LIMIT - 1
    return Asked("MatchFeatures", _sent(*requests))


def _probe(place: Centre) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(point=LatLng(latitude=place.latitude, longitude=place.longitude))


def _sent(*requests: Message) -> list[str]:
    return [request.SerializeToString().hex() for request in requests]


def _batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]
