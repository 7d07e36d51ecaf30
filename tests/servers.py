"""The real server, from the real composition root, on free ports; and a client for it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, cast
from urllib.request import urlopen

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.server import Server, running_server
from service.settings import Settings
from spatial.v1 import query_pb2_grpc

GIVEN: dict[str, Any] = {
    "listen": "127.0.0.1:0",
    "metrics_listen": "127.0.0.1:0",
    "health_interval": 0.1,
    "adaptive_limit": False,  # a slow machine would refuse what a test asks for at once
}


@dataclass(frozen=True)
class Served:
    """A running server as its callers see it. `server` and `loop` are for tests that look behind the scenes."""

    server: Server
    loop: asyncio.AbstractEventLoop
    channel: grpc.Channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def stub(self) -> Any:
        return query_pb2_grpc.SpatialServiceStub(self.channel)

    def health(self, service: str = "") -> str:
        answer = health_pb2_grpc.HealthStub(self.channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=20
        )
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def scrape(self, query: str = "") -> str:
        """What Prometheus would get."""
        with urlopen(f"http://127.0.0.1:{self.server.metrics_port}/metrics{query}", timeout=20) as response:
            text: str = response.read().decode()
            return text

    def metric(self, sample: str) -> float:
        """The value of one sample, as `name{label="value"}`; 0 where there is none yet."""
        # All of them take thirty times as long; those that are read at the scrape have no name to ask for.
        for query in (f"?name[]={sample.partition('{')[0]}", ""):
            for line in self.scrape(query).splitlines():
                if line.startswith(f"{sample} "):
                    return float(line.rpartition(" ")[2])
        return 0.0


@contextmanager
def serving(url: str, **settings: Any) -> Iterator[Served]:
    """A server over the database at `url`, on an event loop in a thread of its own."""
    given = {**GIVEN, **settings}
    ready: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = Thread(target=lambda: asyncio.run(_serve(Settings(**given), url, ready)), name="server")
    thread.start()
    try:
        server, loop, stop = ready.result(timeout=30)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
            yield Served(server, loop, channel)
    finally:
        if ready.done() and ready.exception() is None:
            _, loop, stop = ready.result()
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)
    assert not thread.is_alive(), "the server did not stop"


async def _serve(
    settings: Settings, url: str, ready: "Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    stop = asyncio.Event()
    try:
        async with running_server(settings, url) as server:
            ready.set_result((server, asyncio.get_running_loop(), stop))
            await stop.wait()
    except BaseException as error:
        if not ready.done():
            ready.set_exception(error)
        raise


@dataclass(frozen=True)
class Refusal:
    """An error as a program sees it."""

    code: str
    message: str
    reason: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    retry_seconds: float | None
    request_id: str


def refusal(error: grpc.RpcError) -> Refusal:
    """The details that come with an error; fails where they are missing."""
    trailing: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    details = {each.TypeName(): each for each in status.details}
    info = _unpacked(details["google.rpc.ErrorInfo"], error_details_pb2.ErrorInfo())
    assert info.domain == "spatial.v1"
    bad = _unpacked(details.get("google.rpc.BadRequest"), error_details_pb2.BadRequest())
    retry = _unpacked(details.get("google.rpc.RetryInfo"), error_details_pb2.RetryInfo())
    return Refusal(
        code=error.code().name,
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=tuple(violation.field for violation in bad.field_violations),
        retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if "google.rpc.RetryInfo" in details else None,
        request_id=trailing["x-request-id"],
    )


def _unpacked(packed: Any, message: Any) -> Any:
    if packed is not None:
        packed.Unpack(message)
    return message
