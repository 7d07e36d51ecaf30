"""What a question can be asked about, as callers have it."""

from typing import Any

import numpy
import pytest
import shapely
from google.type import latlng_pb2

from spatial.v1 import geometry_pb2
from spatial.v1.geometry_pb2 import BoundingBox, Geometry
from spatial_client import Box
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
    ],
)
def test_a_probe(probe: Any, expected: dict[str, Any]) -> None:
    assert probe_message(probe) == geometry_pb2.Probe(**expected)


@pytest.mark.parametrize("probe", [None, 5, (1, 2, 3), {"type": "Point"}, ("13.4", "52.5")], ids=str)
def test_what_is_no_probe(probe: Any) -> None:
    with pytest.raises(TypeError):
        probe_message(probe)
