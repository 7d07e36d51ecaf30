"""Runs the migrations: for the `alembic` command in a checkout, and for `service.migrations` anywhere."""

from logging.config import fileConfig
from typing import Any

from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import URL, Connection, NullPool, create_engine

from service.db import ledger
from service.db.engine import database_url
from service.migrations import wait_for_turn
from service.models import Base
from service.settings import Settings

OPTIONS: dict[str, Any] = {
    "target_metadata": [Base.metadata, ledger.metadata],
    "include_object": alembic_helpers.include_object,
    "process_revision_directives": alembic_helpers.writer,
    "render_item": alembic_helpers.render_item,
    # A migration that leaves its transaction, to build an index CONCURRENTLY, must not commit half of another.
    "transaction_per_migration": True,
}


def configured_url() -> URL | None:
    url = context.config.get_main_option("sqlalchemy.url")
    if url:
        return database_url(url)
    secret = Settings().database_url
    return database_url(secret.get_secret_value()) if secret else None


def run_offline() -> None:
    """Print the SQL. Needs no database, and so no URL."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    url = configured_url()
    if url is None:
        raise SystemExit("No database: set SPATIAL_DATABASE_URL to postgresql://user:password@host:5432/database")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        run_on(connection)


def run_on(connection: Connection) -> None:
    wait_for_turn(connection)
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


# Only the command configures logging; a program that migrates has its own.
if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

if context.is_offline_mode():
    run_offline()
else:
    run_online()
