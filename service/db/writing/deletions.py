"""Removes what a query finds: all of it or nothing, in one transaction."""

from collections.abc import Callable, Mapping

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy.dialects import postgresql

from service.catalog import Layer
from service.changes import Deletion
from service.db.guards import PlanGuards
from service.db.indexes import quoted
from service.db.queries import Statement, Statements
from service.db.writing.jobs import Change
from service.db.writing.transaction import Transaction
from service.db.writing.violations import violation
from service.domain import Argument
from service.errors import FailedPrecondition, Reason, SpatialError

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
KIND = "delete_features"  # for metrics

# In one snapshot: what somebody else changes meanwhile, so that the query may no longer find it, is a collision.
# One more than may go is enough to know that there are too many.
_DELETE = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
WITH spatial_found AS MATERIALIZED (SELECT c1 AS key FROM ({found}) AS found LIMIT %(spatial_most)s + 1),
     spatial_gone AS (
       DELETE FROM {table} AS spatial_target USING spatial_found
        WHERE spatial_target.{key} = spatial_found.key{cast}
          AND (SELECT count(*) FROM spatial_found) <= %(spatial_most)s
       RETURNING true)
SELECT (SELECT count(*) FROM spatial_found), (SELECT count(*) FROM spatial_gone)
"""
_CHECK = "SET CONSTRAINTS ALL IMMEDIATE"
_MOST = 2**62  # that PostgreSQL can still count beyond
# What a rule of the database says; anything else is about the query, as in a search.
_RULES = (
    errorcodes.CLASS_INTEGRITY_CONSTRAINT_VIOLATION,
    errorcodes.CLASS_WITH_CHECK_OPTION_VIOLATION,
    errorcodes.CLASS_PL_PGSQL_ERROR,
)


class Deletions:
    """`written` makes the answer of how many went."""

    def __init__(self, statements: Statements, plans: PlanGuards, written: Callable[[int], bytes]) -> None:
        self._statements = statements
        self._plans = plans
        self._written = written

    def change(self, deletion: Deletion) -> Change:
        found = self._statements[deletion.search.shape]
        statement = delete_statement(found)
        arguments = {**found.parameters(deletion.search.arguments), "spatial_most": min(deletion.most, _MOST)}

        def work(transaction: Transaction) -> bytes:
            self._plans.admit_search(transaction.cursor(), found, deletion.search.arguments)
            return self._written(_delete(transaction, statement, arguments, deletion.most))

        def explain(cursor: Cursor, error: psycopg2.Error) -> SpatialError | None:
            return _explained(error, found.layer)

        return Change(KIND, found.layer.name, work, explain, deletion.promise, deletion.validate_only)


def delete_statement(found: Statement) -> str:
    """Of a search that answers with keys alone."""
    layer = found.layer
    # The wire has integers and texts; comparing with the column's own type lets its index answer.
    cast = "" if layer.integer_key else f"::{layer.key.type.compile(dialect=_DIALECT)}"
    table, key = (name.replace("%", "%%") for name in (layer.qualified_name, quoted(str(layer.key.key))))
    return _DELETE.format(found=found.sql, table=table, key=key, cast=cast)


def _delete(transaction: Transaction, statement: str, arguments: Mapping[str, Argument], most: int) -> int:
    ((found, gone),) = transaction.fetch(statement, arguments)
    if found > most:
        raise FailedPrecondition(
            Reason.TOO_MANY_MATCHES,
            f"the query finds more than {most} features, so none of them goes",
            field="max_features",
            metadata={"limit": str(most)},
        )
    if gone < found:
        raise FailedPrecondition(
            Reason.CONSTRAINT_VIOLATED, f"a trigger of the table keeps {found - gone} of {found} features, so none goes"
        )
    with transaction.cursor() as cursor:
        cursor.execute(_CHECK)
    return int(gone)


def _explained(error: psycopg2.Error, layer: Layer) -> SpatialError | None:
    if (error.pgcode or "")[:2] not in _RULES:
        return None
    refused = violation(error, layer, ())
    if refused is not None:
        refused.field = None  # the rows are many, and none of them is in the request
    return refused
