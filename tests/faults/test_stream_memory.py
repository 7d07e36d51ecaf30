"""What a stream costs does not grow with what it delivers: the server's memory, the time to the first batch, and what
others have to wait."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from spatial.v1 import geometry_pb2, query_pb2_grpc
from tests.conftest import NewDatabase
from tests.processes import Serving, spatial_serve
from tests.questions import fill, zone
from tests.servers import serving
from tests.situations import fetch
from tests.streams import ids, size, stream, whole

MIB = 1024 * 1024
CROWD, LARGE, ROW = 80_000, 80, 1000  # points on a grid, so many in a row
FEW = geometry_pb2.BoundingBox(west=-0.0005, south=0.0095, east=1, north=0.0105)  # one row


@pytest.fixture(scope="module")
def crowd(new_database: NewDatabase) -> Iterator[str]:
    """80,000 facilities of 1 KB, eighty parcels of 1 MB, and the few zones that other questions are about."""
    with new_database() as url:
        fill(url)
        fetch(
            url,
            "ALTER TABLE parcels DROP CONSTRAINT ck_parcels_boundary_valid;"
            "DROP INDEX ix_facilities_attributes_gin, ix_facilities_tags_gin, ix_facilities_location_geography_gist,"
            " ix_facilities_location_geography_active_gist, ix_facilities_location_gist;"
            "TRUNCATE facilities, parcels;"
            "INSERT INTO facilities (name, kind, location)"
            " SELECT rpad('Facility ' || n, 900, '.'), 'test', ST_Point(n % 1000 * 0.001, n / 1000 * 0.01, 4326)"
            f" FROM generate_series(1, {CROWD}) n;"
            "CREATE INDEX ON facilities USING gist (location);"
            "INSERT INTO parcels (number, name, land_use, district_id, boundary)"
            f" SELECT n, 'Parcel', 'park', 1, large FROM generate_series(1, {LARGE}) n,"
            " (SELECT ST_Segmentize(ST_MakeEnvelope(0, 0, 1, 1, 4326), 4.0 / 65536) AS large) AS shape;"
            "ANALYZE facilities, parcels",
        )
        yield url


def resident(serving: Serving) -> float:
    """The process's memory, in MiB."""
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


class Peak:
    """The most memory that a server was seen to have."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.mebibytes = 0.0

    def look(self) -> None:
        self.mebibytes = max(self.mebibytes, resident(self._serving))


def fast(batches: Any, look: Callable[[], None]) -> int:
    features = 0
    for batch in batches:
        features += size(batch)
        look()
    return features


def slow(batches: Any, look: Callable[[], None]) -> int:
    """Ten batches a second, for half a second."""
    for batch, _ in zip(batches, range(5), strict=False):
        assert size(batch)
        time.sleep(0.1)
        look()
    batches.cancel()
    return 0


def test_memory_does_not_grow_with_what_is_streamed(crowd: str) -> None:
    with (
        spatial_serve(database_url=crowd) as server,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        stub = query_pb2_grpc.SpatialServiceStub(channel)
        for layout in ("ROWS", "COLUMNS", "ARROW"):
            assert fast(stream(stub, whole("facilities", FEW, layout=layout)), lambda: None) == ROW
        idle = resident(server)
        peaks = {}
        for name, request, expected in (
            *((layout, whole("facilities", layout=layout), CROWD) for layout in ("ROWS", "COLUMNS", "ARROW")),
            *((f"large, {layout}", whole("parcels", layout=layout), LARGE) for layout in ("ROWS", "COLUMNS", "ARROW")),
        ):
            for read in (slow, fast):
                peak = Peak(server)
                assert read(stream(stub, request, timeout=60), peak.look) in (0, expected)
                peaks[name, read.__name__] = round(peak.mebibytes - idle, 1)
        assert max(peaks.values()) < 64, peaks


@pytest.mark.parametrize("layout", ["ROWS", "COLUMNS"])
def test_the_time_to_the_first_batch_does_not_grow_with_the_result(crowd: str, layout: str) -> None:
    few, many = whole("facilities", FEW, layout=layout), whole("facilities", layout=layout)
    with serving(crowd) as served:

        def seconds_to_first(request: Any) -> float:
            started = time.perf_counter()
            call = stream(served.stub, request)
            assert ids(next(call))
            seconds = time.perf_counter() - started
            call.cancel()
            return seconds

        def seconds_to_last() -> float:
            started = time.perf_counter()
            assert fast(stream(served.stub, many), lambda: None) == CROWD
            return time.perf_counter() - started

        seconds_to_first(few)
        rounds = [[seconds_to_first(request) for request in (few, many)] for _ in range(9)]
        first_of_few, first_of_many = map(min, zip(*rounds, strict=True))
        # What follows competes with the first.
        assert first_of_many < first_of_few + max(0.15, seconds_to_last() / 5), rounds


READERS = """
import sys, threading, time
import grpc
from spatial.v1 import query_pb2, query_pb2_grpc

def read(address):
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        asked = query_pb2.StreamFeaturesRequest(query=query_pb2.LayerQuery(layer="facilities"))
        for batch in query_pb2_grpc.SpatialServiceStub(channel).StreamFeatures(asked):
            time.sleep(1)

for _ in range(int(sys.argv[2])):
    threading.Thread(target=read, args=sys.argv[1:2]).start()
print("reading", flush=True)
"""


@contextmanager
def slow_readers(address: str, number: int) -> Iterator[None]:
    """In a process of their own, each over its own connection: they take a batch a second."""
    command = [sys.executable, "-c", READERS, address, str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as readers:
        try:
            assert readers.stdout
            assert readers.stdout.readline() == "reading\n"
            time.sleep(1)  # until their windows are full
            yield
            assert readers.poll() is None, "nobody reads any more"
        finally:
            readers.kill()


def test_slow_readers_slow_nobody_but_themselves(crowd: str) -> None:
    with spatial_serve(database_url=crowd) as server, grpc.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.SpatialServiceStub(channel)

        def median() -> float:
            seconds = []
            for number in range(100):
                started = time.perf_counter()
                assert stub.SearchIntersects(zone(number % 10 + 1), timeout=10).features
                seconds.append(time.perf_counter() - started)
            return statistics.median(seconds)

        median()
        before = median()
        with slow_readers(server.address, 4):
            beside = median()
        alone = before, median()
        assert beside < 3 * max(alone) + 0.005, (alone, beside)
