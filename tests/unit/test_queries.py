"""The SQL of each kind of question: only what an index, or a right answer, hangs on."""

import re
from typing import Any

import pytest

from service.catalog import Catalog, shipped_layers
from service.db.queries import Statement, Statements
from service.domain import DistanceModel, Kind, Output, Predicate, Result, Shape, View

CATALOG = Catalog(shipped_layers())
IDS = Output(properties=("name",), view=View.NONE)


def statement(kind: Kind, variant: Any = None, **shape: Any) -> Statement:
    return Statements(CATALOG)[Shape(**{"kind": kind, "layer": "zones", "variant": variant, "output": IDS, **shape})]


def sql(kind: Kind, variant: Any = None, **shape: Any) -> str:
    return re.sub(r"\s+", " ", statement(kind, variant, **shape).sql)


@pytest.mark.parametrize("kind", [Kind.RADIUS, Kind.NEAREST])
def test_distances_on_earth_use_the_indexed_expression(kind: Kind) -> None:
    for model, spheroid in ((DistanceModel.SPHEROID, "true"), (DistanceModel.SPHERE, "false")):
        text = sql(kind, model, limit=5)
        assert "ST_DWithin(geography(zones.boundary), spatial_probe.geometry, " in text
        assert f", {spheroid})" in text
        assert "CAST(zones.boundary" not in text


@pytest.mark.parametrize("kind", [Kind.RADIUS, Kind.NEAREST])
def test_planar_distances_use_the_geometry(kind: Kind) -> None:
    text = sql(kind, DistanceModel.PLANAR, limit=5)

    assert "ST_DWithin(zones.boundary, spatial_probe.geometry, " in text
    assert "geography" not in text


@pytest.mark.parametrize("predicate", Predicate)
def test_predicates_compare_geometries(predicate: Predicate) -> None:
    text = sql(Kind.INTERSECTS, predicate, limit=5)

    function = f"ST_{predicate.name.title().replace('_', '')}".replace("Coveredby", "CoveredBy")
    assert f"WHERE {function}(zones.boundary, spatial_probe.geometry) ORDER BY zones.id ASC LIMIT 5" in text
    assert "geography" not in text


def test_probes_are_made_once() -> None:
    assert sql(Kind.RADIUS, DistanceModel.SPHEROID, limit=5).startswith("WITH spatial_probe AS MATERIALIZED (SELECT ")


def test_a_constant_probe_can_be_seen_by_the_planner() -> None:
    text = sql(Kind.INTERSECTS, Predicate.WITHIN, limit=5, constant=True)

    assert "MATERIALIZED" not in text
    assert "unnest" not in text


def test_pages_go_on_by_key_and_never_by_offset() -> None:
    radius = sql(Kind.RADIUS, DistanceModel.SPHEROID, limit=5, resumed=True)
    intersects = sql(Kind.INTERSECTS, Predicate.INTERSECTS, limit=5, resumed=True)

    assert "zones.id) > (spatial_probe.after_distance, spatial_probe.after_key)" in radius
    assert re.search(r"\(zones.id > spatial_probe.after_key\) IS true", intersects)
    assert "OFFSET" not in radius + intersects
    assert "after" not in sql(Kind.RADIUS, DistanceModel.SPHEROID, limit=5)


def test_equal_distances_are_in_order_of_the_key() -> None:
    for kind in (Kind.RADIUS, Kind.NEAREST):
        assert re.search(
            r"ORDER BY ST_Distance\([^)]*\)[^)]*\) ASC, zones.id ASC LIMIT 5",
            sql(kind, DistanceModel.SPHEROID, limit=5),
        )


def test_a_lookup_asks_for_keys() -> None:
    assert re.search(r"WHERE zones.id = any ?\(spatial_probe.keys\)", sql(Kind.LOOKUP), re.IGNORECASE)


@pytest.mark.parametrize(
    ("kind", "variant", "arguments"),
    [
        (Kind.RADIUS, DistanceModel.PLANAR, ("geometry", "radius")),
        (Kind.NEAREST, DistanceModel.PLANAR, ("geometry", "max_distance")),
        (Kind.INTERSECTS, Predicate.EQUALS, ("geometry",)),
        (Kind.WINDOW, None, ("geometry",)),
        (Kind.ALL, None, ()),
        (Kind.LOOKUP, None, ("keys",)),
    ],
)
def test_a_count_counts_and_does_not_sort(kind: Kind, variant: Any, arguments: tuple[str, ...]) -> None:
    counting = statement(kind, variant, constant=True, result=Result.COUNT)

    assert counting.arguments == arguments
    assert [column.kind for column in counting.columns] == ["ordinal", "count"]
    assert "count(*)" in counting.sql
    assert "ORDER BY" not in counting.sql
    assert "LIMIT" not in counting.sql


def test_values_are_parameters() -> None:
    for kind, variant in (
        (Kind.RADIUS, DistanceModel.SPHEROID),
        (Kind.INTERSECTS, Predicate.WITHIN),
        (Kind.LOOKUP, None),
    ):
        for constant in (True, False):
            made = statement(kind, variant, limit=5, constant=constant)
            assert set(re.findall(r"%\((\w+)\)s", made.sql)) == set(made.arguments)


def test_computed_properties_are_computed_only_when_named() -> None:
    assert "ST_Area" not in sql(Kind.LOOKUP, output=Output())
    assert "ST_Area" in sql(Kind.LOOKUP, output=Output(properties=("area_square_meters",)))


def test_a_parcels_district_comes_with_it() -> None:
    assert "SELECT districts.name" in sql(Kind.LOOKUP, layer="parcels", output=Output())


def test_statements_are_built_once_and_the_oldest_forgotten() -> None:
    statements = Statements(CATALOG, capacity=2)
    shapes = [Shape(Kind.LOOKUP, layer) for layer in ("zones", "parcels", "districts")]
    first = statements[shapes[0]]

    assert statements[Shape(Kind.LOOKUP, "zones")] is first
    assert [statements[shape].shape for shape in shapes] == shapes
    assert statements[shapes[0]] is not first
