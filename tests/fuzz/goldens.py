"""Calls that other tests make, and what came back of tokens: what mutants are made of."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from spatial.v1 import query_pb2
from tests import refusals, write_refusals
from tests.calls import CALLS, Caller
from tests.fuzz.contract import Rpc
from tests.fuzz.messages import About, World
from tests.questions import radius
from tests.streams import whole

Known = dict[str, list[tuple[bytes, ...]]]


class Recorder:
    """A channel that remembers what is sent over it, by the paths of the RPCs, and the tokens that come back."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.calls: dict[str, list[list[bytes]]] = defaultdict(list)
        self.tokens: dict[str, None] = {}

    def __getattr__(self, shape: str) -> Callable[..., Any]:
        def make(path: str, request_serializer: Any, response_deserializer: Any, **options: Any) -> Callable[..., Any]:
            def written(message: Message) -> bytes:
                data: bytes = request_serializer(message)
                self.calls[path][-1].append(data)
                return data

            def read(data: bytes) -> Message:
                message: Message = response_deserializer(data)
                self.tokens |= dict.fromkeys(_tokens(message))
                return message

            made = getattr(self._channel, shape)(path, written, read, **options)

            def invoke(*given: Any, **more: Any) -> Any:
                self.calls[path].append([])
                return made(*given, **more)

            return invoke

        return make


def _tokens(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.full_name.startswith("spatial.v1."):
            for each in value if field.is_repeated else [value]:
                if isinstance(each, Message):  # what a map is iterated over is its keys
                    yield from _tokens(each)
        elif field.name.endswith(("token", "etag")):
            yield value


def recorded(channel: grpc.Channel) -> tuple[Known, World]:
    """Every method called as it should be, and what there is to ask about."""
    recorder = Recorder(channel)
    caller = Caller(recorder)  # type: ignore[arg-type] # as far as stubs see, it is a channel
    for call in CALLS.values():
        call(caller)
    for page_size in (1, 2):
        first = radius(meters=1e5, page_size=page_size)
        first.page_token = caller.spatial.SearchRadius(first, timeout=30).next_page_token
        caller.spatial.SearchRadius(first, timeout=30)
    for layer in ("facilities", "zones"):
        request = whole(layer, resumable=True)
        *_, last = caller.spatial.StreamFeatures(request, timeout=30)
        request.resume_token = last.resume_token
        list(caller.spatial.StreamFeatures(request, timeout=30))
    layers = caller.spatial.ListLayers(query_pb2.ListLayersRequest(), timeout=30).layers
    about = {each.name: _about(each) for each in layers}
    known = {path: [tuple(call) for call in calls] for path, calls in recorder.calls.items()}
    return known, World(about, tuple(recorder.tokens))


def _about(layer: query_pb2.Layer) -> About:
    properties = {each.name: query_pb2.PropertyType.Name(each.type) for each in layer.properties}
    return About(properties, layer.geometry_column, layer.geometry_type)


def known_calls(rpc: Rpc, recorded: Known) -> list[tuple[bytes, ...]]:
    """Of an RPC: recorded ones, and those that tests of refusals make."""
    refused = [case[0] for cases in (refusals.CASES, write_refusals.CASES) for case in cases.values()]
    sequences = [case[0] for case in write_refusals.IMPORTS.values()] + [[each] for each in (*refused, *_OTHERS)]
    same = [each for each in sequences if each and each[0].DESCRIPTOR.full_name == rpc.takes.full_name]
    written = [tuple(message.SerializeToString() for message in each) for each in same]
    return [*recorded.get(rpc.path, []), *written] or [(b"",)]


_OTHERS: list[Message] = [
    health_pb2.HealthCheckRequest(service="spatial.v1.SpatialService"),
    *(
        reflection_pb2.ServerReflectionRequest(**{name: text})
        for name in ("file_by_filename", "file_containing_symbol", "list_services", "all_extension_numbers_of_type")
        for text in ("spatial.v1.SpatialService", "spatial/v1/query.proto", "spatial.v1.Feature", "google.protobuf.Any")
    ),
]
