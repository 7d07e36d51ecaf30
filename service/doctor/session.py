"""Checks of a session's settings: what is in effect against what is recommended."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.doctor.checks import Row, rows
from service.doctor.findings import Finding, SettingInEffect, Severity


class Recommended(NamedTuple):
    """`fits` is asked of the value in PostgreSQL's base unit; `instead` is better, set by `variable` in the service."""

    fits: Callable[[Any], bool]
    instead: str
    variable: str
    why: str


RECOMMENDED = {
    "random_page_cost": Recommended(
        lambda cost: float(cost) <= 2,
        "1.1",
        "SPATIAL_RANDOM_PAGE_COST",
        "the planner takes random reads for a spinning disk's, and shuns indexes",
    ),
    "jit": Recommended(
        lambda jit: jit == "off", "off", "SPATIAL_JIT", "short statements are done before they are compiled"
    ),
    "work_mem": Recommended(
        lambda kilobytes: int(kilobytes) >= 4096, "16MB", "SPATIAL_WORK_MEM", "sorts and hashes go to disk"
    ),
    "statement_timeout": Recommended(
        lambda milliseconds: int(milliseconds) > 0,
        "30s",
        "SPATIAL_STATEMENT_TIMEOUT",
        "nothing ends a statement that the service has lost",
    ),
    "lock_timeout": Recommended(
        lambda milliseconds: int(milliseconds) > 0,
        "2s",
        "SPATIAL_LOCK_TIMEOUT",
        "calls pile up behind whoever locks a table",
    ),
    "idle_in_transaction_session_timeout": Recommended(
        lambda milliseconds: int(milliseconds) > 0,
        "30s",
        "SPATIAL_IDLE_IN_TRANSACTION_TIMEOUT",
        "nothing ends a session that was lost in a transaction",
    ),
}
_SHOWN = ("max_connections", "shared_buffers", "effective_cache_size", "maintenance_work_mem")
# What is set in the startup packet ('client'), or with the statement ('session'), is the service's own doing, and no
# role's default would change it.
_SETTINGS = """
SELECT name, setting, current_setting(name) AS value, source IN ('client', 'session') AS given,
       format('ALTER ROLE %%I SET %%I = ', current_user, name) AS statement
  FROM pg_settings WHERE name = ANY (%(names)s)
"""


def settings_in_effect(cursor: Cursor) -> tuple[list[SettingInEffect], list[Finding]]:
    """Those in effect on this connection, and which should be others."""
    names = [*RECOMMENDED, *_SHOWN]
    found = {row["name"]: row for row in rows(cursor, _SETTINGS, {"names": names})}
    shown = [SettingInEffect(name, found[name]["value"], _instead(found[name])) for name in names]
    return shown, list(_findings(found))


def _instead(row: Row) -> str:
    recommended = RECOMMENDED.get(row["name"])
    return "" if recommended is None or recommended.fits(row["setting"]) else recommended.instead


def _findings(found: dict[str, Row]) -> Iterator[Finding]:
    for name, recommended in RECOMMENDED.items():
        row = found[name]
        if not _instead(row):
            continue
        message = f"{name} is {row['value']}: {recommended.why}"
        statement = ""
        if row["given"]:
            message += f"; set {recommended.variable} to {recommended.instead}"
        else:
            statement = f"{row['statement']}'{recommended.instead}'"
        details = {"name": name, "value": row["value"], "recommended": recommended.instead}
        yield Finding(Severity.WARNING, "setting", message, statement=statement, details=details)
