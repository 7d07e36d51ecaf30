"""What reads the bytes and texts of callers, without a database: it gives a value or one of our errors."""

import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct

from service.catalog import Catalog, shipped_layers
from service.codec import freshness, geojson, tokens, wkb, wkt
from service.codec.arriving.deletions import DeletionReader
from service.codec.arriving.edits import EditReader
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.imports import ImportReader
from service.codec.arriving.promises import checked_id
from service.codec.diagnoses import layers_named
from service.codec.explains import ExplainReader
from service.codec.exports import ExportReader
from service.codec.filters import FilterReader
from service.codec.geometry import GeometryLimits, ProbeReader, Stored
from service.codec.grids import GridReader
from service.codec.joins import JoinReader
from service.codec.matches import MatchReader
from service.codec.questions import QuestionReader
from service.codec.references import read_reference, referenced
from service.codec.requests import RequestReader, bound_to
from service.codec.systems import KnownSystems
from service.codec.wkb_types import WkbError
from service.errors import SpatialError
from spatial.v1 import admin_pb2, feature_pb2, geometry_pb2, query_pb2, write_pb2
from tests.fuzz.geometries import PLAIN_WKB

LIMITS: Final = GeometryLimits(max_bytes=1 << 20, max_vertices=20_000, max_depth=8)
SYSTEMS: Final = KnownSystems((4326, 3857, 2263))
CATALOG: Final = Catalog(shipped_layers())
PROBES: Final = ProbeReader(LIMITS, SYSTEMS)
ARRIVALS: Final = ArrivalReader(LIMITS, SYSTEMS)
QUESTIONS: Final = QuestionReader(CATALOG, PROBES, 20_100_000)
REQUESTS: Final = RequestReader(QUESTIONS, 1000)
EXPORTS: Final = ExportReader(QUESTIONS)
JOINS: Final = JoinReader(QUESTIONS, 20_100_000)
MATCHES: Final = MatchReader(QUESTIONS, 1000)
EDITS: Final = EditReader(CATALOG, ARRIVALS)
IMPORTS: Final = ImportReader(CATALOG, ARRIVALS)
GRIDS: Final = GridReader(QUESTIONS)
DELETIONS: Final = DeletionReader(QUESTIONS)
EXPLAINS: Final = ExplainReader(QUESTIONS, REQUESTS, JOINS)
FACILITIES: Final = CATALOG["facilities"]
# Of a thread's own work, so that others on the machine do not count; and of what Python allocates.
MOST_SECONDS = 1.0
MOST_BYTES = 256 << 20


class Hang(AssertionError):
    """It took longer than it may."""


def _count(request: query_pb2.CountFeaturesRequest, stored: Stored | None) -> object:
    if request.query.WhichOneof("kind") == "join":
        return JOINS.counted(request)
    return REQUESTS.count(request, stored)


def _match(request: query_pb2.MatchRequest, stored: Stored | None) -> object:
    matching = MATCHES.first(request)
    stored = stored or Stored(PLAIN_WKB[0], 4326)  # for probes that are features
    return [matching.read(index, probe, stored).size for index, probe in enumerate(request.probes)]


def _import(request: write_pb2.ImportFeaturesRequest, stored: Stored | None) -> object:
    plan = IMPORTS.plan(request.plan)
    return IMPORTS.rows(plan, request, 0, missing=range(1_000_000))


def _plain(read: Callable[[Any], object]) -> Callable[[Any, Stored | None], object]:
    return lambda request, stored: read(request)


# By the name of the RPC; a test holds that none is missing. What has no fields to read has nothing to be wrong.
READERS: Mapping[str, Callable[[Any, Stored | None], object]] = {
    "ListLayers": _plain(str),
    "RefreshLayers": _plain(str),
    "GetLayer": _plain(REQUESTS.layer),
    "GetFeature": REQUESTS.feature,
    "BatchGetFeatures": REQUESTS.features,
    "SearchRadius": REQUESTS.radius,
    "SearchNearest": REQUESTS.nearest,
    "SearchIntersects": REQUESTS.intersects,
    "CountFeatures": _count,
    "StreamRadius": EXPORTS.radius,
    "StreamIntersects": EXPORTS.intersects,
    "StreamFeatures": EXPORTS.features,
    "StreamJoin": JOINS.join,
    "AggregateGrid": GRIDS.aggregation,
    "MatchFeatures": _match,
    "CreateFeature": _plain(EDITS.create),
    "UpdateFeature": _plain(EDITS.update),
    "DeleteFeature": _plain(EDITS.delete),
    "DeleteFeatures": DELETIONS.deletion,
    "ImportFeatures": _import,
    "GetImport": _plain(lambda request: checked_id(request.import_id, "import_id")),
    "Explain": EXPLAINS.asked,
    "Diagnose": _plain(lambda request: layers_named(CATALOG, request.layers)),
    "AnalyzeLayer": _plain(lambda request: QUESTIONS.layer(request.layer)),
}


def read_request(rpc: str, message: Message) -> object:
    """As the servicer of this RPC reads it, with a geometry of the database for a probe that is a feature."""
    freshness.wanted_position(message)
    stored = None
    if (reference := referenced(message)) is not None:
        read_reference(CATALOG, reference[1])
        stored = Stored(PLAIN_WKB[len(reference[1].id) % len(PLAIN_WKB)], 4326)
    return READERS[rpc](message, stored)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _geojson(data: bytes) -> object:
    return geojson.to_wkb(Struct.FromString(data), LIMITS)


def _filter(data: bytes) -> object:
    return FilterReader(PROBES).read(FACILITIES, _text(data), "filter")


def _page_token(data: bytes) -> object:
    request = query_pb2.SearchRadiusRequest()
    token = tokens.write_token(bound_to(request)) + _text(data)  # so that it is read past its beginning
    for each in (token, _text(data)):
        with suppress(SpatialError):
            tokens.read_token(tokens.Kind.PAGE, each, bound_to(request), [FACILITIES], distances=1)
    return None


def _freshness_token(data: bytes) -> object:
    return freshness.position_of(_text(data))


def _stored(data: bytes) -> object:
    """The database may have anything that PostGIS takes, however odd; but no bytes that are no geometry."""
    wkb.scan(data, LIMITS)
    return PROBES._read_stored(Stored(data, 4326), srid=4326, geodetic=True)


def _wkb(data: bytes) -> object:
    return wkb.scan(data, LIMITS)


def _probe(data: bytes) -> object:
    geometry = feature_pb2.Feature.FromString(data).geometry
    for geodetic in (True, False):
        with suppress(SpatialError):
            PROBES.read_geometry(geometry, srid=4326, geodetic=geodetic)
    for layer, repair in product(("facilities", "zones"), (True, False)):
        with suppress(SpatialError):
            ARRIVALS.read(geometry, CATALOG[layer], repair=repair, own_srid_only=False)
    return None


def _box(data: bytes) -> object:
    for geodetic in (True, False):
        with suppress(SpatialError):
            PROBES.read_box(geometry_pb2.BoundingBox.FromString(data), srid=4326, geodetic=geodetic)
    return None


def _wkt(data: bytes) -> object:
    found, _ = wkt.to_wkb(_text(data), LIMITS)
    return wkb.scan(found, LIMITS)


def _request(rpc: str) -> Callable[[bytes], object]:
    kinds = {**vars(query_pb2), **vars(write_pb2), **vars(admin_pb2)}
    kind = kinds["MatchRequest" if rpc == "MatchFeatures" else f"{rpc}Request"]
    return lambda data: read_request(rpc, kind.FromString(data))


CODECS: Mapping[str, Callable[[bytes], object]] = {
    "wkb": _wkb,
    "wkt": _wkt,
    "geojson": _geojson,
    "filter": _filter,
    "page token": _page_token,
    "freshness token": _freshness_token,
    "stored geometry": _stored,
    "geometry": _probe,
    "box": _box,
    **{f"{rpc} request": _request(rpc) for rpc in READERS},
}


def check(codec: str, data: bytes, *, memory: bool = False) -> None:
    """Fails with whatever is neither a value nor an error of ours, or with Hang. Measuring `memory` takes its time."""
    if memory:
        tracemalloc.start()
    began = time.thread_time()
    with suppress(SpatialError, WkbError, DecodeError):
        CODECS[codec](data)
    seconds = time.thread_time() - began
    if memory:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES, f"{codec}: {peak} bytes for {len(data)}"
    if seconds > MOST_SECONDS:
        raise Hang(f"{codec}: {seconds:.1f} s for {len(data)} bytes")
