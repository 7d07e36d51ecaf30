"""A TCP proxy that can do what networks do: swallow, hold back, forget, refuse, take their time."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Mode = Literal["relay", "hold", "swallow", "forget"]
HELD_SECONDS = 0.01
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing answers with a reset


class Proxy:
    """Stands before the database at a URL; `url` is the one to use instead.

    `mode` says what becomes of bytes: relayed; held back, as by a network that is cut for a while (TCP sends again what
    did not arrive); swallowed without a word, as by one that is cut for longer than anybody tries; or answered by a
    reset, as by a firewall that forgot the connection. Where nothing passes, new connections are taken all the same.
    `delay` is how many seconds bytes are under way, to either side.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}"))
        self.mode: Mode = "relay"
        self.delay = 0.0
        self.accepted = 0  # connections, so far
        self.cut_at: bytes | None = None  # once a client sends this, its connection ends
        self.cut_late = False  # whether the server still hears of it
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy")

    def listen(self) -> None:
        """Until then connections are refused."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    def lead_to(self, url: str) -> None:
        """New connections go to the database at this URL."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)

    def cut_all(self) -> None:
        """Ends the connections that there are, by a reset."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(5)

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._socket.close()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, upstream_writer}
        await asyncio.gather(self._pump(reader, upstream_writer, writer), self._pump(upstream_reader, writer, writer))
        self._writers -= {writer, upstream_writer}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        last = 0.0
        try:
            while data := await reader.read(65536):
                while self.mode == "hold":  # noqa: ASYNC110 - another thread ends it
                    await asyncio.sleep(HELD_SECONDS)
                if self.delay or last > self._loop.time():
                    last = max(last, self._loop.time() + self.delay)
                    self._loop.call_at(last, _write, writer, data)
                    continue
                if self.mode == "forget":
                    _reset(client)
                elif writer is not client and self.cut_at and self.cut_at in data:
                    await self._cut_off(data, writer, client)
                elif self.mode == "relay":
                    writer.write(data)
                    await writer.drain()
            await asyncio.sleep(max(0.0, last - self._loop.time()))
        except OSError:
            _reset(client)
        finally:
            writer.close()

    async def _cut_off(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        self.cut_at = None
        if self.cut_late:
            server.write(data)
            await server.drain()
        _reset(client)

    async def _cut_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _shut_down(self) -> None:
        self._server.close()
        await self._cut_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=2)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextmanager
def proxied(url: str, *, listening: bool = True) -> Iterator[Proxy]:
    proxy = Proxy(url)
    try:
        if listening:
            proxy.listen()
        yield proxy
    finally:
        proxy.close()
