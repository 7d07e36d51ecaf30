"""One of the processes that serve. It is forked, with everything loaded and nothing of gRPC begun."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, NoReturn

import uvloop

from service.db.direct import direct_connection
from service.db.occupancy import Wanted, connections_wanted
from service.doctor.budget import Connect, warn_of_connections
from service.doors import open_files
from service.errors import SpatialError
from service.observability import logs
from service.reflected import ConfigurationError
from service.server import CannotListen, Server, running_server
from service.settings import Settings
from service.workers.link import Link, Message
from service.workers.samples import packed

log = logging.getLogger("spatial.worker")

GC_THRESHOLD = 20_000
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Orders:
    """What every worker is started with. `settings` name ports that the supervisor keeps."""

    settings: Settings
    url: str


def settle() -> None:
    """What was made until now lives as long as the server, and a call leaves no cycles: the collector need not look at
    the one again and again, nor for the other every few calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def counting(settings: Settings, url: str) -> tuple[Connect, Wanted]:
    """What to look at the database with, and what for: whether it has enough connections."""
    return partial(direct_connection, settings, url, "control"), connections_wanted(settings)


def fork(orders: Orders, number: int, link: socket.socket) -> int:
    """The process of a new worker. To be called where there are no threads that hold locks, and no gRPC."""
    supervisor = os.getpid()
    everything = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if pid := os.fork():
            return pid
        _live(orders, number, link, supervisor)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, everything)


def _live(orders: Orders, number: int, link: socket.socket, supervisor: int) -> NoReturn:
    """The whole life of a worker: what was on the stack is the supervisor's, and is not returned to."""
    code = 1
    try:
        _be_own_process(supervisor, keep=link.fileno())
        logs.configure(orders.settings, number)
        code = _work(orders, number, Link(link))
    except BaseException:
        log.exception("worker failed")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _be_own_process(supervisor: int, keep: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all; the supervisor says what to do
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Whatever happens to the supervisor, no worker stays behind on its port.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    _forget_files(keep)
    asyncio._set_running_loop(None)  # noqa: SLF001 - documented, whatever its name


def _forget_files(keep: int) -> None:
    """The supervisor's sockets. What it refers to them by is never collected here, so that nothing closes them again.
    Libraries have files of their own, which are not ours to close: Arrow would write into whatever came after them."""
    gc.freeze()
    for descriptor in open_files():
        if descriptor > 2 and descriptor != keep:
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.close(descriptor)


def _work(orders: Orders, number: int, link: Link) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            finished = runner.run(_Worker(orders, number, link).serve())
        except (CannotListen, ConfigurationError) as error:
            link.say("failed", reason=str(error))
            return 1
    return 0 if finished else 1


class _Worker:
    def __init__(self, orders: Orders, number: int, link: Link) -> None:
        self._orders = orders
        self._number = number
        self._link = link
        self._stop = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None

    async def serve(self) -> bool:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        settings = self._orders.settings
        async with running_server(settings, self._orders.url, tell_others=self._link.share) as server:
            settle()
            self._link.listen(partial(self._hear, server, loop))
            self._link.say("ready", problem=server.problem, layers=_layers(server))
            log.info("taking calls", extra={"fields": {"pid": os.getpid()}})
            if self._number == 1:  # one says it for all
                lacking = await asyncio.to_thread(warn_of_connections, *counting(settings, self._orders.url))
                server.metrics.connections_lacking.set(lacking)
            await self._stop.wait()
            finished = await server.stop(settings.grace_seconds)
            self._link.say("last", samples=packed(server.metrics.registry))
        log.info("ended", extra={"fields": {"finished": finished}})
        return finished

    def _hear(self, server: Server, loop: asyncio.AbstractEventLoop, message: Message) -> None:
        """On the link's thread: neither a scrape nor a refresh waits for the event loop, nor holds it up."""
        match message["word"]:
            case "ask":
                self._link.say("told", samples=packed(server.metrics.registry), status=server.status())
            case "refresh":
                Thread(target=self._refresh, args=(server, message["number"]), daemon=True).start()
            case "spread":
                server.doors.lead_to_all()
            case "leave":
                loop.call_soon_threadsafe(self._begin_to_leave, server, message["newest"])

    def _refresh(self, server: Server, number: int) -> None:
        try:
            server.refresh()
        except SpatialError as error:
            log.warning("the layers could not be read: %s", error.message, exc_info=error)
        self._link.say("refreshed", number=number)

    def _begin_to_leave(self, server: Server, newest: int) -> None:
        self._leaving = asyncio.create_task(self._leave(server, newest), name="leaving")

    async def _leave(self, server: Server, newest: int) -> None:
        log.info("leaving to a successor")
        await server.leaving.lead_away(newest)
        self._link.say("closed")
        await server.leaving.all_gone()
        self._stop.set()


def _layers(server: Server) -> Sequence[tuple[Any, ...]]:
    return [(layer.name, layer.geometry_type, layer.description) for layer in server.catalog]
