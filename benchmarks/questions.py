"""The question at several sizes: the features about a centre, in a circle or in a box as large, as SQL and as gRPC."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Self

from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng

from benchmarks.dataset import (
    BOX_HALF_SIDE_METERS,
    LIMIT,
    PROPERTIES,
    RADIUS_METERS,
    Centre,
    statement_about,
    statement_in_box,
)
from benchmarks.grpc_question import Client
from benchmarks.load import Exchange, framed
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2

USUAL_FEATURES = 22
MOST_IN_A_PAGE = 1000  # the service's own limit; more come as a stream
ANY_NUMBER = 12_000
CIRCLE, BOX = "circle", "box"
AREAS = (CIRCLE, BOX)

Ids = list[int]


@dataclass(frozen=True)
class Question:
    """Features about a centre: `spread` times as far as the usual 22 lie, at most `limit` of them."""

    name: str
    spread: float
    limit: int
    layer: str = "facilities"
    area: str = CIRCLE

    def within(self, area: str) -> Self:
        """The same about the circle or about the box."""
        return replace(self, area=area)

    @property
    def is_page(self) -> bool:
        """A page of a circle comes ordered by distance, one of a box by id; what is more comes as it is found."""
        return self.limit <= MOST_IN_A_PAGE

    @property
    def radius_meters(self) -> float:
        return RADIUS_METERS * self.spread

    @property
    def half_side_meters(self) -> float:
        return BOX_HALF_SIDE_METERS * self.spread

    def box(self, centre: Centre) -> tuple[float, float, float, float]:
        """West, south, east and north, as everyone is told them."""
        west, south, east, north = (round(side, 7) for side in centre.box_of(self.half_side_meters))
        return west, south, east, north

    def statement(self, centre: Centre) -> str:
        return self._statement(centre, self.limit, ordered=self.is_page)

    def unlimited(self, centre: Centre) -> str:
        """The same with all that lie in the area, in order."""
        return self._statement(centre, None, ordered=True)

    def _statement(self, centre: Centre, limit: int | None, *, ordered: bool) -> str:
        if self.area == BOX:
            return statement_in_box(self.box(centre), limit, self.layer, ordered=ordered)
        return statement_about(centre, self.radius_meters, limit, self.layer, ordered=ordered)

    @property
    def method(self) -> str:
        search = "Intersects" if self.area == BOX else "Radius"
        return f"/spatial.v1.SpatialService/{'Search' if self.is_page else 'Stream'}{search}"

    def request(self, centre: Centre) -> Message:
        return self._in_box(centre) if self.area == BOX else self._in_circle(centre)

    def about(self, centre: Centre) -> query_pb2.RadiusQuery:
        point = LatLng(latitude=centre.latitude, longitude=centre.longitude)
        return query_pb2.RadiusQuery(
            layer=self.layer, center=geometry_pb2.Probe(point=point), radius_meters=self.radius_meters
        )

    def _in_circle(self, centre: Centre) -> Message:
        query = self.about(centre)
        if self.is_page:
            return query_pb2.SearchRadiusRequest(query=query, output=_OUTPUT, page_size=self.limit)
        return query_pb2.StreamRadiusRequest(query=query, output=_OUTPUT, layout=_LAYOUT)

    def _in_box(self, centre: Centre) -> Message:
        west, south, east, north = self.box(centre)
        box = geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)
        query = query_pb2.IntersectsQuery(layer=self.layer, probe=geometry_pb2.Probe(bbox=box))
        if self.is_page:
            return query_pb2.SearchIntersectsRequest(query=query, output=_OUTPUT, page_size=self.limit)
        return query_pb2.StreamIntersectsRequest(query=query, output=_OUTPUT, layout=_LAYOUT)

    def exchanges(self, client: Client, centres: Sequence[Centre]) -> tuple[list[Exchange], list[Ids]]:
        """What to send about each centre with the size of its answer; and the features that it answers with."""
        exchanges, found = [], []
        for request in map(self.request, centres):
            size, ids = (_page if self.is_page else _stream)(client, self.method, request)
            exchanges.append(Exchange(request.SerializeToString(), size, 0 if self.is_page else size // 50))
            found.append(ids)
        return exchanges, found


_OUTPUT = query_pb2.Output(properties=PROPERTIES)
_LAYOUT = feature_pb2.BATCH_LAYOUT_COLUMNS


def _page(client: Client, method: str, request: Message) -> tuple[int, Ids]:
    answer = client.page(method, request)
    return answer.ByteSize(), [int(feature.id) for feature in answer.features]


def _stream(client: Client, method: str, request: Message) -> tuple[int, Ids]:
    batches = client.stream(method, request)
    # An exchange allows for the frame of one message.
    size = sum(len(framed(b"")) + batch.ByteSize() for batch in batches) - len(framed(b""))
    return size, [each for batch in batches for each in batch.columns.int64_ids]


def holding(features: int) -> float:
    """The spread at which hardly any centre has fewer features than these about it."""
    return sqrt((features + 4 * sqrt(features) + 4) / USUAL_FEATURES)


USUAL = Question("22", 1.0, LIMIT - 1)
PAGES = (
    Question("1", holding(1), 1),
    Question("100", holding(100), 100),
    Question("1,000", holding(1_000), 1_000),
    Question("10,000", sqrt(10_000 / USUAL_FEATURES), ANY_NUMBER),
)
