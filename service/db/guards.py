"""Refuses statements by their plans, before they are run.

A plan is looked at on the connection that would run the statement. Where all probes share one plan, since they are no
constants in it, what was found holds for a while: a search that waits with its like costs no second look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog
from service.db.batch import Batch, Errand
from service.db.cancel import StatementGuard
from service.db.deference import Awaited
from service.db.describe import describe
from service.db.explain import Ask, Asked, Explanation, Refusal, asked_join, asked_search, explain, planned
from service.db.joins import JoinStatement
from service.db.plans import Plan, Scan
from service.db.problems import problems_of
from service.db.queries import Statement
from service.db.stream import Put, Reading
from service.domain import Argument, Shape
from service.errors import Reason

KEPT_SECONDS = 60.0
KNOWN_SHAPES = 4096

# As the planner reckons: the density at the last ANALYZE in as many blocks as there are now. Of a table that was never
# analysed only the blocks are known. Partitions are summed up.
_ROWS = """
SELECT format('%%I.%%I', table_schema.nspname, whole.relname) AS read_table,
       sum(CASE WHEN read.reltuples >= 0 AND read.relpages > 0 THEN read.reltuples / read.relpages ELSE 64 END
           * (pg_relation_size(read.oid) / current_setting('block_size')::bigint)) AS rows
  FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS given (schema, name)
  JOIN pg_namespace AS read_schema ON read_schema.nspname = given.schema
  JOIN pg_class AS read ON read.relnamespace = read_schema.oid AND read.relname = given.name
  JOIN pg_class AS whole ON whole.oid = coalesce(pg_partition_root(read.oid), read.oid)
  JOIN pg_namespace AS table_schema ON table_schema.oid = whole.relnamespace
 GROUP BY read_table
 ORDER BY rows DESC, read_table
 LIMIT 1
"""


class PlanGuards:
    """`max_cost` is in the planner's units, `most_rows` of a table may be read from end to end; 0: any."""

    def __init__(
        self, catalog: Catalog, max_cost: float, most_rows: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._catalog = catalog
        self._max_cost = max_cost
        self._most_rows = most_rows
        self._clock = clock
        self._known: dict[Shape, tuple[float, Refusal | None]] = {}

    @property
    def active(self) -> bool:
        return bool(self._max_cost or self._most_rows)

    def admit(self, job: Batch | Errand, cursor: Cursor) -> None:
        """What a lane is about to run. An errand is no search."""
        if isinstance(job, Batch):
            self.admit_search(cursor, job.statement, job.calls[0].search.arguments)

    def admit_search(self, cursor: Cursor, statement: Statement, arguments: Sequence[Argument]) -> None:
        """Lets it through, or raises why not. Of searches that share a statement any one stands for all."""
        if self.active:
            _raise(self._judged(cursor, statement, arguments))

    def admit_join(self, cursor: Cursor, statement: JoinStatement, arguments: Sequence[Argument]) -> None:
        if self.active:
            _raise(self._look(cursor, asked_join(statement, arguments)))

    def around_search(
        self, readings: Sequence[Reading], statement: Statement, arguments: Sequence[Argument]
    ) -> Sequence[Reading]:
        """Readings that begin with a look at the statement's plan."""
        return self._around(readings, lambda cursor: self.admit_search(cursor, statement, arguments))

    def around_join(
        self, readings: Sequence[Reading], statement: JoinStatement, arguments: Sequence[Argument]
    ) -> Sequence[Reading]:
        return self._around(readings, lambda cursor: self.admit_join(cursor, statement, arguments))

    def _around(self, readings: Sequence[Reading], admit: Callable[[Cursor], None]) -> Sequence[Reading]:
        return [GuardedReading(reading, admit, reading.guard) for reading in readings] if self.active else readings

    def explaining(self, ask: Ask, *, analyze: bool) -> Callable[[Cursor], tuple[Explanation, Refusal | None]]:
        """An errand: a statement's plan, and why it would be refused, if it would."""

        def errand(cursor: Cursor) -> tuple[Explanation, Refusal | None]:
            asked = ask(cursor)
            explanation = explain(cursor, asked, analyze=analyze)
            return explanation, self._refusal(cursor, explanation.plan, asked)

        return errand

    def _refusal(self, cursor: Cursor, plan: Plan, asked: Asked) -> Refusal | None:
        if self._max_cost and plan.cost > self._max_cost:
            return self._too_expensive(plan.cost)
        unmeant = [scan for scan in plan.whole_reads if not asked.meant(scan)] if self._most_rows else []
        return self._reads_whole(cursor, unmeant, asked) if unmeant else None

    def _judged(self, cursor: Cursor, statement: Statement, arguments: Sequence[Argument]) -> Refusal | None:
        shape = statement.shape
        if shape.constant:
            return self._look(cursor, asked_search(statement, arguments))
        until, refusal = self._known.get(shape, (0.0, None))
        if until < self._clock():
            refusal = self._look(cursor, asked_search(statement, arguments))
            if len(self._known) >= KNOWN_SHAPES:
                self._known.clear()
            self._known[shape] = (self._clock() + KEPT_SECONDS, refusal)
        return refusal

    def _look(self, cursor: Cursor, ask: Ask) -> Refusal | None:
        asked = ask(cursor)
        return self._refusal(cursor, planned(cursor, asked), asked)

    def _too_expensive(self, cost: float) -> Refusal:
        return Refusal(
            Reason.PLAN_TOO_EXPENSIVE,
            f"the plan of this question costs {cost:.0f}, and this server runs none above {self._max_cost:g}: ask for "
            "less at a time",
            {"cost": f"{cost:.2f}", "limit": f"{self._max_cost:g}"},
        )

    def _reads_whole(self, cursor: Cursor, scans: Sequence[Scan], asked: Asked) -> Refusal | None:
        tables = {(scan.schema, scan.name) for scan in scans}
        cursor.execute(_ROWS, {"schemas": [table[0] for table in tables], "names": [table[1] for table in tables]})
        found = cursor.fetchone()
        if found is None or found[1] <= self._most_rows:
            return None
        table, rows = found
        hint = self._hint(cursor, table, asked)
        why = f"the layer lacks an index: {hint}" if hint else "no index serves the question"
        return Refusal(
            Reason.SEQ_SCAN_REFUSED,
            f"this question would read all of {table}, about {rows:.0f} rows, and this server reads no table of more "
            f"than {self._most_rows} so: {why}",
            {"table": table, "limit": str(self._most_rows)} | ({"hint": hint} if hint else {}),
        )

    def _hint(self, cursor: Cursor, table: str, asked: Asked) -> str:
        """The statements that make what indexes the layer's table lacks."""
        layers = [self._catalog.at(*layer) for layer in asked.layers]
        described = zip(layers, describe(layers)(cursor), strict=True)
        missing = [each for layer, about in described if about.source == table for each in problems_of(layer, about)]
        return " ".join(dict.fromkeys(problem.statement for problem in missing))


@dataclass(slots=True, eq=False)
class GuardedReading:
    """What a stream reads, once `admit` has let it through."""

    reading: Reading
    admit: Callable[[Cursor], None]
    guard: StatementGuard

    def perform(self, cursor: Cursor, put: Put, awaited: Awaited) -> None:
        self.admit(cursor)
        self.reading.perform(cursor, put, awaited)


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise refusal.error()
