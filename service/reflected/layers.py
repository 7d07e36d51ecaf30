"""A geometry column of a relation as a layer; what cannot be one is refused with its reason."""

from dataclasses import dataclass, replace
from typing import Any

from geoalchemy2 import Geography, Geometry
from sqlalchemy import Column, MetaData, Table, func

from service.catalog import WGS84, Layer, Property
from service.db.describe import Description
from service.db.indexes import quoted, serves_plane
from service.db.problems import is_usable, spatial_index
from service.reflected.bounds import keeps_on_earth
from service.reflected.relations import KINDS, TABLES, VIEW, ColumnFacts, Relation
from service.reflected.types import key_type, property_types
from service.reflected.wanted import LayerOptions


class Refused(Exception):
    """Why a table is not served; `statement` is what would mend it, if anything would."""

    def __init__(self, reason: str, statement: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.statement = statement


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a layer is made of. `srid` is that of the geometries themselves; candidates that are equal make the same
    layer."""

    name: str
    relation: Relation
    column: ColumnFacts
    options: LayerOptions
    srid: int

    def layer(self, revision: int) -> Layer:
        key = _key(self.relation, self.options)
        table = _table(self.relation, key, self.column, self.srid)
        stored = table.c[self.column.name]
        # geometry() of a geography is what an index in the plane would be on.
        plane: Any = func.geometry(stored, type_=Geometry(spatial_index=False)) if self.column.geography else stored
        read_only = self._read_only(key) if self.options.writable else ""
        layer = Layer(
            name=self.name,
            description=self.options.description or self.relation.comment or "",
            table=table,
            key=table.c[key.name],
            geometry=plane,
            geometry_type=self.options.type or self.column.geometry_type,
            srid=self.srid,
            properties=_properties(self, table, key),
            geography_column=stored if self.column.geography else None,
            revision=revision,
            unindexed=self.options.unindexed,
            writable=self.options.writable and not read_only,
            read_only=read_only,
            no_overlap=self.options.no_overlap and not read_only,
            versioned=self.relation.kind in TABLES,
        )
        return replace(layer, boxable=self._boxable(layer))

    def _boxable(self, layer: Layer) -> bool:
        """Only what the table itself enforces can be relied upon."""
        column = self.column
        points = not column.geography and column.geometry_type.rstrip("ZM") == "POINT" and column.srid == WGS84
        indexed = any(index.valid and serves_plane(index, layer) for index in self.relation.indexes)
        return points and indexed and keeps_on_earth(column.name, self.relation.checks)

    def _read_only(self, key: ColumnFacts) -> str:
        """Why it cannot be writable; empty where it can."""
        if self.relation.kind not in TABLES:
            return f"it is {KINDS[self.relation.kind]}: only tables take changes"
        if not self.column.takes_values:
            return f"its geometry, {self.column.name!r}, is generated"
        if key.name not in self.relation.unique:
            return f"its key {key.name!r} is not unique, or may be null: an id could mean several features, or none"
        return ""

    def check(self, layer: Layer) -> None:
        """Refuses a table whose searches would all read the whole of it, unless that is wanted."""
        description = described(self.relation)
        if description.has_indexes and not self.options.unindexed and not is_usable(layer, self.relation.indexes):
            raise Refused(
                "it has no spatial index: create one, or serve it with `unindexed: true`",
                spatial_index(layer, description),
            )


def described(relation: Relation) -> Description:
    """What is known of its indexes."""
    source = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    return Description(None, None, relation.indexes, relation.kind, source)


def declared_srid(column: ColumnFacts, options: LayerOptions) -> int | None:
    """The SRID of all its geometries; None where neither the column nor the configuration says."""
    if column.srid and options.srid not in (None, column.srid):
        raise Refused(f"column {column.name!r} has SRID {column.srid}, and the configuration says {options.srid}")
    return column.srid or options.srid


def _key(relation: Relation, options: LayerOptions) -> ColumnFacts:
    name = options.key or _only_key(relation)
    column = relation.column(name)
    if column is None:
        raise Refused(f"it has no column {name!r} to be its key")
    if not column.readable:
        raise Refused(f"the service's role may not read its key, {name!r}")
    if key_type(column) is None:
        raise Refused(f"its key {name!r} is of type {column.type}: ids are integers, uuid, text or varchar")
    return column


def _only_key(relation: Relation) -> str:
    if len(relation.keys) > 1:
        raise Refused(
            f"its primary key has {len(relation.keys)} columns ({', '.join(relation.keys)}), and ids are single values:"
            " name a unique column as `key` in a file of layers"
        )
    if relation.keys:
        return relation.keys[0]
    lacking = "a view has no key of its own" if relation.kind == VIEW else "it has no key of a single column"
    raise Refused(f"{lacking}: name a unique column as `key` in a file of layers")


def _table(relation: Relation, key: ColumnFacts, geometry: ColumnFacts, srid: int) -> Table:
    columns: list[Column[Any]] = []
    for each in relation.columns:
        if each is geometry:
            # Only what the column itself enforces can be relied upon.
            enforced = each.not_null and each.modifier >= 0
            kind = Geography if each.geography else Geometry
            columns.append(Column(each.name, kind(srid=srid, spatial_index=False), nullable=not enforced))
        elif each is key:
            columns.append(Column(each.name, key_type(each), nullable=not each.not_null))
        elif types := property_types(each):
            columns.append(Column(each.name, types[0], nullable=not each.not_null))
    return Table(relation.name, MetaData(), *columns, schema=relation.schema)


def _properties(candidate: Candidate, table: Table, key: ColumnFacts) -> dict[str, Property]:
    found = {}
    for each in candidate.relation.columns:
        types = property_types(each) if each.readable and each.name != key.name else None
        if types:
            found[each.name] = Property(
                each.name,
                types[1],
                table.c[each.name],
                nullable=not each.not_null,
                writable=each.takes_values and candidate.relation.kind in TABLES,
            )
    options = candidate.options
    names = list(found) if options.properties is None else options.properties
    for name in (*names, *options.hidden):
        if name not in found and candidate.relation.column(name) is None:
            raise Refused(f"it has no column {name!r}, which the configuration names")
        if name in names and name not in found:
            raise Refused(f"column {name!r} cannot be a property")
    return {name: found[name] for name in names if name not in options.hidden}
