"""What both clients are made with."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from spatial_client._attempts import Retry
from spatial_client._channels import TLS, Settings, Token


class Client:
    """A connection to a spatial service.

    target: "host:port", or "dns:///host:port" to spread calls over all addresses of the name.
    channels: connections, which take turns; several reach several worker processes of one server.
    timeout: seconds for a call with one answer, attempts and pauses included, unless the call says otherwise.
    idle_timeout: seconds that a stream may be silent while it is waited for.
    tls: how to encrypt; None does not.
    token: sent with every attempt as `authorization: Bearer …`; a function is asked anew each time, and may be a
        coroutine function in the asyncio client. Without TLS it travels in the clear.
    metadata: sent with every call.
    retry: how often to try again.
    options: further channel arguments of gRPC's, which win over the client's own.
    """

    def __init__(
        self,
        target: str,
        *,
        channels: int = 1,
        timeout: float = 10.0,
        idle_timeout: float = 60.0,
        tls: TLS | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        retry: Retry = Retry(),  # noqa: B008 - frozen
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._settings = Settings(
            target, channels, timeout, idle_timeout, tls, token, dict(metadata), retry, tuple(options)
        )
        self._open()

    def _open(self) -> None: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.target!r})"
