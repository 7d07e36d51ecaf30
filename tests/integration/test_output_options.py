"""What is done to the geometries of an answer, in every call that has any and in every layout."""

import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pyarrow as pa
import pytest
import shapely
from google.protobuf.json_format import MessageToDict
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.matching import in_messages, keyed, match, matches, opening, told
from tests.oracle import fetch, geometries
from tests.projections import MERCATOR, NEW_YORK_FEET, moved
from tests.searches import box, intersects, nearest, point, radius
from tests.servers import refusal, serving
from tests.streams import asked, stream, table

NEW_YORK = (-74.006, 40.7128)
BOX = (-74.02, 40.70, -73.99, 40.72)
COLUMNS = {"facilities": "location", "parcels": "boundary", "districts": "boundary"}


class Shown(NamedTuple):
    """The geometry of a feature in an answer, and what the answer says that it is in."""

    shape: BaseGeometry
    srid: int


Answer = dict[int, Shown]


@pytest.fixture(scope="module")
def stub(demo_database: str) -> Iterator[Any]:
    with serving(demo_database) as served:
        yield served.stub


@pytest.fixture(scope="module")
def stored(demo_database: str) -> dict[str, dict[int, BaseGeometry]]:
    return {layer: geometries(demo_database, layer, column) for layer, column in COLUMNS.items()}


def decoded(message: geometry.Geometry) -> BaseGeometry:
    kind = message.WhichOneof("encoding")
    if kind == "geojson":
        return shapely.geometry.shape(MessageToDict(message.geojson))
    return shapely.from_wkb(message.wkb) if kind == "wkb" else shapely.from_wkt(message.wkt)


def of_features(features: Any) -> Answer:
    return {int(each.id): Shown(decoded(each.geometry), each.geometry.srid) for each in features}


def of_stream(stub: Any, request: Any) -> Answer:
    found: Answer = {}
    for batch in stream(stub, request):
        layout = batch.WhichOneof("layout")
        if layout == "rows":
            some = of_features(batch.rows.features)
        elif layout == "columns":
            keys = batch.columns.int64_ids
            some = {
                key: Shown(shapely.from_wkb(data), batch.srid)
                for key, data in zip(keys, batch.columns.wkb, strict=True)
            }
        else:
            some = of_arrow(table(batch))
        assert {shown.srid for shown in some.values()} == {batch.srid}
        found |= some
    return found


def of_arrow(features: pa.Table) -> Answer:
    """The SRID is what the metadata of GeoArrow say."""
    metadata = json.loads(features.schema.field("geometry").metadata[b"ARROW:extension:metadata"])
    srid = CRS.from_json_dict(metadata["crs"]).to_epsg() or 0
    return {
        key: Shown(shapely.from_wkb(data), srid)
        for key, data in zip(features["id"].to_pylist(), features["geometry"].to_pylist(), strict=True)
    }


def of_join(stub: Any, side: str, layer: str, output: query.Output) -> Answer:
    outputs: dict[str, Any] = {f"{side}_output": output}
    request = query.StreamJoinRequest(query=query.JoinQuery(left_layer=layer, right_layer=layer), **outputs)
    pairs = [pair for batch in stub.StreamJoin(request, timeout=30) for pair in batch.pairs]
    return of_features(getattr(pair, side) for pair in pairs)


def matched(stub: Any, layer: str, output: query.Output) -> Answer:
    found = match(stub, nearest(layer, point(0, 0)), [point(*NEW_YORK)], output=output, limit=20)
    return of_features(found[0].features)


Call = Callable[[Any, str, query.Output], Answer]
CALLS: dict[str, Call] = {
    "GetFeature": lambda stub, layer, output: of_features(
        [stub.GetFeature(query.GetFeatureRequest(layer=layer, id="3", output=output), timeout=10)]
    ),
    "BatchGetFeatures": lambda stub, layer, output: of_features(
        stub.BatchGetFeatures(
            query.BatchGetFeaturesRequest(layer=layer, ids=["1", "2"], output=output), timeout=10
        ).features
    ),
    "SearchRadius": lambda stub, layer, output: of_features(
        stub.SearchRadius(
            query.SearchRadiusRequest(query=radius(layer, point(*NEW_YORK), 1500), output=output), timeout=10
        ).features
    ),
    "SearchNearest": lambda stub, layer, output: of_features(
        stub.SearchNearest(
            query.SearchNearestRequest(query=nearest(layer, point(*NEW_YORK)), output=output), timeout=10
        ).features
    ),
    "SearchIntersects": lambda stub, layer, output: of_features(
        stub.SearchIntersects(
            query.SearchIntersectsRequest(query=intersects(layer, box(*BOX)), output=output), timeout=10
        ).features
    ),
    "MatchFeatures": matched,
    "StreamJoin, left": lambda stub, layer, output: of_join(stub, "left", layer, output),
    "StreamJoin, right": lambda stub, layer, output: of_join(stub, "right", layer, output),
}
QUERIES: dict[str, Callable[[str], Any]] = {
    "StreamRadius": lambda layer: radius(layer, point(*NEW_YORK), 1500),
    "StreamIntersects": lambda layer: intersects(layer, box(*BOX)),
    "StreamFeatures": lambda layer: query.LayerQuery(layer=layer),
}


def streaming(about: Callable[[str], Any], layout: str, *, resumable: bool) -> Call:
    return lambda stub, layer, output: of_stream(stub, asked(about(layer), layout, output=output, resumable=resumable))


CALLS |= {
    f"{name} in {layout}{', resumable' if resumable else ''}": streaming(about, layout, resumable=resumable)
    for name, about in QUERIES.items()
    for layout in ("ROWS", "COLUMNS", "ARROW")
    for resumable in (False, True)
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layer", ["parcels", "districts"])
def test_the_answer_is_in_the_crs_that_was_asked_for(stub: Any, stored: Any, call: str, layer: str) -> None:
    answer = CALLS[call](stub, layer, query.Output(srid=MERCATOR, properties=["name"]))

    assert answer
    for key, shown in answer.items():
        expected = moved(stored[layer][key], 4326, MERCATOR)
        assert shown.srid == MERCATOR
        assert shapely.equals_exact(shown.shape, expected, tolerance=1e-6)


@pytest.mark.parametrize("call", CALLS)
def test_feet_are_as_good_as_metres(stub: Any, stored: Any, call: str) -> None:
    answer = CALLS[call](stub, "districts", query.Output(srid=NEW_YORK_FEET, view="GEOMETRY_VIEW_CENTROID"))

    for key, shown in answer.items():
        centroid = shapely.centroid(stored["districts"][key])
        assert shown.srid == NEW_YORK_FEET
        assert shown.shape.distance(moved(centroid, 4326, NEW_YORK_FEET)) < 1e-3


@pytest.mark.parametrize("call", CALLS)
def test_lines_are_simplified_by_at_most_the_tolerance(stub: Any, stored: Any, call: str) -> None:
    tolerance = 0.0005
    answer = CALLS[call](stub, "parcels", query.Output(simplify_tolerance=tolerance))

    assert answer
    for key, shown in answer.items():
        before = stored["parcels"][key]
        assert shown.shape.is_valid
        assert shapely.hausdorff_distance(shown.shape, before) <= tolerance
        assert shown.shape.geom_type == before.geom_type
    saved = sum(
        shapely.get_num_coordinates(stored["parcels"][key]) - shapely.get_num_coordinates(shown.shape)
        for key, shown in answer.items()
    )
    assert saved > 0


def test_a_geometry_that_simplification_breaks_is_mended(stub: Any, stored: Any) -> None:
    """GEOS's own answer for one of them has a polygon in another one."""
    for tolerance in (0.001, 0.01):
        answer = CALLS["BatchGetFeatures"](stub, "districts", query.Output(simplify_tolerance=tolerance))
        answer |= CALLS["StreamFeatures in ARROW"](stub, "districts", query.Output(simplify_tolerance=tolerance))
        assert len(answer) == 5
        assert all(shown.shape.is_valid for shown in answer.values())
        assert all(shown.shape.geom_type == "MultiPolygon" for shown in answer.values())


@pytest.mark.parametrize("call", CALLS)
def test_coordinates_have_as_many_digits_as_are_wanted(stub: Any, stored: Any, call: str) -> None:
    answer = CALLS[call](stub, "districts", query.Output(decimal_digits=3))

    assert answer
    for key, shown in answer.items():
        before, after = (shapely.get_coordinates(each) for each in (stored["districts"][key], shown.shape))
        assert before.shape == after.shape
        assert (abs(before - after) < 0.5e-3).all()
        # Most bits are zero now.
        assert len(zlib.compress(after.tobytes())) < len(zlib.compress(before.tobytes()))


VIEWS: dict[str, Callable[[BaseGeometry], BaseGeometry]] = {
    "FULL": lambda shape: shape,
    "CENTROID": shapely.centroid,
    "BBOX": shapely.envelope,
}


@pytest.mark.parametrize("encoding", ["WKB", "WKT", "GEOJSON"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("digits", [None, 0, 2, 15])
def test_every_view_in_every_encoding_with_digits_in_another_crs(
    stub: Any, stored: Any, view: str, encoding: str, digits: int | None
) -> None:
    output = query.Output(
        srid=MERCATOR,
        view=f"GEOMETRY_VIEW_{view}",
        encoding=f"GEOMETRY_ENCODING_{encoding}",
        decimal_digits=digits,
    )
    (shown,) = CALLS["GetFeature"](stub, "districts", output).values()

    expected = moved(VIEWS[view](stored["districts"][3]), 4326, MERCATOR)
    off = 1e-6 if digits is None or digits > 6 else 10.0**-digits
    assert shown.srid == MERCATOR
    if view == "BBOX":  # which has no first corner
        shown, expected = shown._replace(shape=shown.shape.normalize()), expected.normalize()
    assert shapely.equals_exact(shown.shape, expected, tolerance=off)


@pytest.mark.parametrize("digits", [0, 1, 5])
@pytest.mark.parametrize("encoding", ["WKT", "GEOJSON"])
def test_text_is_written_with_the_digits(stub: Any, stored: Any, encoding: str, digits: int) -> None:
    output = query.Output(encoding=f"GEOMETRY_ENCODING_{encoding}", decimal_digits=digits)
    (shown,) = CALLS["GetFeature"](stub, "facilities", output).values()

    (rounded,) = shapely.get_coordinates(stored["facilities"][3]).round(digits).tolist()
    assert shapely.get_coordinates(shown.shape).tolist() == [rounded]


@pytest.mark.parametrize("view", ["CENTROID", "BBOX"])
def test_what_a_view_makes_is_not_simplified(stub: Any, view: str) -> None:
    plain, simplified = (
        CALLS["GetFeature"](stub, "districts", query.Output(view=f"GEOMETRY_VIEW_{view}", simplify_tolerance=tolerance))
        for tolerance in (None, 100.0)
    )

    assert plain == simplified


@pytest.mark.parametrize("call", CALLS)
def test_no_properties_and_what_else_was_asked_for(stub: Any, call: str) -> None:
    output = query.Output(no_properties=True, srid=MERCATOR)
    some = CALLS[call](stub, "parcels", output)

    assert some == CALLS[call](stub, "parcels", query.Output(properties=["name"], srid=MERCATOR))


def test_no_properties_are_none_in_every_layout(stub: Any) -> None:
    output = query.Output(no_properties=True, view="GEOMETRY_VIEW_NONE")
    feature = stub.GetFeature(query.GetFeatureRequest(layer="zones", id="3", output=output), timeout=10)
    assert (feature.id, feature.HasField("properties"), feature.HasField("geometry")) == ("3", False, False)

    about = query.LayerQuery(layer="districts")
    for resumable in (False, True):
        (rows,) = stream(stub, asked(about, "ROWS", output=output, resumable=resumable))
        (columns,) = stream(stub, asked(about, "COLUMNS", output=output, resumable=resumable))
        (arrow,) = stream(stub, asked(about, "ARROW", output=output, resumable=resumable))
        assert not any(each.HasField("properties") or each.HasField("geometry") for each in rows.rows.features)
        assert (len(columns.columns.properties), len(columns.columns.wkb)) == (0, 0)
        assert table(arrow).column_names == ["id"]
        assert sorted(table(arrow)["id"].to_pylist()) == sorted(columns.columns.int64_ids)


def test_computed_properties_are_of_what_is_stored(stub: Any, demo_database: str) -> None:
    ((area, vertices),) = fetch(
        demo_database, "SELECT ST_Area(geography(boundary)), ST_NPoints(boundary) FROM zones WHERE id = 3"
    )
    output = query.Output(properties=["area_square_meters", "vertex_count"], srid=MERCATOR, simplify_tolerance=1.0)
    feature = stub.GetFeature(query.GetFeatureRequest(layer="zones", id="3", output=output), timeout=10)

    assert (feature.properties["area_square_meters"], feature.properties["vertex_count"]) == (area, vertices)


def test_the_layer_s_own_srid_changes_nothing(stub: Any) -> None:
    plain, named = (
        stub.GetFeature(query.GetFeatureRequest(layer="zones", id="3", output=output), timeout=10)
        for output in (query.Output(), query.Output(srid=4326))
    )

    assert plain == named


REFUSED = {
    "an unknown SRID": (query.Output(srid=999_999), "UNKNOWN_SRID", "srid", {"srid": "999999"}),
    "SRID 0": (query.Output(srid=0), "UNKNOWN_SRID", "srid", {"srid": "0"}),
    "a negative SRID": (query.Output(srid=-1), "UNKNOWN_SRID", "srid", {"srid": "-1"}),
    "a negative tolerance": (query.Output(simplify_tolerance=-0.1), "OUT_OF_RANGE", "simplify_tolerance", {}),
    "an infinite tolerance": (query.Output(simplify_tolerance=float("inf")), "OUT_OF_RANGE", "simplify_tolerance", {}),
    "no number as tolerance": (query.Output(simplify_tolerance=float("nan")), "OUT_OF_RANGE", "simplify_tolerance", {}),
    "-1 digits": (query.Output(decimal_digits=-1), "OUT_OF_RANGE", "decimal_digits", {"limit": "15"}),
    "16 digits": (query.Output(decimal_digits=16), "OUT_OF_RANGE", "decimal_digits", {"limit": "15"}),
    "properties, and none": (
        query.Output(no_properties=True, properties=["name"]),
        "UNEXPECTED_FIELD",
        "properties",
        {},
    ),
}


EVERY_CASE = ("GetFeature", "SearchRadius", "StreamJoin, left", "MatchFeatures", "StreamFeatures in ARROW")


@pytest.mark.parametrize(
    ("call", "case"),
    [
        *((call, case) for call in EVERY_CASE for case in REFUSED),
        *((call, "an unknown SRID") for call in CALLS if call not in EVERY_CASE),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(stub: Any, call: str, case: str) -> None:
    output, reason, field, metadata = REFUSED[case]

    with pytest.raises(grpc.RpcError) as raised:
        CALLS[call](stub, "facilities", output)

    refused = refusal(raised.value)
    path = f"{call.partition(', ')[2]}_output" if call.startswith("StreamJoin") else "output"
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, (f"{path}.{field}",))
    assert refused.metadata == metadata


OTHER_SIDE = 990_001
GNOMONIC = (
    "INSERT INTO spatial_ref_sys (srid, proj4text) VALUES (%s, '+proj=gnom +lat_0=-40.7 +lon_0=106 +datum=WGS84')"
)


@pytest.fixture(scope="module")
def out_of_sight(module_database: str) -> Iterator[Any]:
    """Facilities in New York, and a CRS of the database's own that shows the other half of the Earth."""
    fetch(module_database, GNOMONIC, OTHER_SIDE)
    fetch(
        module_database,
        "INSERT INTO facilities (name, kind, location)"
        " SELECT 'x', 'x', ST_SetSRID(ST_MakePoint(%s, %s), 4326) FROM generate_series(1, 4)",
        *NEW_YORK,
    )
    with serving(module_database) as served:
        yield served.stub


@pytest.mark.parametrize("call", [call for call in CALLS if call != "MatchFeatures"])
def test_what_cannot_be_transformed_fails_as_such(out_of_sight: Any, call: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        CALLS[call](out_of_sight, "facilities", query.Output(srid=OTHER_SIDE))

    refused = refusal(raised.value)
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TRANSFORM_FAILED")


def test_a_match_that_cannot_be_transformed_is_an_error_by_its_key(out_of_sight: Any) -> None:
    asked_about = keyed([point(*NEW_YORK), point(106, -40)])
    opened = opening(radius("facilities", point(0, 0), 1000), output=query.Output(srid=OTHER_SIDE))

    here, there = matches(out_of_sight, in_messages(opened, asked_about, 10))

    assert told(here) == ("FAILED_PRECONDITION", "TRANSFORM_FAILED", "")
    assert (there.key, there.HasField("error"), len(there.features)) == ("1", False, 0)
