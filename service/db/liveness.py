"""Whether a pooled connection still leads anywhere: asked where that could be in doubt, and a round trip saved where it
is not."""

from select import POLLIN, poll
from time import monotonic
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from sqlalchemy import Engine, event, exc

# A server that ends says so at once, to whoever looks; only one that is gone without a word has to be asked.
TRUSTED_SECONDS = 1.0
_USED = "used"


def check_connections(engine: Engine) -> None:
    """What `pool_pre_ping` does, except for connections that were in use a moment ago and have heard nothing since."""

    def used(connection: Connection, record: Any) -> None:
        record.info[_USED] = monotonic()

    def check(connection: Connection, record: Any, proxy: object) -> None:
        if monotonic() - record.info.get(_USED, 0.0) < TRUSTED_SECONDS and _is_quiet(connection):
            return
        if not _answers(engine, connection):
            raise exc.InvalidatePoolError

    event.listen(engine, "connect", used)
    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", check)


def _is_quiet(connection: Connection) -> bool:
    """Whether nothing lies unread: the end of the connection would."""
    if connection.closed:
        return False
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    return not waiting.poll(0)


def _answers(engine: Engine, connection: Connection) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))  # type: ignore[arg-type]
    except engine.dialect.loaded_dbapi.Error as error:
        if engine.dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
            return False
        raise
