"""The HTTP side of all workers together. It runs on the event loop: where processes are forked, threads are not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from prometheus_client.exposition import choose_encoder

from service.observability.http import HTML, page
from service.workers.samples import Sum

REQUEST_SECONDS = 5.0
MOST_REQUEST_BYTES = 16 * 1024

Look = Callable[[], Awaitable[tuple[Sum, dict[str, str]]]]


@asynccontextmanager
async def pages(address: str, look: Look) -> AsyncIterator[int]:
    """Serves /metrics and the status page at `host:port`, and gives the port."""
    host, _, port = address.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(request.decode("latin-1"), look))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host.strip("[]"), int(port), limit=MOST_REQUEST_BYTES)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _response(request: str, look: Look) -> bytes:
    line, *headers = request.split("\r\n")
    path = [*line.split(" "), ""][1].partition("?")[0]
    if path not in ("/", "/metrics"):
        return _message("404 Not Found", "text/plain", b"not found\n")
    found, status = await look()
    if path == "/":
        return _message("200 OK", HTML, page(status))
    fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in headers)}
    encode, content = choose_encoder(fields.get("accept", ""))
    return _message("200 OK", content, encode(found))


def _message(status: str, content: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
