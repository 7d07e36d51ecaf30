"""One connection, for a command that does without the service."""

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from sqlalchemy import make_url

from service.db.engine import session_settings
from service.settings import Settings


def direct_connection(settings: Settings, url: str, name: str) -> Connection:
    """In autocommit, with the settings of the service's own sessions; psycopg2.Error where there is none to be had."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(
        address,
        connect_timeout=settings.connect_timeout,
        application_name=f"{settings.application_name}/{name}",
        options=" ".join(f"-c {setting}={value}" for setting, value in session_settings(settings).items()),
    )
    connection.autocommit = True
    return connection
