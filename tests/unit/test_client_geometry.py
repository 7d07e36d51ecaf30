"""What a question can be asked about, as callers have it."""

import inspect
from typing import Any

import numpy
import pytest
import shapely
from google.type import latlng_pb2

from spatial.v1 import geometry_pb2
from spatial.v1.geometry_pb2 import BoundingBox, Geometry
from spatial_client import Box, FeatureRef, Output, SpatialClient, _calls, _counts, _matching, _streams
from spatial_client._geometry import probe_message

POINT = shapely.Point(13.4, 52.5)
BOX = BoundingBox(west=170, south=-1, east=-170, north=1)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        pytest.param(
            (13.4, 52.5), {"point": latlng_pb2.LatLng(longitude=13.4, latitude=52.5)}, id="longitude, latitude"
        ),
        pytest.param([13, 52], {"point": latlng_pb2.LatLng(longitude=13, latitude=52)}, id="a list of integers"),
        pytest.param(
            (numpy.float32(0.5), numpy.float64(1.5)),
            {"point": latlng_pb2.LatLng(longitude=0.5, latitude=1.5)},
            id="numpy's numbers",
        ),
        pytest.param((170, -1, -170, 1), {"bbox": BOX}, id="west, south, east, north"),
        pytest.param(Box(170, -1, -170, 1), {"bbox": BOX}, id="a Box"),
        pytest.param(POINT.wkb, {"geometry": Geometry(wkb=POINT.wkb)}, id="WKB"),
        pytest.param("POINT(13.4 52.5)", {"geometry": Geometry(wkt="POINT(13.4 52.5)")}, id="WKT"),
        pytest.param(POINT, {"geometry": Geometry(wkb=POINT.wkb)}, id="shapely"),
        pytest.param(
            shapely.set_srid(POINT, 3857), {"geometry": Geometry(wkb=POINT.wkb, srid=3857)}, id="shapely with an SRID"
        ),
        pytest.param(
            FeatureRef("zones", 5), {"feature": geometry_pb2.FeatureRef(layer="zones", id="5")}, id="a feature"
        ),
    ],
)
def test_a_probe(probe: Any, expected: dict[str, Any]) -> None:
    assert probe_message(probe) == geometry_pb2.Probe(**expected)


@pytest.mark.parametrize("probe", [None, 5, (1, 2, 3), {"type": "Point"}, ("13.4", "52.5")], ids=str)
def test_what_is_no_probe(probe: Any) -> None:
    with pytest.raises(TypeError):
        probe_message(probe)


def test_what_an_output_asks_for() -> None:
    output = Output(["name"], "bbox", srid=3857, simplify_tolerance=0.5, decimal_digits=0).message()
    assert [*output.properties] == ["name"]
    assert (output.no_properties, output.view) == (False, geometry_pb2.GEOMETRY_VIEW_BBOX)
    assert (output.srid, output.simplify_tolerance, output.decimal_digits) == (3857, 0.5, 0)
    assert output.HasField("decimal_digits")

    assert (Output().message().no_properties, Output([]).message().no_properties) == (False, True)
    assert not Output().message().HasField("srid")


SHAPING = {"srid": 3857, "simplify_tolerance": 0.5, "decimal_digits": 2}


@pytest.mark.parametrize(
    "call",
    [
        _calls.get_feature("zones", 1, **SHAPING),  # type: ignore[arg-type]
        _calls.get_features("zones", [1], **SHAPING),  # type: ignore[arg-type]
        _calls.search_radius("zones", (1, 2), 3, **SHAPING),  # type: ignore[arg-type]
        _calls.search_nearest("zones", (1, 2), **SHAPING),  # type: ignore[arg-type]
        _calls.search_intersects("zones", (1, 2), **SHAPING),  # type: ignore[arg-type]
        _calls.iterate_radius("zones", (1, 2), 3, **SHAPING),  # type: ignore[arg-type]
        _calls.iterate_intersects("zones", (1, 2), **SHAPING),  # type: ignore[arg-type]
        _streams.stream_radius("zones", (1, 2), 3, **SHAPING),  # type: ignore[arg-type]
        _streams.stream_intersects("zones", (1, 2), **SHAPING),  # type: ignore[arg-type]
        _streams.stream_features("zones", **SHAPING),  # type: ignore[arg-type]
    ],
    ids=lambda call: call.method,
)
def test_every_question_says_what_is_done_to_geometries(call: Any) -> None:
    assert call.request.output == Output(**SHAPING).message()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "question",
    [
        _matching.match_radius("zones", 3, **SHAPING),  # type: ignore[arg-type]
        _matching.match_nearest("zones", **SHAPING),  # type: ignore[arg-type]
        _matching.match_intersects("zones", **SHAPING),  # type: ignore[arg-type]
    ],
    ids=["radius", "nearest", "intersects"],
)
def test_every_match_says_what_is_done_to_geometries(question: Any) -> None:
    assert question.opening.output == Output(**SHAPING).message()  # type: ignore[arg-type]


AREA = shapely.set_srid(shapely.box(0, 0, 1, 1), 3857)


@pytest.mark.parametrize(
    "query",
    [
        _calls.search_nearest("zones", (1, 2), within=AREA).request.query,
        _counts.count_nearest("zones", (1, 2), within=AREA).request.query.nearest,
        _matching.match_nearest("zones", within=AREA).opening.query.nearest,
    ],
    ids=["search", "count", "match"],
)
def test_what_is_nearest_may_have_to_be_within_an_area(query: Any) -> None:
    assert query.within == Geometry(wkb=AREA.wkb, srid=3857)


def test_help_names_each_of_the_options() -> None:
    parameters = inspect.signature(SpatialClient.search_nearest).parameters

    assert {"srid", "simplify_tolerance", "decimal_digits", "within"} <= set(parameters)
    assert parameters["srid"].kind is inspect.Parameter.KEYWORD_ONLY
