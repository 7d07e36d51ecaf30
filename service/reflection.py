"""Reflection in both of its versions. grpcio-reflection serves v1alpha; v1 is the same protocol under another name."""

from typing import Any

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1ALPHA = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(registrar: Any, services: list[str]) -> None:
    """Registers both on anything that generated `add_…_to_server` functions accept."""
    _declare_v1()
    servicer = reflection.aio.ReflectionServicer([*services, V1ALPHA, V1])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, registrar)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, _AsV1(registrar))


class _AsV1:
    """Registers what it is given under v1's name."""

    def __init__(self, registrar: Any) -> None:
        self._registrar = registrar

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        pass

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        self._registrar.add_registered_method_handlers(V1, handlers)


def _declare_v1() -> None:
    """So that `describe` finds the service that `list` names."""
    pool = descriptor_pool.Default()
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    pool.Add(text_format.Parse(text, FileDescriptorProto()))
