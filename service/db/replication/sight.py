"""What a database's server says of itself, asked over connections that calls never have."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import NamedTuple

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from service.db.pooler import Hearing
from service.db.worker import Worker

log = logging.getLogger("spatial.replicas")

LOOK_SECONDS = 1.0  # a server that takes longer to say where it is has nothing for callers either

STARTED = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
_LOOK = text(
    f"""
SELECT (SELECT system_identifier FROM pg_control_system()),
       {STARTED},
       pg_is_in_recovery(),
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::bigint,
       CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
"""  # noqa: S608 - nothing of it is anybody's input
)


class Look(NamedTuple):
    """`system` is what a cluster and its replicas have in common, `started` when the server did, in microseconds.
    `position` is how far a standby has replayed, or a primary written, the log. A primary knows the `timeline`."""

    system: int
    started: int
    standby: bool
    position: int
    timeline: str | None
    connections: int  # that it takes
    began: float
    ended: float


class Unseen(Exception):
    """A server said nothing of itself; `silent`: nor did anybody in its place."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__("it does not answer" if silent else "it cannot be reached")
        self.silent = silent


class Busy(Exception):
    """A look waits its turn behind calls, which are answered."""


class Sight:
    """Made and used on the event loop. `hearing` is of all connections to the server: behind a pooler looks may have to
    wait longer than they do for a server that is well."""

    def __init__(self, name: str, control: Engine, hearing: Hearing) -> None:
        self.control = control
        self._hearing = hearing
        self._worker = Worker(f"sight-{name}")
        self._under_way: asyncio.Future[Look | None] | None = None

    async def look(self) -> Look:
        """Who comes while somebody looks sees the same; what is stuck in a network is waited for, not piled up."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().create_future()
            self._worker.submit(partial(self._report, self._under_way))
        under_way = self._under_way
        await asyncio.wait([under_way], timeout=LOOK_SECONDS)
        if not under_way.done():
            raise Busy if self._hearing.seconds < LOOK_SECONDS else Unseen(silent=True)
        look = under_way.result()
        if look is None:
            raise Unseen(silent=False)
        return look

    def close(self) -> None:
        self._worker.stop()

    def _report(self, under_way: "asyncio.Future[Look | None]") -> None:
        look = self._look()
        with suppress(RuntimeError):  # the event loop has gone
            under_way.get_loop().call_soon_threadsafe(under_way.set_result, look)

    def _look(self) -> Look | None:
        began = monotonic()
        try:
            with self.control.connect() as connection:
                said = connection.execute(_LOOK).one()
                return Look._make((*said, began, monotonic()))
        except SQLAlchemyError as error:
            log.debug("a server cannot be looked at", exc_info=error)
            return None
