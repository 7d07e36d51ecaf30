"""Keeps a catalog up to what the database has: at the start, whenever it is told to, and from time to time."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from threading import Lock
from typing import cast

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from service.catalog import Catalog, Layer
from service.db.errors import translated
from service.db.problems import problems_of
from service.errors import SpatialError
from service.reflected.layers import Candidate, Refused, described
from service.reflected.relations import ColumnFacts, Relation, read_relations
from service.reflected.selection import Refusal, Selection, select
from service.reflected.wanted import Wanted

log = logging.getLogger("spatial.layers")

SAMPLED = 100  # geometries, to see which SRIDs a column has that declares none
RETRY_SECONDS = 1.0  # as long as the layers could not be read at all


class LayerSource:
    """`models` are the layers that are served besides. Reads on connections of `control`; for want of one, and as long
    as nothing was read yet, on those of whoever is `standing_in` for it."""

    def __init__(
        self,
        wanted: Wanted,
        models: Sequence[Layer],
        control: Engine,
        catalog: Catalog,
        standing_in: Callable[[], Sequence[Engine]] = list,
    ) -> None:
        self._wanted = wanted
        self._models = tuple(models)
        self._control = control
        self._standing_in = standing_in
        self._catalog = catalog
        self._lock = Lock()
        self._known: dict[str, tuple[Candidate, Layer]] = {}
        self._refusals: frozenset[Refusal] = frozenset()
        self._revisions = 0
        self._read = not wanted.tables
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why nothing can be said yet of what is served."""
        return None if self._read else "the layers could not be read yet"

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The tables that were asked for and are not served."""
        return sorted(self._refusals)

    def refresh(self) -> None:
        """Reads the database's catalog; from then on the layers are those. Blocks; raises a SpatialError."""
        if not self._wanted.tables:
            return
        with self._lock:
            try:
                selection = self._selected()
            except Exception as error:
                raise translated(error) from error
            self._serve(selection)

    async def start(self, every: float) -> None:
        """Reads the layers once, and then every so many seconds; 0: not again, unless this failed."""
        await self._try()
        if self._wanted.tables and (every or not self._read):
            self._task = asyncio.create_task(self._go_on(every), name="layers")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go_on(self, every: float) -> None:
        while every or not self._read:
            await asyncio.sleep(every if self._read else RETRY_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await asyncio.to_thread(self.refresh)
        except SpatialError as error:
            log.warning("the layers could not be read: %s", error.message, exc_info=error)

    def _selected(self) -> Selection:
        *first, last = [self._control, *([] if self._read else self._standing_in())]
        for control in first:
            with suppress(OperationalError, psycopg2.OperationalError):
                return self._selected_on(control)
        return self._selected_on(last)

    def _selected_on(self, control: Engine) -> Selection:
        with closing(control.raw_connection()) as connection:
            return self._select(cast("Cursor", connection.cursor()))

    def _select(self, cursor: Cursor) -> Selection:
        def sample(relation: Relation, column: ColumnFacts) -> set[int]:
            return _srids(cursor, relation, column)

        return select(self._wanted.tables, read_relations(cursor), self._models, sample)

    def _serve(self, selection: Selection) -> None:
        known = {candidate.name: (candidate, self._layer(candidate)) for candidate in selection.candidates}
        self._tell(known, frozenset(selection.refusals))
        self._known = known
        self._catalog.replace([*self._models, *(layer for _, layer in known.values())])
        self._read = True

    def _layer(self, candidate: Candidate) -> Layer:
        """The layer that there is, unless anything about it has changed."""
        before, layer = self._known.get(candidate.name, (None, None))
        if layer is not None and before == candidate:
            return layer
        self._revisions += 1
        return candidate.layer(self._revisions)

    def _tell(self, known: dict[str, tuple[Candidate, Layer]], refusals: frozenset[Refusal]) -> None:
        """Logs what is new since the last time."""
        for name, (candidate, layer) in known.items():
            if self._known.get(name, (None, None))[0] == candidate:
                continue
            log.info("serving %s as layer %r", candidate.relation.full_name, name)
            for problem in problems_of(layer, described(candidate.relation)):
                log.warning("layer %r: %s: %s", name, problem.message, problem.statement)
            if layer.read_only:
                log.warning("layer %r is not writable: %s", name, layer.read_only)
        for name in self._known.keys() - known.keys():
            log.info("layer %r is no longer served", name)
        for refusal in sorted(refusals - self._refusals):
            mend = f": {refusal.statement}" if refusal.statement else ""
            log.warning("table %s is not served: %s%s", refusal.table, refusal.reason, mend)
        self._refusals = refusals


_SRIDS = """
SELECT DISTINCT ST_SRID({0}::geometry) FROM (SELECT {0} FROM {1} WHERE {0} IS NOT NULL LIMIT {2}) AS sampled
"""


def _srids(cursor: Cursor, relation: Relation, column: ColumnFacts) -> set[int]:
    names = sql.Identifier(column.name), sql.Identifier(relation.schema, relation.name)
    try:
        cursor.execute(sql.SQL(_SRIDS).format(*names, sql.Literal(SAMPLED)))
        return {srid for (srid,) in cursor.fetchall()}
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        raise Refused(
            f"column {column.name!r} declares no SRID, and its geometries could not be looked at ({error.pgcode}):"
            " name its `srid` in a file of layers"
        ) from error
