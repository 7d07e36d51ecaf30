"""Channels and what they carry: options, service config, TLS, metadata. The same for gRPC's two kinds of channel."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.protobuf import wrappers_pb2
from grpc.experimental import ChannelOptions

from spatial.v1 import query_pb2, query_pb2_grpc, write_pb2, write_pb2_grpc
from spatial_client._attempts import Attempts, Retry
from spatial_client._errors import SpatialError

SERVICE = query_pb2.DESCRIPTOR.services_by_name["SpatialService"]
WRITING = write_pb2.DESCRIPTOR.services_by_name["FeatureService"]
HEALTH = "Check"
# A stream's messages are taken by whoever reads it, not by a thread beside that hands over each.
ON_THE_READERS_OWN_THREAD = [(ChannelOptions.SingleThreadedUnaryStream, 1)]
FilePath: TypeAlias = str | PathLike[str]
Token: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class TLS:
    """How to encrypt and whom to trust. `TLS()` trusts the certificate authorities that gRPC ships with."""

    root_certificates: FilePath | None = None
    """PEM file of the authorities to trust instead."""
    certificate: FilePath | None = None
    """PEM file with this client's own certificate chain, for a server that asks for one; needs `key`."""
    key: FilePath | None = None
    """PEM file with the key of `certificate`."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in the target."""

    def credentials(self) -> grpc.ChannelCredentials:
        files = (self.root_certificates, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(None if file is None else Path(file).read_bytes() for file in files))


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was made with."""

    target: str
    channels: int
    timeout: float
    idle_timeout: float
    tls: TLS | None
    token: Token | None
    metadata: Mapping[str, str]
    retry: Retry
    options: Sequence[tuple[str, Any]] = field(default=())

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError("a client needs at least one channel")
        if not (self.timeout > 0 and self.idle_timeout > 0):
            raise ValueError("timeouts are positive")

    def open(self, library: Any) -> list[Any]:
        """The channels, of `grpc` or of `grpc.aio`."""
        options = channel_options(self)
        if library is grpc:
            options += ON_THE_READERS_OWN_THREAD
        if self.tls is None:
            return [library.insecure_channel(self.target, options) for _ in range(self.channels)]
        credentials = self.tls.credentials()
        return [library.secure_channel(self.target, credentials, options) for _ in range(self.channels)]

    def attempts(self, timeout: float | None, passes: Callable[[SpatialError], bool]) -> Attempts:
        """Those at a call with one answer."""
        return Attempts(self.retry, self.timeout if timeout is None else timeout, passes)

    def headers(self, token: str | None) -> list[tuple[str, str]]:
        """The metadata of a call."""
        authorization = [] if token is None else [("authorization", f"Bearer {token}")]
        return [*self.metadata.items(), *authorization]


def channel_options(settings: Settings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", f"spatial-client/{_version()}"),
        ("grpc.service_config", json.dumps(service_config(settings))),
        # Each channel has a connection of its own, so that several reach several worker processes behind one port.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # A network that was cut is noticed within half a minute; the server allows a ping every five seconds.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if settings.tls is not None and settings.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls.server_name))
    return [*options, *settings.options]


def service_config(settings: Settings) -> dict[str, Any]:
    """gRPC's own part in retries, and in spreading calls over the addresses of a DNS name."""
    config: dict[str, Any] = {}
    if settings.target.startswith("dns:"):
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    if settings.retry.attempts > 1:
        # Streams are not among them: they are gone on with from where they were cut, which gRPC cannot. Nor is what
        # changes something: whether that may be done again depends on the request.
        unary = [{"service": SERVICE.full_name, "method": each.name} for each in SERVICE.methods if _is_unary(each)]
        config["methodConfig"] = [{"name": unary, "retryPolicy": _retry_policy(settings.retry)}]
    return config


def callables(channel: Any) -> dict[str, Callable[..., Any]]:
    """What a channel can call, by the method's name."""
    stub = query_pb2_grpc.SpatialServiceStub(channel)
    found = {method.name: getattr(stub, method.name) for method in SERVICE.methods}
    writing = write_pb2_grpc.FeatureServiceStub(channel)
    found |= {method.name: getattr(writing, method.name) for method in WRITING.methods}
    # Begun with threads, as it is with asyncio, and not waited for.
    found["ImportFeatures"] = getattr(writing.ImportFeatures, "future", writing.ImportFeatures)
    # On the wire its messages are a wrapped string and a wrapped integer: no need for a library.
    found[HEALTH] = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=wrappers_pb2.StringValue.SerializeToString,
        response_deserializer=wrappers_pb2.Int32Value.FromString,
    )
    return found


def _is_unary(method: Any) -> bool:
    return not (method.client_streaming or method.server_streaming)


def _retry_policy(retry: Retry) -> dict[str, Any]:
    return {
        "maxAttempts": min(retry.attempts, 5),  # more are not allowed
        "initialBackoff": f"{retry.first_pause:.6f}s",
        "maxBackoff": f"{retry.longest_pause:.6f}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }


def _version() -> str:
    try:
        return version("spatial-service")
    except PackageNotFoundError:
        return "0"
