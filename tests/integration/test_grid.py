"""AggregateGrid as its callers see it: every cell against what shapely finds in it."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.grids import GIRTH, SHAPES, by_position, check, expected, of, of_layer
from tests.oracle import Points, fetch, geometries
from tests.searches import box, count, intersects, nearest, point, radius
from tests.servers import Served, refusal, serving
from tests.world import settle

SIZES = (0.7, 7.3, 40.0)
BERLIN = (13.4, 52.5)
MERCATOR = Transformer.from_crs(4326, 3857, always_xy=True)
MAP_EDGE = 85.0511287798066


@pytest.fixture(scope="module")
def points(module_database: str) -> Points:
    """Facilities at the poles, along the antimeridian and all over the Earth; every third has no population."""
    settle(module_database, 3000)
    fetch(module_database, "UPDATE facilities SET population = id * 1000003 WHERE mod(id, 3) > 0; ANALYZE facilities")
    return Points.of(module_database)


@pytest.fixture(scope="module")
def served(module_database: str, points: Points) -> Iterator[Served]:
    with serving(module_database) as running:
        yield running


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


def aggregate(served: Served, request: query.AggregateGridRequest) -> list[query.GridBatch]:
    return [*served.stub.AggregateGrid(request, timeout=60)]


def cells(served: Served, request: query.AggregateGridRequest) -> dict[tuple[int, int], query.GridCell]:
    return by_position(aggregate(served, request))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_feature_counts_once_where_it_lies(served: Served, points: Points, shape: str, size: float) -> None:
    found = cells(served, of_layer("facilities", shape, cell_size=size))

    check(found, shape, size, points.longitudes, points.latitudes)
    assert {(cell.HasField("sum"), cell.HasField("average")) for cell in found.values()} == {(False, False)}


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_are_those_that_postgis_lays(served: Served, module_database: str, shape: str) -> None:
    world = "ST_MakeEnvelope(-180, -90, 180, 90, 4326)"
    for size in SIZES[1:]:
        grid = f"SELECT i, j, ST_AsBinary(geom, 'NDR') FROM ST_{shape.title()}Grid(%s, {world})"
        laid = fetch(module_database, grid, size)
        outlines = {(i, j): bytes(outline) for i, j, outline in laid}
        for key, cell in cells(served, of_layer("facilities", shape, cell_size=size)).items():
            assert (cell.geometry.wkb, cell.geometry.srid) == (outlines[key], 4326)


def test_a_square_has_its_left_and_its_lower_edge(served: Served) -> None:
    found = cells(served, of_layer("facilities", cell_size=90))

    assert {i for i, _ in found} == {-2, -1, 0, 1, 2}
    assert {j for _, j in found} == {-1, 0, 1}
    assert shapely.from_wkb(found[2, 0].geometry.wkb).bounds == (180, 0, 270, 90)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_property_is_summed_and_averaged(served: Served, points: Points, shape: str) -> None:
    found = cells(served, of_layer("facilities", shape, cell_size=7.3, property="population"))
    certain, possible = expected(shape, 7.3, points.longitudes, points.latitudes)

    compared = 0
    for key, cell in found.items():
        if certain.get(key) == possible[key]:
            keys = points.keys[certain[key]]
            values = [int(each) * 1000003 for each in keys if each % 3]
            assert cell.HasField("sum") == cell.HasField("average") == bool(values)
            assert cell.sum == sum(values)
            assert cell.average == pytest.approx(np.mean(values) if values else 0, rel=1e-15)
            compared += 1
    assert compared > 400


def test_a_property_may_be_computed(served: Served, points: Points) -> None:
    found = cells(served, of_layer("facilities", cell_size=400, property="latitude"))

    assert sum(cell.sum for cell in found.values()) == pytest.approx(points.latitudes.sum(), abs=1e-6)
    for cell in found.values():
        assert cell.average == pytest.approx(cell.sum / cell.count)


# What is counted.


@pytest.mark.parametrize("shape", SHAPES)
def test_what_lies_within_a_radius(served: Served, points: Points, shape: str) -> None:
    near = points.distances("SPHEROID", *BERLIN) <= 2_000_000
    found = cells(served, of(query.Query(radius=radius("facilities", point(*BERLIN), 2_000_000)), shape, cell_size=1.3))

    check(found, shape, 1.3, points.longitudes[near], points.latitudes[near])
    assert near.sum() > 20


@pytest.mark.parametrize("shape", SHAPES)
def test_what_intersects_a_box_across_the_antimeridian(served: Served, points: Points, shape: str) -> None:
    far = (np.abs(points.longitudes) >= 150) & (np.abs(points.latitudes) <= 40)
    asked = query.Query(intersects=intersects("facilities", box(150, -40, -150, 40)))

    check(cells(served, of(asked, shape, cell_size=7.3)), shape, 7.3, points.longitudes[far], points.latitudes[far])
    assert far.sum() > 200


def test_what_meets_a_box(served: Served, points: Points) -> None:
    bounds = geometry.BoundingBox(west=-30, south=-20, east=50, north=70)
    inside = (
        (points.longitudes >= -30) & (points.longitudes <= 50) & (points.latitudes >= -20) & (points.latitudes <= 70)
    )
    asked = query.Query(layer=query.LayerQuery(layer="facilities", bbox=bounds))

    check(cells(served, of(asked, cell_size=7.3)), "SQUARE", 7.3, points.longitudes[inside], points.latitudes[inside])


def test_a_filter(served: Served, points: Points) -> None:
    chosen = (points.keys % 3 > 0) & (points.keys > 1500)
    asked = query.Query(layer=query.LayerQuery(layer="facilities", filter="population > 1500004500 AND kind = 'point'"))
    found = cells(served, of(asked, "HEXAGON", cell_size=7.3, property="population"))

    check(found, "HEXAGON", 7.3, points.longitudes[chosen], points.latitudes[chosen])
    assert sum(cell.sum for cell in found.values()) == sum(int(key) * 1000003 for key in points.keys[chosen])


def test_a_radius_around_a_feature(served: Served, points: Points) -> None:
    reference = geometry.Probe(feature=geometry.FeatureRef(layer="facilities", id="300"))
    longitude, latitude = (float(each[points.keys == 300][0]) for each in (points.longitudes, points.latitudes))
    near = points.distances("SPHEROID", longitude, latitude) <= 3_000_000
    found = cells(served, of(query.Query(radius=radius("facilities", reference, 3_000_000)), cell_size=1.3))

    check(found, "SQUARE", 1.3, points.longitudes[near], points.latitudes[near])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", ["zones", "districts", "parcels"])
def test_areas_count_where_their_centroid_lies(demo: Served, demo_database: str, layer: str, shape: str) -> None:
    size = 7.3 if layer == "zones" else 0.013
    centroids = shapely.centroid([*geometries(demo_database, layer, "boundary").values()])

    check(
        cells(demo, of_layer(layer, shape, cell_size=size)),
        shape,
        size,
        shapely.get_x(centroids),
        shapely.get_y(centroids),
    )


def test_an_empty_layer_has_no_cells(served: Served) -> None:
    assert aggregate(served, of_layer("zones", cell_size=1)) == []


# By the zoom of a map.


@pytest.mark.parametrize("zoom", [0, 3, 9])
@pytest.mark.parametrize("shape", SHAPES)
def test_cells_by_the_zoom_of_a_web_map(served: Served, points: Points, shape: str, zoom: int) -> None:
    shown = np.abs(points.latitudes) <= MAP_EDGE
    xs, ys = MERCATOR.transform(points.longitudes[shown], points.latitudes[shown])
    batches = aggregate(served, of_layer("facilities", shape, zoom=zoom))

    check(by_position(batches), shape, GIRTH / 2**zoom / 16, np.asarray(xs), np.asarray(ys))
    assert {batch.srid for batch in batches} == {3857}
    assert {cell.geometry.srid for batch in batches for cell in batch.cells} == {3857}
    assert 0 < np.count_nonzero(~shown) < 30


def test_a_tile_is_sixteen_squares_wide(served: Served) -> None:
    west, south, east, north = shapely.total_bounds(
        [shapely.from_wkb(cell.geometry.wkb) for cell in cells(served, of_layer("facilities", zoom=0)).values()]
    )
    assert (west, south, north) == pytest.approx((-GIRTH / 2, -GIRTH / 2, GIRTH / 2))
    # Facilities at +180 degrees begin another column.
    assert east == pytest.approx(GIRTH / 2 + GIRTH / 16)


# How it is told.


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_in_other_encodings(served: Served, shape: str) -> None:
    asked = of_layer("facilities", shape, cell_size=40)
    wkb = {key: shapely.from_wkb(cell.geometry.wkb) for key, cell in cells(served, asked).items()}
    asked.encoding = geometry.GEOMETRY_ENCODING_WKT
    wkt = {key: shapely.from_wkt(cell.geometry.wkt) for key, cell in cells(served, asked).items()}
    asked.encoding = geometry.GEOMETRY_ENCODING_GEOJSON
    geojson = {key: _polygon(cell.geometry) for key, cell in cells(served, asked).items()}

    assert {*wkb} == {*wkt} == {*geojson} != set()
    for key, outline in wkb.items():
        assert shapely.equals_exact(outline, wkt[key], 1e-9)
        assert shapely.equals_exact(outline, geojson[key], 1e-8)


def _polygon(told: geometry.Geometry) -> Any:
    assert (told.geojson["type"], told.srid) == ("Polygon", 4326)
    coordinates: Any = told.geojson["coordinates"]
    return shapely.Polygon([tuple(corner) for corner in coordinates[0]])


def test_cells_are_counted_as_what_the_stream_sent(served: Served) -> None:
    sample = 'spatial_stream_features_total{layout="ROWS",method="AggregateGrid"}'
    before = served.metric(sample)
    found = cells(served, of_layer("facilities", cell_size=7.3))

    assert served.metric(sample) - before == len(found)
    handled = (
        'grpc_server_handled_total{grpc_code="OK",grpc_method="AggregateGrid",grpc_service="spatial.v1.SpatialService"'
    )
    assert served.metric(handled + ',grpc_type="server_stream"}') > 0


def test_as_many_as_are_counted_without_a_grid(demo: Served) -> None:
    asked = radius("facilities", point(*BERLIN), 500_000)
    found = cells(demo, of(query.Query(radius=asked), zoom=6))

    assert sum(cell.count for cell in found.values()) == count(demo.stub, radius=asked) > 100


WHOLE = query.Query(layer=query.LayerQuery(layer="facilities"))
REFUSALS = {
    "no query": (query.AggregateGridRequest(cell_size=1), "REQUIRED", "query"),
    "no kind": (of(query.Query(), cell_size=1), "REQUIRED", "query.kind"),
    "no size": (of(WHOLE), "REQUIRED", "size"),
    "nearest": (
        of(query.Query(nearest=nearest("facilities", point(0, 0))), cell_size=1),
        "UNEXPECTED_FIELD",
        "query.nearest",
    ),
    "a join": (
        of(query.Query(join=query.JoinQuery(left_layer="zones", right_layer="zones")), cell_size=1),
        "UNEXPECTED_FIELD",
        "query.join",
    ),
    "cells of no size": (of(WHOLE, cell_size=0), "OUT_OF_RANGE", "cell_size"),
    "cells of a negative size": (of(WHOLE, cell_size=-1), "OUT_OF_RANGE", "cell_size"),
    "cells that are no number": (of(WHOLE, cell_size=float("nan")), "OUT_OF_RANGE", "cell_size"),
    "cells without end": (of(WHOLE, cell_size=float("inf")), "OUT_OF_RANGE", "cell_size"),
    "cells of nearly no size": (of(WHOLE, cell_size=5e-324), "OUT_OF_RANGE", "cell_size"),
    "more squares than have a number": (of(WHOLE, cell_size=1e-9), "OUT_OF_RANGE", "cell_size"),
    "more hexagons than have a number": (of(WHOLE, "HEXAGON", cell_size=1e-9), "OUT_OF_RANGE", "cell_size"),
    "a negative zoom": (of(WHOLE, zoom=-1), "OUT_OF_RANGE", "zoom"),
    "a zoom beyond the last": (of(WHOLE, zoom=25), "OUT_OF_RANGE", "zoom"),
    "an unknown shape": (query.AggregateGridRequest(query=WHOLE, shape=7, cell_size=1), "UNKNOWN_ENUM_VALUE", "shape"),  # type: ignore[arg-type]
    "an unknown encoding": (of(WHOLE, cell_size=1, encoding=7), "UNKNOWN_ENUM_VALUE", "encoding"),
    "an unknown property": (of(WHOLE, cell_size=1, property="height"), "UNKNOWN_PROPERTY", "property"),
    "a property that is a text": (of(WHOLE, cell_size=1, property="name"), "UNSUPPORTED_PROPERTY_TYPE", "property"),
    "a property that is a time": (
        of(WHOLE, cell_size=1, property="created_at"),
        "UNSUPPORTED_PROPERTY_TYPE",
        "property",
    ),
    "a negative radius": (
        of(query.Query(radius=radius("facilities", point(0, 0), -1)), cell_size=1),
        "OUT_OF_RANGE",
        "query.radius.radius_meters",
    ),
}


@pytest.mark.parametrize(("asked", "reason", "field"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_its_reason_and_the_field(
    served: Served, asked: query.AggregateGridRequest, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        aggregate(served, asked)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", reason, (field,))


def test_a_grid_whose_search_costs_too_much_is_refused(module_database: str, points: Points) -> None:
    near = query.Query(radius=radius("facilities", point(*BERLIN), 1000))
    with serving(module_database, max_plan_cost=50) as guarded:
        assert aggregate(guarded, of(near, cell_size=1)) == []
        with pytest.raises(grpc.RpcError) as refused:
            aggregate(guarded, of(WHOLE, cell_size=1))
    told = refusal(refused.value)
    assert (told.code, told.reason) == ("FAILED_PRECONDITION", "PLAN_TOO_EXPENSIVE")
