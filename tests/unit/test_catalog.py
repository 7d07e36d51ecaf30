"""A catalog that changes under its readers, and which indexes serve a layer."""

from dataclasses import replace
from typing import Any, cast

import pytest
from geoalchemy2 import WKBElement
from sqlalchemy import CheckConstraint, Index, column, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.catalog import Catalog, Layer, mapped_layer
from service.db.describe import Description
from service.db.indexes import IndexDescription, serves_earth, serves_key, serves_plane
from service.db.problems import problems_of
from service.db.queries import Statements
from service.domain import Kind, Shape
from service.errors import NotFound
from service.geography import geography
from service.mapping import Base, Keyed, geometry_type, on_earth, spatial_indexes
from service.reflected.layers import Candidate
from service.reflected.relations import ColumnFacts, Relation
from service.reflected.wanted import LayerOptions


def facts(name: str, kind: str, modifier: int = -1) -> ColumnFacts:
    return ColumnFacts(name, True, modifier, True, kind, "b", "U", None)


def layer(name: str = "spots", geometry: str = "geom", kind: str = "geometry", revision: int = 1) -> Layer:
    """A layer over a table with a key, a name, and a column of points or of polygons in EPSG:4326."""
    modifier = 4326 << 8 | (1 << 2 if geometry != "area" else 3 << 2)
    columns = (facts("id", "int4"), facts("name", "text"), facts(geometry, kind, modifier))
    relation = Relation("public", name, "r", True, True, None, ("id",), columns, ())
    return Candidate(name, relation, columns[2], LayerOptions(table=name), 4326).layer(revision)


def lookup(layer: Layer, revision: int) -> Shape:
    return Shape(Kind.LOOKUP, layer.name, revision=revision)


def test_who_has_begun_with_a_layer_finds_it_as_it_was() -> None:
    before, after = layer(), layer(revision=2)
    catalog = Catalog([before])
    catalog.replace([after])

    assert catalog["spots"] is catalog.at("spots", 2) is catalog.at("spots", 0) is after
    assert catalog.at("spots", 1) is before
    catalog.replace([])
    assert catalog.at("spots", 2) is after
    with pytest.raises(NotFound):
        catalog["spots"]
    for revision in (0, 7):
        with pytest.raises(NotFound):
            catalog.at("spots", revision)


def test_statements_are_about_the_revision_that_was_asked_for() -> None:
    before = layer()
    after = replace(layer(revision=2), properties={})
    catalog = Catalog([before])
    statements = Statements(catalog)
    old, unsaid = statements[lookup(before, 1)], statements[lookup(before, 0)]
    catalog.replace([after])

    assert statements[lookup(before, 1)] is old
    assert statements[lookup(after, 2)].layer is after
    assert unsaid.layer is before
    assert statements[lookup(after, 0)].layer is after
    assert "name" not in statements[lookup(after, 0)].sql


def test_a_catalog_forgets_at_last() -> None:
    catalog = Catalog([layer()])
    for revision in range(2, 1500):
        catalog.replace([layer(revision=revision)])
    assert catalog.at("spots", 1).revision == 1499


def index(*keys: str, method: str = "gist", valid: bool = True, partial: bool = False) -> IndexDescription:
    return IndexDescription("spots_index", "", valid, method, keys, partial)


POINTS, PLACES, AREAS = layer(), layer(geometry="geom", kind="geography"), layer(geometry="area", kind="geography")
QUOTED = layer(geometry='Geo "1"')


@pytest.mark.parametrize(
    ("of", "made", "plane", "earth"),
    [
        (POINTS, index("geom"), True, False),
        (POINTS, index("geom", method="spgist"), True, False),
        (POINTS, index("geom", method="btree"), False, False),
        (POINTS, index("geom", partial=True), False, False),
        (POINTS, index("name", "geom"), True, False),
        (POINTS, index("geography(geom)"), False, True),
        (POINTS, index("((geom)::geography)"), False, True),
        (POINTS, index("postgis.geography(geom)"), False, True),
        (POINTS, index("((geom)::geography(Point,4326))"), False, False),
        (POINTS, index("st_transform(geom, 3857)"), False, False),
        (QUOTED, index('"Geo ""1"""'), True, False),
        (QUOTED, index('geography("Geo ""1""")'), False, True),
        (PLACES, index("geom"), True, True),
        (AREAS, index("area"), False, True),
        (AREAS, index("geometry(area)"), True, False),
        (AREAS, index("((area)::geometry)"), True, False),
    ],
)
def test_an_index_serves_the_plane_or_the_earth(of: Layer, made: IndexDescription, plane: bool, earth: bool) -> None:
    assert (serves_plane(made, of), serves_earth(made, of)) == (plane, earth)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (index("id", method="btree"), True),
        (index('"id"', "name", method="btree"), True),
        (index("name", "id", method="btree"), False),
        (index("id", method="brin"), False),
        (index("id", method="btree", partial=True), False),
    ],
)
def test_an_index_serves_lookups(made: IndexDescription, expected: bool) -> None:
    assert serves_key(made, POINTS) is expected


def statements_for(of: Layer, *indexes: IndexDescription, kind: str = "r") -> list[str]:
    description = Description(None, None, indexes, kind, f"public.{of.name}")
    return [problem.statement for problem in problems_of(of, description)]


def test_each_missing_index_has_its_statement() -> None:
    key = index("id", method="btree")
    plane = "CREATE INDEX CONCURRENTLY ON public.spots USING gist (geom);"
    earth = "CREATE INDEX CONCURRENTLY ON public.spots USING gist (geography(geom));"

    assert statements_for(POINTS) == [plane, earth, "CREATE INDEX CONCURRENTLY ON public.spots (id);"]
    assert statements_for(POINTS, key) == [plane, earth]
    assert statements_for(POINTS, key, index("geom")) == [earth]
    assert statements_for(POINTS, key, index("geom"), index("geography(geom)")) == []
    assert statements_for(PLACES, key) == [plane]
    assert statements_for(AREAS, key, index("area")) == [
        "CREATE INDEX CONCURRENTLY ON public.spots USING gist (geometry(area));"
    ]


def test_an_index_that_is_not_valid_is_to_be_made_again() -> None:
    made = (index("id", method="btree"), index("geom", valid=False), index("geography(geom)"))
    assert statements_for(POINTS, *made) == ["REINDEX INDEX CONCURRENTLY public.spots_index;"]


def test_a_partitioned_table_cannot_be_indexed_concurrently() -> None:
    assert statements_for(POINTS, index("id", method="btree"), index("geom"), kind="p") == [
        "CREATE INDEX ON public.spots USING gist (geography(geom));"
    ]


@pytest.mark.parametrize("kind", ["v", "f", ""])
def test_nothing_is_missing_where_there_can_be_no_index(kind: str) -> None:
    assert statements_for(POINTS, kind=kind) == []


def mapped(*rules: CheckConstraint | Index) -> Layer:
    """A layer over a class with points, of which a table has these rules."""

    class Apart(DeclarativeBase):
        """From the models whose tables migrations make."""

    class Spot(Keyed, Apart):
        __tablename__ = "spots"
        __table_args__ = rules
        place: Mapped[WKBElement] = mapped_column(geometry_type("POINT"))

    return mapped_layer(cast("type[Base]", Spot), "place", "")


def on_plane(method: str = "gist", where: str | None = None) -> Index:
    return Index("ix", "place", postgresql_using=method, postgresql_where=text(where) if where else None)


@pytest.mark.parametrize(
    ("rules", "boxable"),
    [
        pytest.param(lambda: (on_earth("place"), *spatial_indexes("spots", "place")), True, id="as those that ship"),
        pytest.param(lambda: (on_earth("place"), on_plane("spgist")), True, id="another method"),
        pytest.param(lambda: (on_plane(),), False, id="no check"),
        pytest.param(lambda: (on_earth("place"),), False, id="no index"),
        pytest.param(lambda: (on_earth("place"), on_plane("btree")), False, id="an index of another kind"),
        pytest.param(lambda: (on_earth("place"), on_plane(where="id > 5")), False, id="an index of some rows"),
        pytest.param(
            lambda: (on_earth("place"), Index("ix", geography(column("place")), postgresql_using="gist")),
            False,
            id="an index on the Earth",
        ),
    ],
)
def test_circles_go_through_the_plane_where_a_check_and_an_index_allow(rules: Any, boxable: bool) -> None:
    assert mapped(*rules()).boxable is boxable
