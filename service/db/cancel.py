"""Ends a statement that nobody waits for any more, and never its neighbour's."""

from threading import Lock
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from sqlalchemy import Engine, event, text

from service.db.pooler import PoolerConnection

_CANCEL = text("SELECT pg_cancel_backend(:pid)")
# What gives the same always is called while it is planned: before it begins, which is what PostGIS attends to.
LOAD_POSTGIS = "SELECT postgis_lib_version()"


class Abandoned(Exception):
    """Nobody waits for this statement: it is not begun."""


class Backend(NamedTuple):
    """A process of PostgreSQL's, by its number and its server."""

    pid: int
    host: str
    port: int


class StatementGuard:
    """Stands by one statement, from before it is sent until it has ended.

    `cancel` may be called at any time from any thread. Under the lock either the statement is running, and the
    cancellation is for it alone, or it is not, and none is sent.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._backend: Backend | PoolerConnection | None = None
        self._cancelled = False
        self._sent = False

    def begin(self, connection: Connection) -> None:
        with self._lock:
            if self._cancelled:
                raise Abandoned
            pooled = connection if isinstance(connection, PoolerConnection) else None
            self._backend = pooled or _backend(connection)

    def seal(self) -> None:
        """From here on nothing is cancelled, until the next `begin`; Abandoned where it has been already."""
        with self._lock:
            if self._cancelled:
                raise Abandoned
            self._backend = None

    def end(self, *, interrupted: bool) -> bool:
        """Whether the connection is clean. A cancellation that was sent without interrupting the statement may still
        be on its way, and would hit the next one: such a connection must not be used again."""
        with self._lock:
            self._backend = None
            return interrupted or not self._sent

    def cancel(self, control: Engine) -> bool:
        """Blocks while the server is told, over `control`: libpq's own way holds the interpreter's lock meanwhile.

        Whether the statement must be looked after again: the server ignores what comes before the statement does.
        """
        with self._lock:
            self._cancelled = True
            if self._backend is None:
                return False
            self._sent = True
            _interrupt(self._backend, control)
            return True

    @property
    def cancelled(self) -> bool:
        return self._cancelled


def make_cancellable(engine: Engine) -> None:
    """Of PostgreSQL's sessions, from their first statement.

    PostGIS hears of a cancellation in a signal handler, and what it notes there has no memory before a statement has
    begun with PostGIS loaded. To allocate it in the handler, amid another allocation, breaks the heap: the process
    crashes, and all of PostgreSQL restarts. So PostGIS is loaded before there is anything to cancel.
    """
    event.listen(engine, "connect", _load)


def _load(connection: Connection, record: object) -> None:
    # A pooler would lend just any session for it.
    if not isinstance(connection, PoolerConnection):
        try:
            with connection.cursor() as cursor:
                cursor.execute(LOAD_POSTGIS)
        except psycopg2.Error:
            if connection.closed:  # what is lost already is not to be had from a pool
                raise
            # Where PostGIS is missing, the first statement is told.


def _backend(connection: Connection) -> Backend:
    about = connection.info
    return Backend(about.backend_pid, about.host, about.port)


def _interrupt(backend: Backend | PoolerConnection, control: Engine) -> None:
    if isinstance(backend, PoolerConnection):
        backend.interrupt()
        return
    with control.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, Connection)
        # After a failover this may lead to another server, where the number is somebody else's.
        if _backend(driver)[1:] == backend[1:]:
            connection.execute(_CANCEL, {"pid": backend.pid})
