"""What the service remembers about writes, so that none takes effect twice: requests with their answers, and imports
with how far they have come. Migrations make these tables, beside whatever layers a database has."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, LargeBinary, MetaData, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from service.errors import FailedPrecondition, Reason
from service.mapping import NAMING_CONVENTION

metadata = MetaData(naming_convention=NAMING_CONVENTION)


def _moment(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), server_default=func.now(), nullable=False)


def _counter(name: str) -> Column[int]:
    return Column(name, BigInteger(), server_default=text("0"), nullable=False)


def _required(name: str, type_: Any) -> Column[Any]:
    return Column(name, type_, nullable=False)


requests = Table(
    "spatial_requests",
    metadata,
    Column("id", Text(), primary_key=True),
    _required("digest", LargeBinary()),
    _required("answer", LargeBinary()),
    _moment("made_at"),
    Index("ix_spatial_requests_made_at", "made_at"),
)

imports = Table(
    "spatial_imports",
    metadata,
    Column("id", Text(), primary_key=True),
    _required("layer", Text()),
    _required("digest", LargeBinary()),
    *map(_counter, ("rows", "inserted", "updated", "rejected", "chunks", "retries")),
    Column("rejections", JSONB(), server_default=text("'[]'"), nullable=False),
    Column("complete", Boolean(), server_default=text("false"), nullable=False),
    _moment("begun_at"),
    _moment("touched_at"),
    Index("ix_spatial_imports_touched_at", "touched_at"),
)

TABLES = (requests.name, imports.name)
# Names of those tables that are not there, for psycopg2's cursors and SQLAlchemy's drivers alike.
LACKING = "SELECT name FROM unnest(ARRAY['spatial_requests', 'spatial_imports']) name WHERE to_regclass(name) IS NULL"


def missing(field: str | None = None) -> FailedPrecondition:
    """What is answered where nothing can be remembered; `field` is what asks for it."""
    return FailedPrecondition(
        Reason.LEDGER_MISSING,
        "the database has no tables to remember requests and imports in: `spatial migrate --ledger` makes them",
        field=field,
    )
