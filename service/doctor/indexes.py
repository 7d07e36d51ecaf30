"""Whether a layer has the indexes that its searches need. Those of views are elsewhere: see `probes`."""

from collections.abc import Collection, Iterator

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.describe import describe
from service.db.problems import problems_of
from service.doctor.checks import unexamined
from service.doctor.findings import Finding, Severity
from service.doctor.subject import Subject


def missing_indexes(cursor: Cursor, subject: Subject, mended_by: Collection[str]) -> Iterator[Finding]:
    """Unless one of the statements given, which mend something else, brings them back."""
    try:
        (description,) = describe([subject.layer])(cursor)
    except psycopg2.Error as error:
        yield unexamined(error, "missing-index", subject.name)
        return
    for problem in problems_of(subject.layer, description):
        statement = problem.statement.removesuffix(";")
        if statement not in mended_by:
            message = f"{subject.table}: {problem.message}"
            yield Finding(Severity.ERROR, "missing-index", message, subject.name, statement)
