"""A client of the streams, in a process of its own: `python -m benchmarks.reader` reads jobs from its standard input.

It is what a careful caller would write over the generated stubs, and it has in hand what a caller would work with: of
ROWS the messages, of COLUMNS lists of ids, WKB and values, of ARROW record batches, of matches their keys and features.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
from google.protobuf.message import Message
from grpc.experimental import ChannelOptions
from pyarrow import compute

from benchmarks.jobs import Job, Taken
from spatial.v1 import feature_pb2, query_pb2, query_pb2_grpc

# As spatial_client has it: messages are taken by who reads them, not by a thread beside.
_OPTIONS = [(ChannelOptions.SingleThreadedUnaryStream, 1)]


class Content(NamedTuple):
    """What can be checked of a message."""

    ids: int
    wkb_bytes: int


class Layout(NamedTuple):
    """How a message becomes what a caller works with, how many features that is, and what is in it."""

    decode: Callable[[Any], Any]
    count: Callable[[Any], int]
    content: Callable[[Any], Content]


def _columns(batch: feature_pb2.FeatureBatch) -> tuple[list[int], list[bytes], list[list[Any]]]:
    columns = batch.columns  # a slice is a list, made in C
    values = [getattr(column, column.WhichOneof("values")).values[:] for column in columns.properties]
    return columns.int64_ids[:], columns.wkb[:], values


def _record_batches(batch: feature_pb2.FeatureBatch) -> list[pa.RecordBatch]:
    with pa.ipc.open_stream(batch.arrow_ipc) as stream:
        return list(stream)


def _arrow_content(batches: Sequence[pa.RecordBatch]) -> Content:
    table = pa.Table.from_batches(batches)
    lengths = compute.binary_length(table["geometry"])
    return Content(compute.sum(table["id"]).as_py(), compute.sum(lengths).as_py())


def _features_content(features: Sequence[feature_pb2.Feature]) -> Content:
    return Content(sum(int(feature.id) for feature in features), sum(len(feature.geometry.wkb) for feature in features))


def _matches(response: query_pb2.MatchResponse) -> list[tuple[str, list[feature_pb2.Feature]]]:
    return [(match.key, list(match.features)) for match in response.matches]


def _matches_content(matches: Sequence[tuple[str, Sequence[feature_pb2.Feature]]]) -> Content:
    return _features_content([feature for _, features in matches for feature in features])


_LAYOUTS = {
    "rows": Layout(lambda batch: list(batch.rows.features), len, _features_content),
    "columns": Layout(_columns, lambda read: len(read[0]), lambda read: Content(sum(read[0]), sum(map(len, read[1])))),
    "arrow_ipc": Layout(_record_batches, lambda batches: sum(batch.num_rows for batch in batches), _arrow_content),
    "matches": Layout(_matches, lambda matches: sum(len(features) for _, features in matches), _matches_content),
}
_REQUESTS: dict[str, type[Message]] = {
    "StreamRadius": query_pb2.StreamRadiusRequest,
    "StreamFeatures": query_pb2.StreamFeaturesRequest,
    "MatchFeatures": query_pb2.MatchRequest,
}


@cache
def _stub(port: int) -> query_pb2_grpc.SpatialServiceStub:
    return query_pb2_grpc.SpatialServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}", _OPTIONS))


def layout_of(message: Message) -> Layout:
    """Told by what is in the first message of a stream."""
    if isinstance(message, query_pb2.MatchResponse):
        return _LAYOUTS["matches"]
    assert isinstance(message, feature_pb2.FeatureBatch)
    return _LAYOUTS[message.WhichOneof("layout")]


class Reader:
    """Does one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [_REQUESTS[job.method].FromString(bytes.fromhex(request)) for request in job.requests]
        self._features = self._ids = self._wkb_bytes = self._messages = self._bytes = 0
        self._firsts: list[float] = []

    def run(self) -> Taken:
        started = time.perf_counter()
        until = started + self._job.seconds
        for _ in range(self._job.times):
            self._read(until)
            if time.perf_counter() > until:
                break
        seconds = time.perf_counter() - started
        return Taken(self._features, self._messages, seconds, self._firsts, self._ids, self._wkb_bytes, self._bytes)

    def _read(self, until: float) -> None:
        began = time.perf_counter()
        call = self._call()
        tables = []  # record batches are kept to the end, as who wants a table would
        first = True
        for message in call:
            layout = layout_of(message)
            decoded = layout.decode(message)
            if first:
                self._firsts.append(time.perf_counter() - began)
                first = False
            if layout is _LAYOUTS["arrow_ipc"]:
                tables.append(decoded)
            self._note(message, layout, decoded)
            if self._job.pause:
                time.sleep(self._job.pause)
            if time.perf_counter() > until:
                call.cancel()
                return

    def _call(self) -> Any:
        method = getattr(_stub(self._job.port), self._job.method)
        sends_many = self._job.method == "MatchFeatures"
        return method(iter(self._requests)) if sends_many else method(self._requests[0])

    def _note(self, message: Message, layout: Layout, decoded: Any) -> None:
        self._features += layout.count(decoded)
        self._messages += 1
        if self._job.check:
            self._bytes += message.ByteSize()
            content = layout.content(decoded)
            self._ids += content.ids
            self._wkb_bytes += content.wkb_bytes


def _jobs() -> Iterator[Job]:
    for line in sys.stdin:
        yield Job.read(line)


if __name__ == "__main__":
    for job in _jobs():
        sys.stdout.write(Reader(job).run().line())
        sys.stdout.flush()
