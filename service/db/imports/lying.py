"""Whether rows that were just written lie on others, where none may."""

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy.dialects import postgresql

from service.catalog import Layer
from service.db.writing.overlaps import overlapping

_DIALECT = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


class Overlapping(Exception):
    """A feature lies on another one, whose key this is."""

    def __init__(self, other: str) -> None:
        super().__init__(other)
        self.other = other


class Lying:
    def __init__(self, layer: Layer) -> None:
        self._statement = str(overlapping(layer).compile(dialect=_DIALECT))

    def check(self, cursor: Cursor, keys: Sequence[str]) -> None:
        """Overlapping where one of the features with these keys lies on another one."""
        cursor.execute(self._statement, {"keys": _array(keys)})
        found = cursor.fetchone()
        if found is not None:
            raise Overlapping(found[1])


def _array(texts: Sequence[str]) -> str:
    """As PostgreSQL reads an array."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
