"""Which revisions of the schema there are, and which one a database is at.

Without Alembic, which `service.migrations` brings in: it takes a fifth of the time that the server needs to come up.
"""

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, func, select, text

_REVISION = re.compile(r"^revision\b[^=\n]*= \"(\w+)\"$", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision\b[^=\n]*= (?:\"(\w+)\"|None)$", re.MULTILINE)


def folder() -> Path:
    """Where Alembic's environment lies: in the installed package, or in the checkout."""
    package = Path(__file__).parent
    for found in (package / "_migrations", package.parent / "alembic"):
        if (found / "env.py").is_file():
            return found
    raise RuntimeError(f"no migrations beside {package}")


def head_revision() -> str:
    """The revision that this version of the service expects."""
    return known_revisions()[0]


@cache
def known_revisions() -> tuple[str, ...]:
    """Every revision that this version knows, the newest first."""
    successors = dict(_of(path.read_text()) for path in (folder() / "versions").glob("*.py"))
    known: list[str] = []
    while (after := known[-1] if known else None) in successors:
        known.append(successors[after])
    return tuple(reversed(known))


def _of(script: str) -> tuple[str | None, str]:
    """What a revision comes after, and its name."""
    before, name = _BEFORE.search(script), _REVISION.search(script)
    assert before, script
    assert name, script
    return before[1], name[1]


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None for one that was never migrated.

    Asked without Alembic, whose context writes log lines each time: readiness asks every second.
    """
    if connection.scalar(select(func.to_regclass("alembic_version"))) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
