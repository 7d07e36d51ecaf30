"""Every RPC that there is, found rather than listed: one that is new is fuzzed without anybody thinking of it."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.processes import ROOT

OURS = "spatial.v1."


class Rpc(NamedTuple):
    service: str
    name: str
    takes: Descriptor
    answers: Descriptor
    client_streaming: bool
    server_streaming: bool

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def ours(self) -> bool:
        """Whether the contract is ours, and with it what its errors carry."""
        return self.service.startswith(OURS)


def rpcs() -> list[Rpc]:
    """Of the generated services and of those that others wrote, with reflection's other version."""
    services = [service for file in _files() for service in file.services_by_name.values()]
    found = [rpc for service in services for rpc in _of(service)]
    alpha = "grpc.reflection.v1alpha"
    return found + [
        each._replace(service=each.service.replace(alpha, "grpc.reflection.v1"))
        for each in found
        if each.service.startswith(alpha)
    ]


def _files() -> Iterator[FileDescriptor]:
    for path in sorted(Path(ROOT, "generated/spatial/v1").glob("*_pb2_grpc.py")):
        yield import_module(f"spatial.v1.{path.stem.removesuffix('_grpc')}").DESCRIPTOR
    yield health_pb2.DESCRIPTOR
    yield reflection_pb2.DESCRIPTOR


def _of(service: ServiceDescriptor) -> Iterator[Rpc]:
    for method in service.methods:
        streams = (method.client_streaming, method.server_streaming)
        yield Rpc(service.full_name, method.name, method.input_type, method.output_type, *streams)


def served(channel: grpc.Channel) -> set[str]:
    """The paths of the RPCs of a server, as its reflection tells of them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=30)
    pool = descriptor_pool.Default()
    found = set()
    for each in answer.list_services_response.service:
        service = pool.FindServiceByName(each.name.replace("reflection.v1.", "reflection.v1alpha."))
        found |= {f"/{each.name}/{method.name}" for method in service.methods}
    return found
