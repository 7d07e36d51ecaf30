"""Layers: what is served, and what a statement needs to know of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any
from uuid import UUID

from geoalchemy2 import Geometry
from sqlalchemy import CheckConstraint, Column, ColumnElement, Index, Table, inspect
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.access import ACCESS, Scope
from service.domain import Key
from service.errors import InternalError, InvalidArgument, NotFound, Reason
from service.geography import geography
from service.mapping import KEPT_BY_SERVER, on_earth
from service.models import Base, District, Facility, Parcel, Zone

WGS84 = 4326
_IDENTIFIERS = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
BIGINT = range(-(2**63), 2**63)


class PropertyType(IntEnum):
    """The numbers are the contract's."""

    STRING = 1
    INTEGER = 2
    NUMBER = 3
    BOOLEAN = 4
    TIMESTAMP = 5
    JSON = 6
    BYTES = 7


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    type: PropertyType
    expression: ColumnElement[object]
    nullable: bool
    computed: bool = False
    writable: bool = False  # a column that takes values, which those that are generated or kept by triggers do not


@dataclass(frozen=True)
class Layer:
    """A table or view seen through one of its geometry columns.

    `geometry` is in the plane: of a geography column, which is `geography_column` then, it is an expression. `revision`
    tells what a layer is now from what it was before its table changed; layers that never change have 0.
    """

    name: str
    description: str
    table: Table
    key: ColumnElement[object]
    geometry: ColumnElement[object]
    geometry_type: str
    srid: int
    properties: Mapping[str, Property] = field(repr=False)
    geography_column: ColumnElement[object] | None = field(default=None, repr=False)
    revision: int = 0
    unindexed: bool = False  # served though no index does
    writable: bool = False  # whether callers may change it
    read_only: str = ""  # why they may not, though they were to
    no_overlap: bool = False  # whether no feature's interior may meet another's
    versioned: bool = False  # whether rows have versions, as those of tables do
    boxable: bool = False  # whether it has nothing but points, all kept on the Earth, and an index in the plane

    @property
    def is_geography(self) -> bool:
        """Whether the column is of type geography rather than geometry."""
        return self.geography_column is not None

    @property
    def column(self) -> ColumnElement[object]:
        """What the database holds: a geometry or a geography."""
        return self.geometry if self.geography_column is None else self.geography_column

    @property
    def geodetic(self) -> bool:
        """Whether distances can be measured on the Earth."""
        return self.srid == WGS84 or self.is_geography

    @cached_property
    def indexed_on_earth(self) -> bool:
        """Whether its geometries are known to be indexed as geography, which takes no edge between antipodes."""
        indexed = (str(each) for index in self.table.indexes for each in index.expressions)
        return self.is_geography or f"geography({self.geometry_name})" in indexed

    @property
    def of_points(self) -> bool:
        """Whether every geometry is a point or some, so that it is the same in the plane and on the Earth."""
        return self.geometry_type.rstrip("ZM") in ("POINT", "MULTIPOINT")

    @property
    def geometry_name(self) -> str:
        return str(self.column.key)

    @cached_property
    def qualified_name(self) -> str:
        """The table's name as SQL has it, quoted where it must be."""
        # The preparer doubles what the driver would take for a parameter.
        return str(_IDENTIFIERS.format_table(self.table)).replace("%%", "%")

    @cached_property
    def geography(self) -> ColumnElement[object]:
        return geography(self.geometry) if self.geography_column is None else self.geography_column

    @cached_property
    def stored(self) -> tuple[str, ...]:
        """The properties that an answer carries when none are named."""
        return tuple(name for name, prop in self.properties.items() if not prop.computed)

    @property
    def identified(self) -> ColumnElement[bool] | None:
        """Whether a row has a key, where some might not: without one it is no feature."""
        return self.key.is_not(None) if getattr(self.key, "nullable", False) else None

    @property
    def integer_key(self) -> bool:
        return isinstance(self.key.type, sql.Integer)

    def parse_key(self, text: str) -> Key:
        """The key that `text` stands for; INVALID_ID where it cannot be one."""
        if self.integer_key:
            return self._integer(text)
        # PostgreSQL's texts have no NUL; ids are echoed, so of a UUID only the canonical form is one.
        if "\0" in text or (isinstance(self.key.type, sql.Uuid) and not _is_uuid(text)):
            raise self._no_key(text)
        return text

    def _integer(self, text: str) -> int:
        try:
            key = int(text)
        except ValueError:
            raise self._no_key(text) from None
        # int() forgives blanks, underscores and signs; ids are echoed, so only the canonical form is one.
        if str(key) != text or key not in BIGINT:
            raise self._no_key(text)
        return key

    def _no_key(self, text: str) -> InvalidArgument:
        kind = "an integer" if self.integer_key else "a"
        return InvalidArgument(Reason.INVALID_ID, f"{text[:80]!r} is not {kind} key of layer {self.name!r}")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


KEPT_REVISIONS = 1024


class Catalog:
    """The layers by name. What is served may be replaced at any time; who has begun with a layer as it was finds it
    under its revision until it is long forgotten.

    This is where names that callers gave become layers, and so where it is checked what they may see: `[name]` raises,
    and iterating passes over, what the call in whose context it happens does not cover. Others ask with `at`."""

    def __init__(self, layers: Iterable[Layer], *, guarded: bool = False) -> None:
        """`guarded`: no name becomes a layer outside a call that may do something."""
        self._guarded = guarded
        self._layers: Mapping[str, Layer] = {}
        self._past: dict[tuple[str, int], Layer] = {}
        self.replace(layers)

    def __iter__(self) -> Iterator[Layer]:
        access = ACCESS.get()
        layers = self._layers.values()
        return iter(layers) if access is None else (layer for layer in layers if access.covers(layer.name))

    def __getitem__(self, name: str) -> Layer:
        self._check(name)
        return self._now(name)

    def readable(self, name: str) -> Layer:
        """A layer that is only read, whatever the call does besides."""
        self._check(name, Scope.READ)
        return self._now(name)

    def _check(self, name: str, scope: Scope | None = None) -> None:
        access = ACCESS.get()
        if access is not None:
            access.check(name, scope)
        elif self._guarded:
            raise InternalError(Reason.INTERNAL, "a layer was asked for in nobody's name")

    def _now(self, name: str) -> Layer:
        try:
            return self._layers[name]
        except KeyError:
            raise NotFound(
                Reason.LAYER_NOT_FOUND, f"no layer is called {name[:80]!r}", metadata={"layer": name[:80]}
            ) from None

    def at(self, name: str, revision: int) -> Layer:
        """The layer as it is or was in a revision; 0 is whatever it is now."""
        layer = self._layers.get(name)
        if revision and (layer is None or layer.revision != revision):
            layer = self._past.get((name, revision))
        return layer or self._now(name)

    def replace(self, layers: Iterable[Layer]) -> None:
        """From now on these are the layers: all at once, and seen so from every thread."""
        served = {layer.name: layer for layer in sorted(layers, key=lambda layer: layer.name)}
        gone = [layer for layer in self._layers.values() if served.get(layer.name) is not layer]
        past = self._past | {(layer.name, layer.revision): layer for layer in gone}
        self._past = dict(list(past.items())[-KEPT_REVISIONS:])
        self._layers = served


def shipped_layers() -> tuple[Layer, ...]:
    """The layers of the models that ship with the service."""
    return (
        mapped_layer(Facility, "location", "Places and installations, as points.", computed=("longitude", "latitude")),
        mapped_layer(
            Zone,
            "boundary",
            "Large areas such as countries.",
            computed=("area_square_meters", "vertex_count"),
        ),
        mapped_layer(Zone, "centroid", "The centroids of the zones.", name="zone_centroids"),
        mapped_layer(
            District,
            "boundary",
            "Parts of a city.",
            computed=("area_square_meters", "vertex_count"),
        ),
        mapped_layer(
            Parcel,
            "boundary",
            "Plots of land, each in a district; what is written may not lie on another.",
            no_overlap=True,
            shown=("district_name",),
            computed=("area_square_meters", "vertex_count"),
        ),
    )


def mapped_layer(
    model: type[Base],
    geometry: str,
    description: str,
    *,
    name: str | None = None,
    shown: tuple[str, ...] = (),
    computed: tuple[str, ...] = (),
    no_overlap: bool = False,
) -> Layer:
    """A layer over a mapped class: its columns and the hybrids `shown` as properties, those `computed` on demand. It is
    writable, unless the geometry is generated."""
    table = inspect(model).local_table
    assert isinstance(table, Table)
    column = table.c[geometry]
    assert isinstance(column.type, Geometry)
    (key,) = table.primary_key
    stored = [
        Property(c.name, property_type(c.type), c, bool(c.nullable), writable=_takes_values(c))
        for c in table.c
        if c is not key and not isinstance(c.type, Geometry)
    ]
    hybrids = [_hybrid(model, hybrid, computed=hybrid in computed) for hybrid in (*shown, *computed)]
    return Layer(
        name=name or table.name,
        description=description,
        table=table,
        key=key,
        geometry=column,
        geometry_type=str(column.type.geometry_type),
        srid=column.type.srid,
        properties={prop.name: prop for prop in (*stored, *hybrids)},
        writable=_takes_values(column),
        no_overlap=no_overlap,
        versioned=True,
        boxable=column.type.geometry_type == "POINT" and _kept_on_earth(column) and _indexed_in_plane(column),
    )


def _kept_on_earth(column: Column[Any]) -> bool:
    """Whether a check holds its points within ±180 and ±90 degrees."""
    rule = str(on_earth(column.name).sqltext)
    checks = (each for each in column.table.constraints if isinstance(each, CheckConstraint))
    return any(str(check.sqltext) == rule for check in checks)


def _indexed_in_plane(column: Column[Any]) -> bool:
    """Whether an index of all its rows serves what is asked in the plane."""
    return any(expression is column for index in column.table.indexes for expression in _spatial_keys(index))


def _spatial_keys(index: Index) -> Iterable[object]:
    options = index.dialect_options["postgresql"]
    return index.expressions if options["using"] in ("gist", "spgist") and options["where"] is None else ()


def _takes_values(column: Column[Any]) -> bool:
    return column.computed is None and column.name not in KEPT_BY_SERVER


def _hybrid(model: type[Base], name: str, *, computed: bool) -> Property:
    expression = getattr(model, name).__clause_element__()
    return Property(name, property_type(expression.type), expression, nullable=False, computed=computed)


# In order: the first that fits wins, and what fits none travels as the text PostgreSQL gives it.
_PROPERTY_TYPES: tuple[tuple[type[sql.TypeEngine[Any]], PropertyType], ...] = (
    (sql.Boolean, PropertyType.BOOLEAN),
    (sql.Integer, PropertyType.INTEGER),
    (sql.Numeric, PropertyType.NUMBER),
    (sql.Float, PropertyType.NUMBER),
    (sql.DateTime, PropertyType.TIMESTAMP),
    (ARRAY, PropertyType.JSON),
    (JSONB, PropertyType.JSON),
)


def property_type(column_type: sql.TypeEngine[Any]) -> PropertyType:
    for family, kind in _PROPERTY_TYPES:
        if isinstance(column_type, family):
            return kind
    return PropertyType.STRING
