"""Where rows arrive before they are in a layer: a temporary table of texts, and the statements from it.

Numbers are written into the statements, which have no parameters: a column's name may have a percent sign in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from service.catalog import Layer
from service.changes import Importing, ImportPlan
from service.db.imports.chunks import Brought
from service.db.imports.targets import Target


class Span(NamedTuple):
    """Staged rows that are written at once: places from `first` to `end`, without `end`, of those that bring the same
    and that have the same turn. Rows about one feature have their turns one after the other."""

    first: int
    end: int
    kind: int = 0
    turn: int = 1

    def __str__(self) -> str:
        return f"s.n >= {self.first} AND s.n < {self.end} AND s.kind = {self.kind} AND s.turn = {self.turn}"

    def halves(self) -> "tuple[Span, Span]":
        middle = (self.first + self.end) // 2
        return self._replace(end=middle), self._replace(first=middle)


class Staging:
    """Of one import, whichever properties its rows bring."""

    def __init__(self, plan: ImportPlan, layer: Layer, target: Target) -> None:
        self._upsert = plan.mode is Importing.UPSERT
        self._layer = layer
        self._target = target
        self._key = str(layer.key.key)
        writable = [self._column(name) for name, prop in layer.properties.items() if prop.writable]
        self._texts = {self._key: "key"} | {column: f"v{place}" for place, column in enumerate(writable)}
        self.match = self._column(plan.match) if plan.match else self._key
        self.name = f"spatial_arrived_{len(writable)}"

    @property
    def create(self) -> str:
        texts = ", ".join(f"{text} text" for text in self._texts.values())
        return (
            f"CREATE TEMP TABLE IF NOT EXISTS {self.name} (n integer PRIMARY KEY, kind integer NOT NULL,"
            f" turn integer NOT NULL DEFAULT 1, geometry bytea, {texts}) ON COMMIT DELETE ROWS;"
            # Coordinates do not get smaller by compression, only later.
            f" ALTER TABLE {self.name} ALTER geometry SET STORAGE EXTERNAL"
        )

    @property
    def create_for_transaction(self) -> str:
        return self.create.replace("ON COMMIT DELETE ROWS", "ON COMMIT DROP")

    @property
    def empty(self) -> str:
        """For a transaction that goes on; its end does the same."""
        return f"TRUNCATE {self.name}"

    def copy(self, brought: Brought) -> str:
        """Reads the lines of rows that bring this."""
        texts = [self._texts[column] for column in self._values(brought)]
        columns = ["n", "kind", *(["key"] if brought.keys else []), *(["geometry"] if brought.geometry else []), *texts]
        return f"COPY {self.name} ({', '.join(columns)}) FROM STDIN"

    def straight(self, brought: Brought) -> str:
        """Reads the same lines into the layer's table itself."""
        geometry = [self._layer.geometry_name] if brought.geometry else []
        columns = [*([self._key] if brought.keys else []), *geometry, *self._values(brought)]
        return f"COPY {self._target.table} ({', '.join(map(quoted, columns))}) FROM STDIN"

    def count_turns(self, groups: Sequence[Sequence[str]]) -> str:
        """Gives rows that have the same as an earlier one, in the columns of a group, a later turn."""
        turns = ", ".join(map(self._turn, groups))
        return (
            f"UPDATE {self.name} AS arrived SET turn = counted.turn"
            f" FROM (SELECT s.n, greatest({turns}) AS turn FROM {self.name} AS s) AS counted"
            " WHERE arrived.n = counted.n AND counted.turn > 1"
        )

    def _turn(self, group: Sequence[str]) -> str:
        """Null is the same as nothing."""
        known = " AND ".join(f"{self._text(column)} IS NOT NULL" for column in group)
        same = ", ".join(map(self._staged, group))
        return f"CASE WHEN {known} THEN row_number() OVER (PARTITION BY {same} ORDER BY s.n) ELSE 1 END"

    @property
    def turns(self) -> str:
        return f"SELECT DISTINCT turn, kind FROM {self.name} ORDER BY turn, kind"

    def existing(self, group: Sequence[str], span: Span) -> str:
        """Takes out the rows that another feature's values are in the way of, and gives their places."""
        same = " AND ".join(f"t.{quoted(column)} = {self._staged(column)}" for column in group)
        others = f" AND t.{quoted(self.match)} IS DISTINCT FROM {self._staged(self.match)}" if self._upsert else ""
        return (
            f"DELETE FROM {self.name} AS s WHERE {span}"
            f" AND EXISTS (SELECT FROM {self._target.table} AS t WHERE {same}{others}) RETURNING s.n"
        )

    def texts(self, place: int, columns: Sequence[str]) -> str:
        """What a row has for some columns."""
        return f"SELECT {', '.join(map(self._text, columns))} FROM {self.name} AS s WHERE s.n = {place}"

    def holding(self, column: str) -> str:
        """Fails where the literal that goes behind it is no value of the column; writes nothing."""
        return f"EXPLAIN UPDATE {self._target.table} SET {quoted(column)} = "

    def columns(self, brought: Brought) -> list[str]:
        """Those that rows bring as texts."""
        return [*([self._key] if brought.keys else []), *self._values(brought)]

    def update(self, brought: Brought, span: Span) -> str:
        """Replaces what is there already."""
        changed = {column: value for column, value in self._written(brought) if column not in (self._key, self.match)}
        changes = changed or {self.match: self._staged(self.match)}
        sets = ", ".join(f"{quoted(column)} = {value}" for column, value in changes.items())
        return (
            f"UPDATE {self._target.table} AS t SET {sets} FROM {self.name} AS s"
            f" WHERE {span} AND t.{quoted(self.match)} = {self._staged(self.match)}{self._returning}"
        )

    def insert(self, brought: Brought, span: Span) -> str:
        """Adds what is not there."""
        written = self._written(brought)
        columns = ", ".join(quoted(column) for column, _ in written)
        values = ", ".join(value for _, value in written)
        into = f"INSERT INTO {self._target.table} AS t ({columns})"
        new = self._absent if self._upsert and self.match in self.columns(brought) else ""
        return f"{into} SELECT {values} FROM {self.name} AS s WHERE {span}{new} ORDER BY s.n{self._returning}"

    @property
    def _returning(self) -> str:
        """The keys of what was written, where that has to be looked at again."""
        return f" RETURNING t.{quoted(self._key)}::text" if self._layer.no_overlap else ""

    @property
    def _absent(self) -> str:
        same = f"t.{quoted(self.match)} = {self._staged(self.match)}"
        return f" AND NOT EXISTS (SELECT FROM {self._target.table} AS t WHERE {same})"

    def _written(self, brought: Brought) -> list[tuple[str, str]]:
        """Columns of the layer's table, each with what a staged row has for it."""
        pairs = [(column, self._staged(column)) for column in self.columns(brought)]
        if brought.geometry or not pairs:  # a row of which nothing is known has no geometry, either
            pairs.append((self._layer.geometry_name, self._geometry))
        return pairs

    def _values(self, brought: Brought) -> list[str]:
        return [self._column(name) for name in brought.values]

    def _column(self, name: str) -> str:
        return str(getattr(self._layer.properties[name].expression, "key", name))

    def _staged(self, column: str) -> str:
        return f"{self._text(column)}::{self._target.types[column]}"

    def _text(self, column: str) -> str:
        return f"s.{self._texts[column]}"

    @property
    def _geometry(self) -> str:
        """In the layer's CRS; what is in it already passes through as it is."""
        arrived = "ST_GeomFromEWKB(s.geometry)"
        placed = f"ST_Transform({arrived}, {self._layer.srid})" if self._layer.srid else arrived
        return f"geography({placed})" if self._layer.is_geography else placed


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
