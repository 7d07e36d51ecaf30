"""Joins over curves: arcs count as they run, and not as straight lines between their points."""

from collections.abc import Iterator
from math import hypot
from typing import Any

import grpc
import pytest

from spatial.v1.query_pb2 import CountFeaturesRequest, JoinQuery, Output, Query, StreamJoinRequest
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.servers import Served, refusal, serving
from tests.situations import fetch

# Centre and radius; the second and the third overlap.
CIRCLES = {1: (0.0, 0.0, 1.0), 2: (4.0, 0.0, 1.5), 3: (6.0, 0.5, 1.0)}
# None of them is close to an edge, and some are between an arc and the chords of its points.
POINTS = {number: (-1.43 + 0.41 * (number % 21), -1.76 + 0.43 * (number // 21)) for number in range(21 * 9)}
INSIDE = {
    (disc, point)
    for disc, (x, y, radius) in CIRCLES.items()
    for point, (a, b) in POINTS.items()
    if hypot(a - x, b - y) < radius
}
WKT = "CURVEPOLYGON(CIRCULARSTRING(1 0,0 1,-1 0,0 -1,1 0))"
Pairs = dict[tuple[int, int], float]


def circle(x: float, y: float, radius: float) -> str:
    return f"CIRCULARSTRING({x + radius} {y},{x} {y + radius},{x - radius} {y},{x} {y - radius},{x + radius} {y})"


@pytest.fixture(scope="module")
def served(new_database: NewDatabase) -> Iterator[Served]:
    tables = {
        "discs": ("CurvePolygon", {key: f"CURVEPOLYGON({circle(*each)})" for key, each in CIRCLES.items()}),
        "rings": ("CircularString", {key: circle(*each) for key, each in CIRCLES.items()}),
        "points": ("Point", {key: f"POINT({x} {y})" for key, (x, y) in POINTS.items()}),
    }
    with new_database(template=POSTGIS) as url:
        for name, (kind, shapes) in tables.items():
            rows = ", ".join(f"({key}, 'SRID=4326;{shape}')" for key, shape in shapes.items())
            fetch(url, f"CREATE TABLE {name} (id int PRIMARY KEY, geom geometry({kind}, 4326) NOT NULL)")
            fetch(url, f"INSERT INTO {name} VALUES {rows}; CREATE INDEX ON {name} USING gist (geom); ANALYZE {name}")
        with serving(url, layers="public.*") as served:
            yield served


def pairs(served: Served, left: str, right: str, **fields: Any) -> Pairs:
    asked = StreamJoinRequest(query=JoinQuery(left_layer=left, right_layer=right, **fields))
    found = [pair for batch in served.stub.StreamJoin(asked, timeout=60) for pair in batch.pairs]
    return {(int(pair.left_id), int(pair.right_id)): pair.distance_meters for pair in found}


@pytest.mark.parametrize("predicate", ["INTERSECTS", "COVERS", "CONTAINS"])
def test_a_point_between_an_arc_and_its_chord_is_inside(served: Served, predicate: str) -> None:
    assert {*pairs(served, "discs", "points", predicate=f"PREDICATE_{predicate}")} == INSIDE


def test_curves_can_be_on_the_right(served: Served) -> None:
    found = pairs(served, "points", "discs", predicate="PREDICATE_WITHIN")

    assert {(disc, point) for point, disc in found} == INSIDE


def test_curves_are_joined_with_curves(served: Served) -> None:
    same = {(key, key) for key in CIRCLES}

    assert {*pairs(served, "discs", "rings")} == {*same, (2, 3), (3, 2)}
    assert {*pairs(served, "rings", "rings", predicate="PREDICATE_EQUALS")} == same


def test_they_are_counted_as_they_are_streamed(served: Served) -> None:
    joined = Query(join=JoinQuery(left_layer="discs", right_layer="points"))

    assert served.stub.CountFeatures(CountFeaturesRequest(query=joined), timeout=20).count == len(INSIDE)


def test_planar_distances_are_those_to_the_arc(served: Served) -> None:
    expected = {
        (ring, point): abs(hypot(a - x, b - y) - radius)
        for ring, (x, y, radius) in CIRCLES.items()
        for point, (a, b) in POINTS.items()
    }
    near = {pair: distance for pair, distance in expected.items() if distance <= 0.2}

    found = pairs(served, "rings", "points", distance_meters=0.2, distance_model="DISTANCE_MODEL_PLANAR")

    assert found == pytest.approx(near, abs=1e-9)
    assert len(near) > 20


def test_they_are_sent_with_the_pairs_and_in_order(served: Served) -> None:
    asked = StreamJoinRequest(
        query=JoinQuery(left_layer="discs", right_layer="points"),
        left_output=Output(encoding="GEOMETRY_ENCODING_WKT"),
        resumable=True,
    )
    found = [pair for batch in served.stub.StreamJoin(asked, timeout=60) for pair in batch.pairs]

    assert [(int(pair.left_id), int(pair.right_id)) for pair in found] == sorted(INSIDE)
    assert {pair.left.geometry.wkt for pair in found if pair.left_id == "1"} == {WKT}


@pytest.mark.parametrize("model", ["SPHEROID", "SPHERE"])
def test_on_the_earth_they_have_no_distance(served: Served, model: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        pairs(served, "discs", "points", distance_meters=1000, distance_model=f"DISTANCE_MODEL_{model}")

    told = refusal(refused.value)
    assert (told.code, told.reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_DISTANCE_MODEL")
    assert told.message == "a geometry involved is a curve or a surface: only PLANAR distances can be measured of it"
