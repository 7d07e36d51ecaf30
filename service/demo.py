"""The demo data: loaded once, into a migrated database whose layers are empty."""

import gzip
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, Table, create_engine, exists, func, or_, select, text

from service.db.engine import database_url
from service.models import Base

LOCK_KEY = 0x64656D6F  # the letters "demo" in hexadecimal


def load(url: str, directory: Path | None = None) -> dict[str, int]:
    """Fill the layers in one transaction and say how many rows each got; empty if any layer had rows already."""
    directory = directory or find_directory()
    engine = create_engine(database_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        # Of several processes that start together one loads, and the others then find the rows.
        connection.execute(select(func.pg_advisory_xact_lock(LOCK_KEY)))
        if _has_rows(connection):
            return {}
        counts = {table.name: _copy(connection, table, directory) for table in Base.metadata.sorted_tables}
    # Not in the same transaction: its rows would then count as having changed since.
    with engine.begin() as connection:
        for table in counts:
            connection.execute(text(f"ANALYZE {table}"))
    return counts


def find_directory() -> Path:
    """Where the data lie: in the installed package, or in the checkout."""
    package = Path(__file__).parent
    for folder in (package / "_demo", package.parent / "demo"):
        if (folder / "facilities.csv.gz").is_file():
            return folder
    raise FileNotFoundError(f"no demo data beside {package}; they come with the source")


def _has_rows(connection: Connection) -> bool:
    return bool(connection.scalar(select(or_(*(exists(select(table.c.id)) for table in Base.metadata.sorted_tables)))))


def _copy(connection: Connection, table: Table, directory: Path) -> int:
    cursor: Any = connection.connection.cursor()
    with gzip.open(directory / f"{table.name}.csv.gz", "rb") as rows:
        columns = rows.readline().decode().strip()
        cursor.copy_expert(f"COPY {table.name} ({columns}) FROM STDIN (FORMAT csv)", rows)
    count = int(cursor.rowcount)
    # The rows came with their keys; new ones go on from there.
    sequence = func.pg_get_serial_sequence(table.name, "id")
    connection.execute(select(func.setval(sequence, select(func.max(table.c.id)).scalar_subquery())))
    return count
