"""Reflection in both of its versions. grpcio-reflection serves v1alpha; v1 is the same protocol under another name."""

from typing import Any

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from spatial.v1 import errors_pb2  # noqa: F401 - so that its reasons can be looked up

V1ALPHA = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(registrar: Any, services: list[str]) -> None:
    """Registers both on anything that generated `add_…_to_server` functions accept."""
    _declare_v1()
    servicer = _Servicer([*services, V1ALPHA, V1])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, registrar)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, _AsV1(registrar))


class _Servicer(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        """The pool finds messages and services, but not a service's methods: those are where the service is."""
        answer = super()._file_containing_symbol(request, fully_qualified_name)
        parent, _, _ = fully_qualified_name.rpartition(".")
        if answer.HasField("error_response") and parent in self._service_names:
            return super()._file_containing_symbol(request, parent)
        return answer


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
