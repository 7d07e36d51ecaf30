"""Imports: any number of rows into a layer, in chunks that commit one by one, none of them twice.

    importer = Importer(pool, settings, metrics)        # pool: db.engine.bulk_pool(settings, url, metrics)
    with importer.begin(plan, layer) as progress:       # new, or continued: rows below progress.rows are in already
        for incoming in ...:
            importer.write(progress, incoming)          # those are passed over; blocks until there is room
        outcome = importer.finish(progress)

All of it blocks, and one thread at a time may use a Progress; a thread of the import's own writes a chunk while the
caller makes the next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from service.catalog import Layer
from service.changes import ImportPlan, Incoming, Rejection, Totals
from service.db.cancel import StatementGuard
from service.db.engine import Pool
from service.db.imports.behind import Behind
from service.db.imports.chunks import Chunk, ChunkSize, Gathering
from service.db.imports.importing import Importing
from service.db.imports.unheld import Unheld
from service.db.imports.validation import Validation
from service.errors import Reason, ResourceExhausted
from service.observability.metrics import Metrics
from service.settings import Settings


class ImportOutcome(NamedTuple):
    """How an import ended; `position` is that of the log after its last row, 0 where nothing was to be written."""

    totals: Totals
    rejections: Sequence[Rejection]
    analyzed: bool
    position: int


class Progress:
    """An import that is under way. Leaving the `with` lets go of it; what was not finished can be continued."""

    def __init__(self, plan: ImportPlan, importing: Importing, size: ChunkSize) -> None:
        self.id = plan.id
        self.rows = importing.totals.rows
        self.importing = importing
        self.gathering = Gathering(size, plan.match, straight=plan.straight)
        self.behind: Behind[Chunk] = Behind("import", importing.settle)

    @property
    def totals(self) -> Totals:
        """What is committed, of all calls that were at this import."""
        return self.importing.totals

    @property
    def guard(self) -> StatementGuard:
        """Cancelling it gives the import up: what is being written is undone, and nothing else is begun."""
        return self.importing.guard

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.behind.stop()
        self.importing.close()


class Importer:
    """Over a pool whose sessions commit by themselves."""

    def __init__(self, pool: Pool, settings: Settings, metrics: Metrics) -> None:
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._running = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """An import's place among those that may run at a time, where callers from elsewhere want one."""
        most, in_flight = self._settings.max_imports, self._metrics.imports_in_flight
        if self._running >= most:
            self._metrics.rejected.labels("too_many_streams").inc()
            raise ResourceExhausted(
                Reason.TOO_MANY_STREAMS,
                f"{most} imports are running already",
                metadata={"limit": str(most)},
                retry_after=1.0,
            )
        self._running += 1
        try:
            with in_flight.track_inprogress():
                yield
        finally:
            self._running -= 1

    def begin(self, plan: ImportPlan, layer: Layer) -> Progress:
        """LEDGER_MISSING, CONFLICT while another call is at it, REQUEST_ID_REUSED, UNSUPPORTED_PROPERTY_TYPE for a
        `match_property` that is not unique; fields are relative to the plan."""
        size = ChunkSize(straight=plan.straight)
        importing = self._kind(plan)(plan, layer, self._pool, self._settings, self._metrics, size)
        try:
            importing.begin()
        except BaseException:
            importing.close()
            raise
        return Progress(plan, importing, size)

    def _kind(self, plan: ImportPlan) -> type[Importing]:
        if plan.validate_only:
            return Validation
        return Importing if self._settings.pooler == "none" else Unheld

    def write(self, progress: Progress, incoming: Incoming) -> None:
        """Returns when the rows wait to be written, or are. Raises what an earlier chunk failed with."""
        for chunk in progress.gathering.add(incoming, progress.rows):
            progress.behind.give(chunk)
        last = max([*incoming.numbers[-1:], *(each.row for each in incoming.rejections)], default=-1)
        progress.rows = max(progress.rows, last + 1)

    def finish(self, progress: Progress) -> ImportOutcome:
        """Returns when everything is written."""
        for chunk in progress.gathering.rest():
            progress.behind.give(chunk)
        progress.behind.finish()
        analyzed, position = progress.importing.finish()
        return ImportOutcome(progress.totals, progress.importing.rejections, analyzed, position)
