"""The question at several sizes: the features about a centre, as SQL, as gRPC, and how wide a box is as large."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng

from benchmarks.dataset import BOX_HALF_SIDE_METERS, LIMIT, PROPERTIES, RADIUS_METERS, Centre, statement_about
from benchmarks.grpc_question import Client
from benchmarks.load import Exchange, framed
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2

USUAL_FEATURES = 22
MOST_IN_A_PAGE = 1000  # the service's own limit; more come as a stream
ANY_NUMBER = 12_000


@dataclass(frozen=True)
class Question:
    """Features about a centre: `spread` times as far as the usual 22 lie, at most `limit` of them."""

    name: str
    spread: float
    limit: int
    layer: str = "facilities"

    @property
    def is_page(self) -> bool:
        """A page comes ordered by distance; what is more than a page comes as it is found."""
        return self.limit <= MOST_IN_A_PAGE

    @property
    def radius_meters(self) -> float:
        return RADIUS_METERS * self.spread

    @property
    def half_side_meters(self) -> float:
        return BOX_HALF_SIDE_METERS * self.spread

    def statement(self, centre: Centre) -> str:
        return statement_about(centre, self.radius_meters, self.limit, self.layer, ordered=self.is_page)

    @property
    def method(self) -> str:
        return f"/spatial.v1.SpatialService/{'SearchRadius' if self.is_page else 'StreamRadius'}"

    def request(self, centre: Centre) -> Message:
        point = LatLng(latitude=centre.latitude, longitude=centre.longitude)
        query = query_pb2.RadiusQuery(
            layer=self.layer, center=geometry_pb2.Probe(point=point), radius_meters=self.radius_meters
        )
        output = query_pb2.Output(properties=PROPERTIES)
        if self.is_page:
            return query_pb2.SearchRadiusRequest(query=query, output=output, page_size=self.limit)
        layout = feature_pb2.BATCH_LAYOUT_COLUMNS
        return query_pb2.StreamRadiusRequest(query=query, output=output, layout=layout)

    def exchanges(self, client: Client, centres: Sequence[Centre]) -> tuple[list[Exchange], float]:
        """What to send about each centre with the size of its answer; and how many features come on average."""
        exchanges, features = [], 0
        for request in map(self.request, centres):
            size, found = (_page if self.is_page else _stream)(client, request)
            exchanges.append(Exchange(request.SerializeToString(), size, 0 if self.is_page else size // 50))
            features += found
        return exchanges, features / len(centres)


def _page(client: Client, request: Message) -> tuple[int, int]:
    assert isinstance(request, query_pb2.SearchRadiusRequest)
    (answer,) = client.ask([request])
    return answer.ByteSize(), len(answer.features)


def _stream(client: Client, request: Message) -> tuple[int, int]:
    assert isinstance(request, query_pb2.StreamRadiusRequest)
    batches = client.stream(request)
    # An exchange allows for the frame of one message.
    size = sum(len(framed(b"")) + batch.ByteSize() for batch in batches) - len(framed(b""))
    return size, sum(batch.columns.count for batch in batches)


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
