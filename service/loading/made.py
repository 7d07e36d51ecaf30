"""The table that `--create` makes of a file, and what it gets once its rows are in: indexes, statistics."""

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow
from geoalchemy2 import Geometry
from pyarrow import types as arrow
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Identity,
    Index,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from service.loading.errors import LoadError
from service.loading.shapes import ANY
from service.loading.source import Source
from service.mapping import NAMING_CONVENTION, spatial_indexes

WGS84 = 4326
LONGEST_NAME = 63  # bytes; PostgreSQL cuts what is longer
KEYS = ("id", "fid", "gid", "_id")
GEOMETRIES = ("geom", "geometry", "the_geom", "_geom")

# In order: the first that fits wins, and what fits none is text.
_TYPES: tuple[tuple[Callable[[Any], bool], Any], ...] = (
    (arrow.is_boolean, sql.Boolean()),
    (lambda kind: kind in (pyarrow.int8(), pyarrow.int16(), pyarrow.uint8()), sql.SmallInteger()),
    (lambda kind: kind in (pyarrow.int32(), pyarrow.uint16()), sql.Integer()),
    (lambda kind: kind == pyarrow.uint64(), sql.Numeric(20)),
    (arrow.is_integer, BigInteger()),
    (lambda kind: kind in (pyarrow.float32(), pyarrow.float16()), postgresql.REAL()),
    (arrow.is_floating, sql.Double()),
    (arrow.is_date, sql.Date()),
    (arrow.is_time, sql.Time()),
    (lambda kind: "json" in str(kind), postgresql.JSONB()),
    (lambda kind: arrow.is_struct(kind) or arrow.is_map(kind), postgresql.JSONB()),
    (lambda kind: arrow.is_binary(kind) or arrow.is_large_binary(kind), postgresql.BYTEA()),
    (arrow.is_fixed_size_binary, postgresql.BYTEA()),
)


def column_type(kind: Any) -> Any:
    """The type of PostgreSQL for one of Arrow."""
    if arrow.is_dictionary(kind):
        return column_type(kind.value_type)
    if arrow.is_timestamp(kind):
        return sql.DateTime(timezone=kind.tz is not None)
    if arrow.is_decimal(kind):
        return sql.Numeric(kind.precision, max(kind.scale, 0))
    if arrow.is_list(kind) or arrow.is_large_list(kind):
        item = column_type(kind.value_type)
        return postgresql.JSONB() if isinstance(item, postgresql.ARRAY | postgresql.JSONB) else postgresql.ARRAY(item)
    return next((made for fits, made in _TYPES if fits(kind)), Text())


@dataclass
class MadeTable:
    """`pairs` say which column of the file becomes which of the table, and, with an empty one, which does not."""

    table: Table
    key: str
    pairs: Mapping[str, str]
    oid: int | None = None  # known before the table is there: whoever is stopped as it is made can tell it from others'

    @property
    def statement(self) -> str:
        return str(CreateTable(self.table).compile(dialect=postgresql.dialect())).strip()  # type: ignore[no-untyped-call]

    def create(self, engine: Engine) -> None:
        try:
            with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                connection.execute(CreateTable(self.table))
                self.oid = self._oid(connection)
        except DBAPIError as error:
            raise LoadError(f"the table cannot be made: {_said(error)}") from None

    def drop(self, engine: Engine) -> None:
        """Unless it was never made."""
        with engine.connect() as connection:
            if self.oid is not None and self._oid(connection) == self.oid:
                self.table.drop(connection)

    def _oid(self, connection: Connection) -> int | None:
        oid: int | None = connection.scalar(text("SELECT to_regclass(:name)::oid"), {"name": self._quoted(self.table)})
        return oid

    def finish(self, engine: Engine) -> None:
        """Keys that are made from now on follow the greatest; indexes are built, and statistics gathered."""
        name, key = self._quoted(self.table), self._quoted(self.table.c[self.key])
        with engine.connect() as connection:
            if isinstance(self.table.c[self.key].type, BigInteger):
                connection.execute(text(_CONTINUED.format(name, key)), {"table": name, "key": self.key})
        with ThreadPoolExecutor() as builders:  # PostgreSQL builds several at a time, on a core each
            list(builders.map(partial(_build, engine), self.table.indexes))
        with engine.connect() as connection:
            connection.execute(text(f"ANALYZE {name}"))

    @staticmethod
    def _quoted(named: Table | Column[Any]) -> str:
        written = _IDENTIFIERS.format_table(named) if isinstance(named, Table) else _IDENTIFIERS.format_column(named)
        return str(written).replace("%%", "%")


_IDENTIFIERS = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
_CONTINUED = "SELECT setval(pg_get_serial_sequence(:table, :key), greatest(max({1}), 1), max({1}) >= 1) FROM {0}"


def _build(engine: Engine, index: Index) -> None:
    with engine.connect() as connection:
        index.create(connection)


def _said(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def made_of(
    source: Source, schema: str | None, name: str, srid: int, key: str | None, pairs: Mapping[str, str]
) -> MadeTable:
    """The table that takes all of the file; `key` is the column that its keys come from, else it makes them."""
    if key is not None and key not in source.columns:
        raise LoadError(f"the file has no column {key!r}, but {', '.join(source.columns)}")
    wanted = {column: pairs.get(column, plain_name(column)) for column in source.columns}
    columns = {column: target for column, target in wanted.items() if target}
    _check(columns, pairs)
    own_key = columns[key] if key is not None else _free(KEYS, columns.values())
    geometry = _free(GEOMETRIES, columns.values())
    made = [_key(own_key, None if key is None else source.columns[key])]
    made += [Column(target, column_type(source.columns[column])) for column, target in columns.items() if column != key]
    made.append(Column(geometry, Geometry(source.geometry or ANY, srid=srid, spatial_index=False)))
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    rules = (*_checks(geometry, source.geometry, srid), *_indexes(name, geometry, srid))
    table = Table(name, metadata, *made, *rules, schema=schema)
    return MadeTable(table, own_key, wanted)


def plain_name(name: str) -> str:
    """A name that SQL takes without quotes, where it can be one."""
    return _cut(re.sub(r"\W+", "_", name.strip().lower()).strip("_") or name)


def _cut(name: str, longest: int = LONGEST_NAME) -> str:
    return name.encode()[:longest].decode(errors="ignore")


def _check(columns: Mapping[str, str], pairs: Mapping[str, str]) -> None:
    for column in pairs:
        if column not in columns and pairs[column]:
            raise LoadError(f"the file has no column {column!r}, but {', '.join(columns)}")
    for column, target in columns.items():
        if [*columns.values()].count(target) > 1:
            raise LoadError(f"several columns would be called {target!r}: give {column!r} a name with --map")


def _free(names: Iterable[str], taken: Iterable[str]) -> str:
    taken = {*taken}
    return next(name for name in names if name not in taken)


def _key(name: str, kind: Any) -> Column[Any]:
    if kind is None or arrow.is_integer(kind):
        return Column(name, BigInteger(), Identity(), primary_key=True)
    return Column(name, Text(), primary_key=True)


def _checks(geometry: str, kind: str | None, srid: int) -> tuple[CheckConstraint, ...]:
    """Points that are kept on the Earth are found through the index in the plane. Of points it is told so in a third of
    the time that the rule for all shapes takes."""
    if kind is None or kind.rstrip("ZM") != "POINT" or srid != WGS84:
        return ()
    kept = f"ST_X({geometry}) BETWEEN -180 AND 180 AND ST_Y({geometry}) BETWEEN -90 AND 90"
    return (CheckConstraint(kept, name=f"{geometry}_on_earth"),)


def _indexes(table: str, geometry: str, srid: int) -> tuple[Index, ...]:
    """Called as those of the project's own tables; that of distances in metres only where there are any."""
    plane, earth = spatial_indexes(_cut(table, LONGEST_NAME - len(f"ix__{geometry}_geography_gist")), geometry)
    return (plane, earth) if srid == WGS84 else (plane,)
