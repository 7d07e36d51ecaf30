"""Layers that are not in degrees, and one of no CRS: probes come to them, answers leave them, in any other."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.matching import in_messages, keyed, matches, opening, told
from tests.oracle import fetch
from tests.projections import MERCATOR, NEW_YORK_FEET, moved, probe
from tests.searches import box, ids, intersects, nearest, point, radius, ranked, within
from tests.servers import refusal, serving

CENTER = (-74.0, 40.7)
TABLES = """
CREATE TABLE lots (id integer PRIMARY KEY, shape geometry(Polygon, 2263), created_at timestamptz);
CREATE INDEX ON lots USING gist (shape);
INSERT INTO lots SELECT n, ST_Expand(ST_Translate(
    ST_Transform('SRID=4326;POINT(-74 40.7)'::geometry, 2263), n * 1000, 0), 100) FROM generate_series(0, 20) n;
INSERT INTO lots VALUES (99, NULL);
CREATE TABLE sketches (id integer PRIMARY KEY, shape geometry(Point, 0), created_at timestamptz);
CREATE INDEX ON sketches USING gist (shape);
INSERT INTO sketches SELECT n, ST_MakePoint(n, n) FROM generate_series(0, 20) n;
INSERT INTO facilities (name, kind, location) VALUES ('x', 'x', 'SRID=4326;POINT(-74 40.7)');
ANALYZE;
"""


@pytest.fixture(scope="module")
def stub(module_database: str) -> Iterator[Any]:
    fetch(module_database, TABLES)
    with serving(module_database, layers="models,public.lots,public.sketches") as served:
        yield served.stub


@pytest.fixture(scope="module")
def lots(module_database: str, stub: Any) -> dict[int, BaseGeometry]:
    rows = fetch(module_database, "SELECT id, ST_AsBinary(shape) FROM lots WHERE shape IS NOT NULL")
    return {key: shapely.from_wkb(bytes(data)) for key, data in rows}


def test_what_is_nearest_to_a_place_in_degrees(stub: Any, lots: dict[int, BaseGeometry]) -> None:
    here = shapely.set_srid(moved(shapely.Point(CENTER), 4326, NEW_YORK_FEET), 0)
    expected = sorted((here.distance(shape), key) for key, shape in lots.items())[:5]

    for about in (point(*CENTER), probe(shapely.Point(CENTER), MERCATOR), probe(shapely.Point(CENTER), NEW_YORK_FEET)):
        found = ranked(stub, nearest("lots", about, "PLANAR"), 5)
        assert [key for key, _ in found] == [key for _, key in expected]
        assert all(abs(feet - want) < 0.01 for (_, feet), (want, _) in zip(found, expected, strict=True))
        assert within(stub, radius("lots", about, 4500, "PLANAR")) == found


def test_a_box_is_in_the_layer_s_coordinates(stub: Any, lots: dict[int, BaseGeometry]) -> None:
    west, south, east, north = lots[3].bounds

    assert ids(stub, intersects("lots", box(west, south, east, north))) == [3]


def test_a_feature_of_a_layer_in_degrees_is_a_probe(stub: Any) -> None:
    about = geometry.Probe(feature=geometry.FeatureRef(layer="facilities", id="1"))

    assert ids(stub, intersects("lots", about)) == [0]
    back = geometry.Probe(feature=geometry.FeatureRef(layer="lots", id="0"))
    assert within(stub, radius("facilities", back, 0)) == [(1, 0.0)]


def test_answers_leave_in_degrees(stub: Any, lots: dict[int, BaseGeometry]) -> None:
    request = query.GetFeatureRequest(layer="lots", id="4", output=query.Output(srid=4326))
    feature = stub.GetFeature(request, timeout=10)

    assert feature.geometry.srid == 4326
    expected = moved(lots[4], NEW_YORK_FEET, 4326)
    assert shapely.equals_exact(shapely.from_wkb(feature.geometry.wkb), expected, tolerance=1e-8)


def test_null_stays_null_whatever_is_done_to_it(stub: Any) -> None:
    for encoding in ("WKB", "WKT", "GEOJSON"):
        output = query.Output(
            srid=4326, decimal_digits=2, simplify_tolerance=1, encoding=f"GEOMETRY_ENCODING_{encoding}"
        )
        feature = stub.GetFeature(query.GetFeatureRequest(layer="lots", id="99", output=output), timeout=10)
        assert not feature.HasField("geometry")


def test_a_feature_without_geometry_is_no_probe(stub: Any) -> None:
    about = geometry.Probe(feature=geometry.FeatureRef(layer="lots", id="99"))

    with pytest.raises(grpc.RpcError) as raised:
        ids(stub, intersects("lots", about))
    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == (
        "FAILED_PRECONDITION",
        "NO_GEOMETRY",
        ("query.probe.feature",),
    )
    assert refused.metadata == {"layer": "lots", "id": "99"}

    (answer,) = matches(stub, in_messages(opening(intersects("lots", about)), keyed([about]), 1))
    assert told(answer) == ("FAILED_PRECONDITION", "NO_GEOMETRY", "probes[0].probe.feature")


def test_without_a_crs_nothing_is_transformed(stub: Any) -> None:
    plane = geometry.Probe(geometry=geometry.Geometry(wkt="POINT(3 3)", srid=0))
    assert ids(stub, intersects("sketches", plane)) == [3]
    assert ids(stub, intersects("sketches", box(1, 1, 2, 2))) == [1, 2]
    itself = geometry.Probe(feature=geometry.FeatureRef(layer="sketches", id="5"))
    assert ids(stub, intersects("sketches", itself)) == [5]

    for about, field in (
        (point(3, 3), "query.probe.point"),
        (geometry.Probe(geometry=geometry.Geometry(wkt="POINT(3 3)")), "query.probe.geometry.wkt"),
        (geometry.Probe(feature=geometry.FeatureRef(layer="lots", id="1")), "query.probe.feature"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            ids(stub, intersects("sketches", about))
        refused = refusal(raised.value)
        assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "SRID_MISMATCH", (field,))

    output = query.Output(srid=4326)
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetFeature(query.GetFeatureRequest(layer="sketches", id="1", output=output), timeout=10)
    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "SRID_MISMATCH", ("output.srid",))
