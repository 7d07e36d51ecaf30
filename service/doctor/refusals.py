"""Tables that were to be served, and are not."""

from collections.abc import Iterator, Sequence

from service.doctor.findings import Finding, Severity
from service.reflected.selection import Refusal


def not_served(refusals: Sequence[Refusal]) -> Iterator[Finding]:
    for refusal in refusals:
        message = f"table {refusal.table} is not served: {refusal.reason}"
        statement = refusal.statement.removesuffix(";")
        yield Finding(Severity.WARNING, "not-served", message, statement=statement, details={"table": refusal.table})
