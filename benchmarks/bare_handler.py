"""The handler that most people would write, and write well: a thread per call, a raw cursor, messages the normal way.

It answers SearchRadius over the facilities, first page, with three properties, and nothing else: no checks, no paging,
no metrics. And, whatever is asked, the first batch of a whole layer: StreamFeatures has it at hand, as no stream could;
StreamRadius asks PostgreSQL for its rows, and for no others.
`python -m benchmarks.bare_handler URL PORT THREADS`
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import psycopg2
from grpc_health.v1 import health, health_pb2_grpc
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from benchmarks.dataset import STATEMENT
from benchmarks.streams import POINTS
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2, query_pb2_grpc


class BareHandler(query_pb2_grpc.SpatialServiceServicer):
    """Keeps a connection for every thread, so that no call waits for one."""

    def __init__(self, url: str, connections: int) -> None:
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        for _ in range(connections):
            connection = psycopg2.connect(url)
            connection.autocommit = True
            self._idle.put(connection)
        self._batch = _first_batch(connection)

    def SearchRadius(  # noqa: N802 - gRPC's name
        self, request: query_pb2.SearchRadiusRequest, context: grpc.ServicerContext
    ) -> query_pb2.SearchRadiusResponse:
        point = request.query.center.point
        values = {"longitude": point.longitude, "latitude": point.latitude, "radius": request.query.radius_meters}
        connection = self._idle.get()
        try:
            with connection.cursor() as cursor:
                cursor.execute(STATEMENT, values)
                rows = cursor.fetchall()
        finally:
            self._idle.put(connection)
        return query_pb2.SearchRadiusResponse(features=[_feature(*row) for row in rows])

    def StreamFeatures(  # noqa: N802 - gRPC's name
        self, request: query_pb2.StreamFeaturesRequest, context: grpc.ServicerContext
    ) -> Iterator[feature_pb2.FeatureBatch]:
        yield self._batch

    def StreamRadius(  # noqa: N802 - gRPC's name
        self, request: query_pb2.StreamRadiusRequest, context: grpc.ServicerContext
    ) -> Iterator[feature_pb2.FeatureBatch]:
        connection = self._idle.get()
        try:
            yield _first_batch(connection)
        finally:
            self._idle.put(connection)


def _first_batch(connection: Connection) -> feature_pb2.FeatureBatch:
    """As many features as the service sends at first."""
    with connection.cursor() as cursor:
        cursor.execute(f"{POINTS.statement} LIMIT 20")
        keys, shapes, *properties = zip(*cursor.fetchall(), strict=True)
    columns = feature_pb2.FeatureColumns(count=len(keys), int64_ids=keys, wkb=map(bytes, shapes))
    for name, values in zip(POINTS.properties, properties, strict=True):
        kind = "booleans" if isinstance(values[0], bool) else "strings"
        getattr(columns.properties.add(name=name), kind).values.extend(values)
    return feature_pb2.FeatureBatch(columns=columns)


def _feature(key: int, name: str, kind: str, active: bool, wkb: memoryview, distance: float) -> feature_pb2.Feature:
    feature = feature_pb2.Feature(
        id=str(key), geometry=geometry_pb2.Geometry(wkb=bytes(wkb), srid=4326), distance_meters=distance
    )
    feature.properties.update({"name": name, "kind": kind, "active": active})
    return feature


def serve(url: str, port: int, threads: int) -> None:
    server = grpc.server(ThreadPoolExecutor(threads))
    query_pb2_grpc.add_SpatialServiceServicer_to_server(BareHandler(url, threads), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
