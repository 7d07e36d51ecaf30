"""Checks: a query each, whose rows are what is wrong."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.doctor.findings import Finding, Severity

Row = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """Each row of `query` is a finding. Its column `statement` is what mends it, the others are details, and fill the
    message, in whose braces they are named. A query about tables takes their `oids`, and has a column `root`: to which
    of them a row belongs."""

    kind: str
    severity: Severity
    message: str
    query: str

    def findings(self, cursor: Cursor, layer: str = "", given: Mapping[str, Any] | None = None) -> Iterator[Finding]:
        for row in examined(cursor, self.kind, layer, self.query, given or {}):
            yield row if isinstance(row, Finding) else self._finding(row, layer)

    def findings_of_tables(
        self, cursor: Cursor, layers: Mapping[int, str], given: Mapping[str, Any]
    ) -> Iterator[Finding]:
        """Of the tables with these oids, in one statement for all. Where that fails, as where one of them is locked,
        each has its own, so that only what cannot be looked at goes unseen."""
        try:
            found = rows(cursor, self.query, {**given, "oids": [*layers]})
        except psycopg2.Error as error:
            unseen = unexamined(error, self.kind, next(iter(layers.values()), ""))
            if len(layers) <= 1:
                yield unseen
                return
            for oid, layer in layers.items():
                yield from self.findings_of_tables(cursor, {oid: layer}, given)
            return
        yield from (self._finding(row, layers[row.pop("root")]) for row in found)

    def _finding(self, row: Row, layer: str) -> Finding:
        statement = row.pop("statement", None) or ""
        return Finding(self.severity, self.kind, self.message.format(**row), layer, statement, row)


def examined(
    cursor: Cursor, kind: str, layer: str, query: str, given: Mapping[str, Any] | None
) -> Iterable[Row | Finding]:
    """The rows of a query; one finding instead, where this role may not run it or it fails. Without anything `given`
    the text is sent as it is, percent signs and all."""
    try:
        return rows(cursor, query, given)
    except psycopg2.Error as error:
        return [unexamined(error, kind, layer)]


def unexamined(error: psycopg2.Error, kind: str, layer: str) -> Finding:
    """What to say of a check that failed. A cancellation, and what concerns every check, is raised again."""
    code = error.pgcode or ""
    if not code or code == errorcodes.QUERY_CANCELED or code[:2] in ("08", "57"):
        raise error
    reason = str(error.diag.message_primary or error).strip()
    details = {"check": kind, "sqlstate": code}
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        message = f"this role may not look for {kind}: {reason}"
        return Finding(Severity.INFO, "not-visible", message, layer, details=details)
    message = f"could not look for {kind}: {reason}"
    return Finding(Severity.WARNING, "not-examined", message, layer, details=details)


def rows(cursor: Cursor, query: str, given: Mapping[str, Any] | None = None) -> list[Row]:
    """By the columns' names, in the types that JSON has too."""
    cursor.execute(query, given)
    names = [column.name for column in cursor.description or ()]
    return [{name: _plain(value) for name, value in zip(names, found, strict=True)} for found in cursor.fetchall()]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
