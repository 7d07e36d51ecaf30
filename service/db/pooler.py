"""Connections for a pooler that lends a session of PostgreSQL for one transaction (PgBouncer's transaction mode).

Nothing outlives a transaction there. So what a session would be told once is told with every statement, in the same
message: PostgreSQL makes one transaction of a message, and the pooler cannot come between. And the process that a
connection believes to speak to is the pooler's invention, so that a statement is cancelled over the pooler.
"""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import Engine, event

# psycopg2's own `cancel()` holds the interpreter's lock for as long as the network takes; so does nothing here.
_libpq = ctypes.CDLL(psycopg2._psycopg.__file__)  # noqa: SLF001
_libpq.PQgetCancel.argtypes, _libpq.PQgetCancel.restype = [ctypes.c_void_p], ctypes.c_void_p
_libpq.PQfreeCancel.argtypes, _libpq.PQfreeCancel.restype = [ctypes.c_void_p], None
_libpq.PQcancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
_libpq.PQcancel.restype = ctypes.c_int


class PoolerCursor(Cursor):
    """Sends the settings ahead of each statement that begins a transaction."""

    connection: "PoolerConnection"

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - as the driver calls it
        super().execute(self._ready(self.mogrify(query, vars)))
        self.connection.heard()

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        super().copy_expert(self._ready(sql), file, size)
        self.connection.heard()

    def execute_alone(self, query: str) -> None:
        """What must not be in a transaction with anything else, and so goes without settings."""
        super().execute(query)

    def _ready(self, statement: str | bytes) -> str | bytes:
        if self.connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            return statement  # of a transaction that knows the settings
        settings = self.connection.settings
        return settings.encode() + statement if isinstance(statement, bytes) else settings + statement


class PoolerConnection(Connection):
    def __init__(self, dsn: str, settings: str, **options: Any) -> None:
        """`settings` are statements for the beginning of a transaction."""
        super().__init__(dsn, **options)
        self.settings = settings
        self.cursor_factory = PoolerCursor
        self.heard: Callable[[], object] = _nothing  # called when PostgreSQL has answered
        # By itself it is as good as the connection, and may be used when another thread has closed that.
        self._cancel = _libpq.PQgetCancel(self.pgconn_ptr)

    def interrupt(self) -> None:
        """Asks the pooler to cancel what runs. Returns when that has been done, or is of no use any more; blocks this
        thread alone, and as long as a network may be silent (`tcp_user_timeout`, keepalives). OperationalError where
        the pooler could not be told."""
        complaint = ctypes.create_string_buffer(256)
        if not _libpq.PQcancel(self._cancel, complaint, len(complaint)):
            raise psycopg2.OperationalError(complaint.value.decode(errors="replace"))

    def __del__(self) -> None:
        if cancel := self.__dict__.pop("_cancel", None):
            _libpq.PQfreeCancel(cancel)


class Hearing:
    """How long ago PostgreSQL has answered anything on the connections of these engines, those made from now on: who
    waits for a session of the pooler's meanwhile waits for nothing worse than others of ours."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._last = float("-inf")
        for engine in engines:
            event.listen(engine, "connect", self._listen)

    @property
    def seconds(self) -> float:
        return monotonic() - self._last

    def _listen(self, connection: Any, _: object) -> None:
        if isinstance(connection, PoolerConnection):
            connection.heard = self._hear

    def _hear(self) -> None:
        self._last = monotonic()


def _nothing() -> None:
    """What becomes of an answer where nobody listens."""


def connecting(settings: Mapping[str, str]) -> Callable[..., PoolerConnection]:
    """psycopg2's `connection_factory` for sessions that are to have these settings."""
    told = "".join(f"SET LOCAL {name} = {_literal(value)}; " for name, value in settings.items())
    return partial(PoolerConnection, settings=told)


def _literal(value: str) -> str:
    return "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
