"""The question as gRPC asks it, and the right answer to it, learnt through a real client."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import grpc
from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.dataset import PROPERTIES, RADIUS_METERS, Centre
from benchmarks.load import Exchange
from spatial.v1 import admin_pb2, admin_pb2_grpc, feature_pb2, geometry_pb2, query_pb2, query_pb2_grpc

METHOD = "/spatial.v1.SpatialService/SearchRadius"


def request(centre: Centre) -> query_pb2.SearchRadiusRequest:
    point = LatLng(latitude=centre.latitude, longitude=centre.longitude)
    query = query_pb2.RadiusQuery(
        layer="facilities", center=geometry_pb2.Probe(point=point), radius_meters=RADIUS_METERS
    )
    return query_pb2.SearchRadiusRequest(query=query, output=query_pb2.Output(properties=PROPERTIES))


class Client:
    """A real gRPC client of a server on this machine."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._service = query_pb2_grpc.SpatialServiceStub(self._channel)
        self._administration: Any = admin_pb2_grpc.AdminServiceStub(self._channel)

    def ready(self) -> bool:
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def answers(self, centres: Sequence[Centre]) -> list[query_pb2.SearchRadiusResponse]:
        return self.ask([request(centre) for centre in centres])

    def ask(self, requests: Sequence[query_pb2.SearchRadiusRequest]) -> list[query_pb2.SearchRadiusResponse]:
        """The answers, asked for one after the other."""
        return [self._service.SearchRadius(each, timeout=10) for each in requests]

    def page(
        self, method: str, request: Message
    ) -> query_pb2.SearchRadiusResponse | query_pb2.SearchIntersectsResponse:
        """By any method that answers with a page."""
        page: query_pb2.SearchRadiusResponse | query_pb2.SearchIntersectsResponse
        page = getattr(self._service, method.rpartition("/")[2])(request, timeout=60)
        return page

    def stream(self, method: str, request: Message) -> list[feature_pb2.FeatureBatch]:
        """By any method that answers with batches."""
        return list(getattr(self._service, method.rpartition("/")[2])(request, timeout=60))

    def explained(self, query: query_pb2.RadiusQuery) -> admin_pb2.ExplainResponse:
        """How a page of it is found, once it has been run."""
        request = admin_pb2.ExplainRequest(query=query_pb2.Query(radius=query), analyze=True)
        answer: admin_pb2.ExplainResponse = self._administration.Explain(request, timeout=60)
        return answer

    def close(self) -> None:
        self._channel.close()


class Answers:
    """What the servers say about each centre; they must agree with the first that was asked, every time."""

    def __init__(self, centres: Sequence[Centre]) -> None:
        self._centres = centres
        self._right: list[query_pb2.SearchRadiusResponse] = []

    def check(self, name: str, client: Client) -> None:
        """Raises unless the server behind `client` gives the right answer about every centre."""
        given = client.answers(self._centres)
        self._right = self._right or given
        for centre, answer, right in zip(self._centres, given, self._right, strict=True):
            if answer != right:
                raise RuntimeError(f"{name} answers differently about {centre}:\n{answer}\ninstead of\n{right}")

    @property
    def features(self) -> int:
        return sum(len(answer.features) for answer in self._right)

    @cached_property
    def exchanges(self) -> dict[Centre, Exchange]:
        """The request about each centre with the size of its answer."""
        pairs = zip(self._centres, self._right, strict=True)
        return {centre: Exchange(request(centre).SerializeToString(), answer.ByteSize()) for centre, answer in pairs}
