"""One import: its connection, its place in the ledger, and its chunks, each tried until it is in or cannot be."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic, perf_counter, sleep

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from service.catalog import Layer
from service.changes import ImportPlan, Rejection, Totals
from service.db.cancel import Abandoned, StatementGuard
from service.db.engine import Pool
from service.db.imports import entries
from service.db.imports.chunks import Chunk, ChunkSize
from service.db.imports.held import Held
from service.db.imports.passing import has_begun, passes, timed_out, told
from service.db.imports.refusing import refused
from service.db.imports.sifting import Occupied, Sifter
from service.db.imports.staging import Staging
from service.db.imports.targets import read_target
from service.db.writing.position import wal_position
from service.errors import InvalidArgument, Reason
from service.observability.metrics import Metrics
from service.settings import Settings

log = logging.getLogger("spatial.import")

ANALYZE_ROWS, ANALYZE_SHARE = 10_000, 0.1  # statistics that are further off than this mislead the planner
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
TRIES = 3  # of a whole chunk; halves may succeed where something is in the way again and again

# Others look up a few rows each; what is joined here by anything but an index would read the whole layer.
_BEGIN = """
BEGIN ISOLATION LEVEL {isolation};
SET LOCAL statement_timeout = {milliseconds};
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET CONSTRAINTS ALL IMMEDIATE
"""


class Importing:
    """One thread at a time calls any of it; `totals` and `rejections` may be read meanwhile, as of the last commit."""

    def __init__(
        self, plan: ImportPlan, layer: Layer, pool: Pool, settings: Settings, metrics: Metrics, size: ChunkSize
    ) -> None:
        self.totals = Totals()
        self.rejections: tuple[Rejection, ...] = ()
        self.guard = StatementGuard()
        self._plan = plan
        self._layer = layer
        self._settings = settings
        self._metrics = metrics
        self._size = size
        self._held = Held(pool, metrics)
        self._pool_timeout = pool.timeout
        self._backend = 0  # of the last connection
        self._entered = False  # whether this connection has the import to itself
        self._staged = False  # whether it has the staging table
        self._retries = 0  # since the last commit
        self._begin = _BEGIN.format(
            isolation="SERIALIZABLE" if layer.no_overlap else "READ COMMITTED",
            milliseconds=round(settings.statement_timeout * 1000),
        )

    def begin(self) -> None:
        """Before all else."""
        try:
            with self._held.connection().cursor() as cursor:
                target = read_target(cursor, self._layer)
                self._sifter = Sifter(self._plan, self._layer, target)
                self._check_match()
                self._staging = Staging(self._plan, self._layer, target)
                self._enter(cursor)
        except Exception as error:
            raise self._told(error) from error.__cause__

    def settle(self, chunk: Chunk) -> None:
        """Returns when the chunk is committed."""
        patience = monotonic() + self._settings.import_patience
        pause = FIRST_PAUSE
        for tried in count(1):
            started = perf_counter()
            try:
                self._transact(chunk)
            except Exception as error:
                self._after(error)
                if len(chunk.numbers) > 1 and (timed_out(error) or (tried >= TRIES and has_begun(error))):
                    self._settle_halves(chunk)
                    return
                if monotonic() + pause > patience:
                    raise self._told(error) from error
            else:
                self._size.took(len(chunk.numbers), perf_counter() - started)
                return
            self._retries += 1
            self._metrics.import_retries.labels(self._layer.name).inc()
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def finish(self) -> tuple[bool, int]:
        """Whether the table was analyzed, and the position of the log."""
        patience = monotonic() + self._settings.import_patience
        while True:
            try:
                return self._finished()
            except Exception as error:
                self._after(error)
                if monotonic() > patience:
                    raise self._told(error) from error
            self._pause(FIRST_PAUSE)

    def close(self) -> None:
        """The connection goes back to its pool, if it is as it was."""
        if self._held.is_open:
            try:
                with self._held.connection().cursor() as cursor:
                    self._leave(cursor)
            except psycopg2.Error:
                self._held.discard()
        self._held.release()

    # In the ledger.

    def _enter(self, cursor: Cursor) -> None:
        """Has the import to itself from here on: what it finds in the ledger is what is in the table."""
        if not entries.lock(cursor, self._plan.id):
            if not self._backend:
                raise entries.busy(self._plan.id)
            # That connection is lost, and PostgreSQL has not noticed.
            entries.end_holder(cursor, self._plan.id, self._backend)
            raise Occupied
        self._backend = cursor.connection.info.backend_pid
        self._read(cursor)

    def _read(self, cursor: Cursor) -> None:
        entry = entries.enter(cursor, self._plan, self._settings.import_memory)
        self.totals, self.rejections = entry.totals, entry.rejections
        self._entered = True

    def _leave(self, cursor: Cursor) -> None:
        entries.unlock(cursor, self._plan.id)

    def _finished(self) -> tuple[bool, int]:
        connection = self._attached()
        with self._guarded(connection), connection.cursor() as cursor:
            analyzed = self._analyzed(cursor)
            entries.complete(cursor, self._plan.id, self.totals.rows)
            return analyzed, wal_position(cursor)

    def _analyzed(self, cursor: Cursor) -> bool:
        """Brings statistics up to date that the import has made wrong; those of a new table are gathered when its
        indexes are there."""
        if self._plan.straight:
            return False
        written, target = self.totals.inserted + self.totals.updated, self._sifter.target
        if not target.owned or written < max(ANALYZE_ROWS, ANALYZE_SHARE * target.rows):
            return False
        try:
            cursor.execute(f"ANALYZE {target.table}")
        except psycopg2.errors.LockNotAvailable:  # autovacuum is at it
            return False
        return True

    # In the table.

    def _transact(self, chunk: Chunk) -> None:
        connection = self._attached()
        if self.totals.rows >= chunk.end:  # nobody had told whether its commit succeeded
            return
        if self.totals.rows != chunk.first:
            raise entries.busy(self._plan.id)
        with self._guarded(connection), connection.cursor() as cursor:
            self._open(cursor)
            totals, rejections = self._write(cursor, chunk)
            listed = None if rejections == self.rejections else rejections
            entries.advance(cursor, self._plan.id, chunk.first, totals, listed)
            self.guard.seal()
            cursor.execute("COMMIT")
        self._committed(totals, rejections)

    def _open(self, cursor: Cursor) -> None:
        """A chunk's transaction."""
        self._stage(cursor)
        cursor.execute(self._begin)

    def _stage(self, cursor: Cursor) -> None:
        """Makes this connection's staging table, before any transaction that might take it with it."""
        if not self._staged:
            cursor.execute(self._staging.create)
            self._staged = True

    def _write(self, cursor: Cursor, chunk: Chunk) -> tuple[Totals, tuple[Rejection, ...]]:
        """What the import has come to with this chunk."""
        rejections, updated = list(chunk.rejections), 0
        if chunk.numbers and not self._copied_straight(cursor, chunk):
            for kind, brought in enumerate(chunk.kinds()):
                cursor.copy_expert(self._staging.copy(brought), chunk.copy(kind, brought))
            sifted = self._sifter.sift(cursor, self._staging, chunk)
            rejections += sifted.rejections
            updated = sifted.updated
        rows, rejected = chunk.end - chunk.first, len(rejections)
        before = self.totals
        totals = Totals(
            chunk.end,
            before.inserted + rows - rejected - updated,
            before.updated + updated,
            before.rejected + rejected,
            before.chunks + 1,
            before.retries + self._retries,
        )
        room = max(0, self._plan.listed - len(self.rejections))
        return totals, (*self.rejections, *sorted(rejections)[:room])

    def _copied_straight(self, cursor: Cursor, chunk: Chunk) -> bool:
        """Whether all rows went into the table as they are; if not, nothing was done."""
        if not self._plan.straight or len(kinds := chunk.kinds()) > 1:
            return False
        cursor.execute("SAVEPOINT spatial_straight")
        try:
            cursor.copy_expert(self._staging.straight(kinds[0]), chunk.straight())
        except psycopg2.Error as error:
            if refused(error, self._layer, self._sifter.target) is None:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT spatial_straight")
            return False
        return True

    def _committed(self, totals: Totals, rejections: tuple[Rejection, ...]) -> None:
        rows = self._metrics.import_rows
        for what in ("inserted", "updated", "rejected"):
            rows.labels(self._layer.name, what).inc(getattr(totals, what) - getattr(self.totals, what))
        self.totals, self.rejections, self._retries = totals, rejections, 0

    def _settle_halves(self, chunk: Chunk) -> None:
        self._size.took(len(chunk.numbers), self._settings.statement_timeout)
        for half in chunk.halves():
            self.settle(half)

    # On the connection.

    def _attached(self) -> Connection:
        """The connection at hand, or another one that knows how far the import has come."""
        if not self._held.is_open:
            self._entered = self._staged = False
        connection = self._held.connection()
        if not self._entered:
            with connection.cursor() as cursor:
                self._enter(cursor)
        return connection

    @contextmanager
    def _guarded(self, connection: Connection) -> Iterator[None]:
        self.guard.begin(connection)
        interrupted = False
        try:
            yield
        except psycopg2.Error as error:
            interrupted = error.pgcode == errorcodes.QUERY_CANCELED
            raise
        finally:
            if not self.guard.end(interrupted=interrupted):
                self._held.discard()

    def _after(self, error: Exception) -> None:
        """Makes the connection good for another try; raises what does not pass."""
        if self._held.is_open:
            connection = self._held.connection()
            try:
                if connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
                    with connection.cursor() as cursor:
                        cursor.execute("ROLLBACK")
            except psycopg2.Error:
                self._held.discard()
        if self.guard.cancelled:
            raise Abandoned from error
        if not passes(error):
            raise self._told(error) from error.__cause__
        log.info("a chunk is tried again", extra={"import": self._plan.id}, exc_info=error)

    def _pause(self, seconds: float) -> None:
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if self.guard.cancelled:
                raise Abandoned
            sleep(min(left, FIRST_PAUSE))

    def _told(self, error: Exception) -> Exception:
        return told(error, self._pool_timeout)

    def _check_match(self) -> None:
        name = self._plan.match
        if name and (self._layer.properties[name].expression.key,) not in self._sifter.target.unique.values():
            raise InvalidArgument(
                Reason.UNSUPPORTED_PROPERTY_TYPE, f"no unique index is on {name!r} alone", field="match_property"
            )
