"""What the server streams, as Arrow record batches, through cuts."""

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import grpc

from service.cli.export.packages import needed
from service.cli.export.question import Request
from spatial.v1 import feature_pb2

# A server that goes, one that comes, one that has no room, and a stream that was ended since we were slow.
CUTS = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
TRIES = 8
LONGEST_WAIT = 5.0

CHANNEL = [
    ("grpc.max_receive_message_length", -1),  # a single feature may be larger than any limit
    # A server that vanished is noticed within half a minute, one that is back within two seconds.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def record_batches(method: Callable[[Request], Any], request: Request) -> Iterator[Any]:
    """Everything that the request finds. A resumable stream that is cut goes on where it was, and any other one that
    has sent nothing yet is asked for again; after TRIES in vain the error is raised."""
    request = type(request).FromString(request.SerializeToString())
    tries = 0
    while True:
        started = False
        try:
            for message in _messages(method, request):
                request.resume_token = message.resume_token
                started, tries = True, 0
                yield from _record_batches(message)
            return
        except grpc.RpcError as error:
            tries += 1
            if error.code() not in CUTS or tries > TRIES or (started and not request.resumable):
                raise
            time.sleep(min(LONGEST_WAIT, 0.1 * 2**tries))


def with_schema(batches: Iterator[Any], otherwise: Callable[[], Any]) -> tuple[Any, Iterator[Any]]:
    """The batches and their schema: that of the first, or, where there is none, another."""
    first = next(batches, None)
    if first is None:
        return otherwise(), iter(())
    return first.schema, chain([first], batches)


def _messages(method: Callable[[Request], Any], request: Request) -> Iterator[feature_pb2.FeatureBatch]:
    call = method(request)
    try:
        yield from call
    finally:
        call.cancel()


def _record_batches(message: feature_pb2.FeatureBatch) -> Iterator[Any]:
    with needed("pyarrow.ipc").open_stream(message.arrow_ipc) as reader:
        yield from reader
