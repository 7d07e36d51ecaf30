"""Channels of commands that are clients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc

from service.cli.credentials import Credentials, contents


def channel(target: str, credentials: Credentials, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
    if credentials.encrypted:
        files = (credentials.ca, credentials.key, credentials.certificate)
        trusted = grpc.ssl_channel_credentials(*(None if file is None else contents(file) for file in files))
        named = [("grpc.ssl_target_name_override", credentials.name)] if credentials.name else []
        opened = grpc.secure_channel(target, trusted, [*options, *named])
    else:
        opened = grpc.insecure_channel(target, list(options))
    return opened if credentials.token_file is None else grpc.intercept_channel(opened, _Bearer(credentials))


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    """Sends a token with every call, also where nothing is encrypted, which gRPC's own credentials refuse. Its file is
    read each time: long commands outlive short tokens."""

    def __init__(self, credentials: Credentials) -> None:
        self._sent = credentials

    def _with(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), ("authorization", f"Bearer {self._sent.token}")],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with(client_call_details), request)
