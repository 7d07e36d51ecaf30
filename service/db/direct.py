"""One connection, for a command that does without the service."""

from collections.abc import Mapping

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from service.db.address import libpq_address
from service.db.engine import session_settings, told
from service.settings import Settings


def direct_connection(settings: Settings, url: str, name: str, session: Mapping[str, str] | None = None) -> Connection:
    """In autocommit, with the settings of the service's own sessions but for those in `session`; psycopg2.Error where
    there is none to be had."""
    connection: Connection = psycopg2.connect(
        libpq_address(url),
        connect_timeout=settings.connect_timeout,
        **told(settings, name, session_settings(settings) | dict(session or {})),
    )
    connection.autocommit = True
    return connection
