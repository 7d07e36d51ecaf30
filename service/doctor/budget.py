"""What is said at the start of a service whose pools may want more connections than PostgreSQL has for it."""

import logging
from collections.abc import Callable
from contextlib import closing

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from service.db.occupancy import Wanted
from service.doctor.database import connection_findings

Connect = Callable[[], Connection]

log = logging.getLogger("spatial.connections")


def warn_of_connections(connect: Connect, wanted: Wanted) -> int:
    """How many are lacking. Where the database is away nothing is said, and readiness tells why; `spatial doctor` looks
    again."""
    lacking = 0
    try:
        with closing(connect()) as connection, connection.cursor() as cursor:
            for finding in connection_findings(cursor, wanted):
                log.warning("%s", finding.message, extra={"fields": finding.details})
                lacking = max(lacking, finding.details["wanted"] - finding.details["allowed"])
    except psycopg2.Error as error:
        log.debug("connections", exc_info=error)
    return lacking
