"""Cancels statements from the event loop: on a thread of its own, again and again until each has ended."""

import asyncio
import logging
from contextlib import suppress

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db.cancel import StatementGuard
from service.db.worker import Worker
from service.observability.metrics import Metrics

log = logging.getLogger("spatial.canceller")

AGAIN_SECONDS = 0.05


class Canceller:
    """Made and used on the event loop; `control` is the engine that cancellations are sent over."""

    def __init__(self, control: Engine, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._control = control
        self._cancelled = metrics.cancelled.labels("abandoned")
        self._worker = Worker("canceller")

    def cancel(self, guard: StatementGuard) -> None:
        """Nobody waits for the statement any more."""
        self._cancelled.inc()
        self._send(guard)

    def close(self) -> None:
        self._worker.stop()

    def _send(self, guard: StatementGuard) -> None:
        self._worker.submit(lambda: self._tell(guard))

    def _tell(self, guard: StatementGuard) -> None:
        """On the worker's thread."""
        again = True
        try:
            again = guard.cancel(self._control)
        except (SQLAlchemyError, psycopg2.Error) as error:
            log.warning("a statement could not be cancelled yet", exc_info=error)
        if again:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._loop.call_later, AGAIN_SECONDS, self._send, guard)
