"""What tests of filters read them with, and for which layers."""

from typing import Any

import pytest
from sqlalchemy import Column, Date, Enum, MetaData, Numeric, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, REAL, VARCHAR

from service.catalog import Catalog, Layer, Property, property_type, shipped_layers
from service.codec.filters import FilterReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.domain import Filter
from service.errors import InvalidArgument

FACILITIES = Catalog(shipped_layers())["facilities"]
DIALECT: Any = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
PROBES = ProbeReader(GeometryLimits(max_bytes=10_000, max_vertices=100, max_depth=4))


def made(name: str = "things", key: str = "id", srid: int = 4326) -> Layer:
    """A layer with columns of the less common types."""
    shipped = Catalog(shipped_layers())["facilities"]
    columns: list[Column[Any]] = [
        Column("number", SmallInteger),
        Column("numbers", ARRAY(SmallInteger)),
        Column("words", ARRAY(VARCHAR(3))),
        Column("price", Numeric(10, 2)),
        Column("single", REAL),
        Column("day", Date),
        Column("owner", Uuid),
        Column("state", Enum("open", "closed", name="state")),
        Column("content", BYTEA),
        Column("doc", JSONB),
        Column("doc.height", Text),
        Column("naïve name", Text),
    ]
    table = Table(name, MetaData(), Column(key, Uuid, primary_key=True), *columns)
    properties = {
        column.name: Property(column.name, property_type(column.type), column, nullable=True) for column in columns
    }
    geometry = shipped.geometry
    return Layer(name, "", table, table.c[key], geometry, "POINT", srid, properties)


THINGS = made()


def read(text: str, layer: Layer = FACILITIES) -> Filter:
    found = FilterReader(PROBES).read(layer, text, "filter")
    assert found is not None
    return found


def refused(text: str, layer: Layer = FACILITIES) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        FilterReader(PROBES).read(layer, text, "filter")
    return caught.value
