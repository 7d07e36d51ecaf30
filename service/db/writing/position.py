"""Where the write-ahead log has come to: what freshness tokens are made of."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

# What is on disk is what a replica may have. Without synchronous commits that may be less than what was committed.
WAL_POSITION = (
    "(CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()"
    " ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint"
)


def wal_position(cursor: Cursor) -> int:
    """In bytes; at or beyond the commit of every transaction that was committed on any session before."""
    cursor.execute(f"SELECT {WAL_POSITION}")
    ((position,),) = cursor.fetchall()
    return int(position)
