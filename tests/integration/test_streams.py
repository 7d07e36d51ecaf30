"""Streams deliver what pages and a plain SELECT find: the same features with the same values, in batches of a size."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spatial.v1 import feature_pb2, geometry_pb2
from spatial.v1 import query_pb2 as query
from tests.conftest import NewDatabase
from tests.searches import box, intersects, pages, point, radius, shape
from tests.servers import Served, serving
from tests.situations import fetch
from tests.streams import (
    CATALOG,
    IN_FLIGHT,
    LAYOUTS,
    Found,
    asked,
    delivered,
    features,
    ids,
    resumed,
    row,
    selected,
    size,
    stream,
    whole,
)

KIB, MIB = 1024, 1024 * 1024
LAYERS = ("facilities", "zones", "zone_centroids", "districts", "parcels")
EUROPE = geometry_pb2.BoundingBox(west=-10, south=35, east=30, north=60)
PACIFIC = geometry_pb2.BoundingBox(west=150, south=-60, east=-120, north=60)
TRIANGLE = shape("POLYGON ((-10 35, 40 35, 10 65, -10 35))")
SEARCHES = {
    "radius": radius("facilities", point(13.4, 52.5), 1_500_000),
    "radius on a sphere": radius("facilities", point(13.4, 52.5), 500_000, "SPHERE"),
    "radius in degrees": radius("zones", point(13.4, 52.5), 8, "PLANAR"),
    "radius around a box": radius("zone_centroids", box(0, 40, 20, 50), 100_000),
    "intersects": intersects("facilities", TRIANGLE),
    "intersects a large shape": intersects("zones", TRIANGLE, "OVERLAPS"),
    "within": intersects("zones", TRIANGLE, "WITHIN"),
}
NAMES = query.Output(properties=["name"])
# Requests that deliver several batches, of each kind.
KINDS = {
    "radius": partial(asked, radius("facilities", point(13.4, 20), 150, "PLANAR"), output=NAMES),
    "intersects": partial(asked, intersects("zones", box(-180, -90, 180, 90)), output=NAMES),
    "window": partial(
        whole, "facilities", geometry_pb2.BoundingBox(west=-150, south=-80, east=100, north=80), output=NAMES
    ),
    "all": partial(whole, "facilities", output=NAMES),
}


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database, max_streams=100, bulk_pool_size=30, pool_timeout=10) as served:
        yield served


@pytest.fixture(scope="module")
def stub(served: Served) -> Any:
    return served.stub


def by_id(found: list[Found]) -> dict[str, Found]:
    """Where each is delivered once."""
    assert len({each.id for each in found}) == len(found)
    return {each.id: each for each in found}


@pytest.fixture(scope="module")
def everything(demo_database: str) -> Callable[[str], list[Found]]:
    """What a layer holds, read once."""
    return cache(partial(selected, partial(fetch, demo_database)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_delivered_as_it_is_stored(
    stub: Any, everything: Callable[[str], list[Found]], layer: str, layout: str
) -> None:
    stored = everything(layer)

    assert by_id(delivered(stub, whole(layer, layout=layout))) == by_id(stored)
    in_order = [key for batch in stream(stub, whole(layer, layout=layout, resumable=True)) for key in ids(batch)]
    assert in_order == [found.id for found in stored]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("asked_about", SEARCHES.values(), ids=SEARCHES)
def test_a_search_is_delivered_as_its_pages_are(stub: Any, asked_about: Any, layout: str) -> None:
    layer = CATALOG[asked_about.layer]
    paged = pages(stub, asked_about, output=query.Output())
    expected = by_id([row(feature, layer) for page in paged for feature in page.features])
    found = delivered(stub, asked(asked_about, layout, resumable=True))

    assert by_id(delivered(stub, asked(asked_about, layout))) == expected
    assert by_id(found) == expected
    assert [int(each.id) for each in found] == sorted(int(key) for key in expected)
    assert len(expected) > 5


BOXES = {
    "Europe": (EUROPE, [(-10, 35, 30, 60)]),
    "across the antimeridian": (PACIFIC, [(150, -60, 180, 60), (-180, -60, -120, 60)]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("bbox", "parts"), BOXES.values(), ids=BOXES)
def test_a_window_is_delivered_as_a_select_finds_it(
    stub: Any, demo_database: str, bbox: Any, parts: list[tuple[int, ...]], layout: str
) -> None:
    meets = " OR ".join(
        f"boundary && ST_MakeEnvelope({corners}, 4326)" for corners in (str(part)[1:-1] for part in parts)
    )
    stored = selected(partial(fetch, demo_database), "zones", meets)

    assert by_id(delivered(stub, whole("zones", bbox, layout=layout))) == by_id(stored)
    assert delivered(stub, whole("zones", bbox, layout=layout, resumable=True)) == stored
    assert 5 < len(stored) < 200


OUTPUTS = {
    "no geometry": query.Output(view="GEOMETRY_VIEW_NONE"),
    "centroids": query.Output(view="GEOMETRY_VIEW_CENTROID"),
    "one property": query.Output(properties=["name"]),
    "computed ones, in an order of one's own": query.Output(properties=["vertex_count", "name", "area_square_meters"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_a_stream_carries_of_each_feature_what_is_asked_for(stub: Any, output: query.Output, layout: str) -> None:
    everywhere = intersects("parcels", box(-180, -90, 180, 90))
    paged = pages(stub, everywhere, output=output)
    expected = [row(feature, CATALOG["parcels"]) for page in paged for feature in page.features]
    found = delivered(stub, whole("parcels", output=output, layout=layout, resumable=True))

    assert found == expected
    if layout != "ROWS":  # a Struct has no order
        names = list(output.properties or CATALOG["parcels"].stored)
        assert {tuple(each.properties) for each in found} == {tuple(names)}


@pytest.mark.parametrize("encoding", ["WKT", "GEOJSON"])
def test_rows_are_readable_where_that_is_asked_for(stub: Any, encoding: str) -> None:
    output = query.Output(encoding=f"GEOMETRY_ENCODING_{encoding}", properties=["name"])
    (page,) = pages(stub, intersects("districts", box(-180, -90, 180, 90)), output=output)

    assert delivered(stub, whole("districts", output=output, resumable=True)) == [
        row(feature, CATALOG["districts"]) for feature in page.features
    ]


NOWHERE = geometry_pb2.BoundingBox(west=-30.001, south=-50.001, east=-30, north=-50)


@pytest.mark.parametrize("layout", ["ROWS", "COLUMNS"])
@pytest.mark.parametrize("resumable", [False, True])
def test_nothing_found_is_no_batch_and_no_error(stub: Any, layout: str, resumable: bool) -> None:
    assert [*stream(stub, whole("facilities", NOWHERE, layout=layout, resumable=resumable))] == []


@pytest.mark.parametrize("resumable", [False, True])
def test_of_nothing_found_arrow_has_the_schema(stub: Any, resumable: bool) -> None:
    (batch,) = stream(stub, whole("facilities", NOWHERE, layout="ARROW", resumable=resumable))
    table = pa.ipc.open_stream(batch.arrow_ipc).read_all()
    (some, *_) = stream(stub, whole("facilities", layout="ARROW"))

    assert (table.num_rows, batch.resume_token) == (0, "")
    assert table.schema.equals(pa.ipc.open_stream(some.arrow_ipc).schema, check_metadata=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_batch_names_the_crs(stub: Any, layout: str) -> None:
    assert {batch.srid for batch in stream(stub, whole(layout=layout))} == {4326}


# The size of batches.


@pytest.fixture(scope="module")
def uneven(new_database: NewDatabase) -> Iterator[str]:
    """Parcels with shapes of 64 bytes, of 100 KB, and two of 5 MB that follow one another."""
    with new_database() as url:
        fetch(url, "INSERT INTO districts (name, boundary) VALUES ('d', ST_Multi(ST_MakeEnvelope(0, 0, 1, 1, 4326)))")
        fetch(
            url,
            "ALTER TABLE parcels DROP CONSTRAINT IF EXISTS ck_parcels_boundary_valid;"
            "INSERT INTO parcels (number, name, land_use, district_id, boundary)"
            " SELECT n, 'Parcel', 'test', 1, ST_Segmentize(ST_MakeEnvelope(0, 0, 1, 1, 4326), CASE"
            "   WHEN n IN (1000, 1001, 3000) THEN 4.0 / 312500 WHEN n % 40 = 0 THEN 4.0 / 6250 ELSE 4 END)"
            " FROM generate_series(1, 3000) n ORDER BY n",
        )
        yield url


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batches_are_of_256_kib_or_so_and_a_feature_that_is_larger_is_alone(uneven: str, layout: str) -> None:
    with serving(uneven) as served:
        batches = [*stream(served.stub, whole("parcels", layout=layout, resumable=True))]
    alone = [batch for batch in batches if batch.ByteSize() > 2 * MIB]
    others = [batch for batch in batches[1:-1] if batch not in alone]

    assert [[each.id for each in features(batch, "parcels")] for batch in alone] == [["1000"], ["1001"], ["3000"]]
    assert max(batch.ByteSize() for batch in others) < 512 * KIB
    assert sum(batch.ByteSize() for batch in others) / len(others) > 100 * KIB
    assert [int(each.id) for batch in batches for each in features(batch, "parcels")] == [*range(1, 3001)]


# Going on where a stream was cut.


def cut_after(stub: Any, request: Any, batches: int) -> list[Any]:
    """The first batches; then the reader leaves."""
    call = stream(stub, request)
    read = [batch for batch, _ in zip(call, range(batches), strict=False)]
    call.cancel()
    return read


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@given(cuts=st.lists(st.integers(1, 6), min_size=1, max_size=4))
@settings(
    max_examples=2, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_stream_cut_anywhere_goes_on_where_it_was_cut(stub: Any, kind: str, layout: str, cuts: list[int]) -> None:
    request = KINDS[kind](layout=layout, resumable=True)
    expected = _uncut(stub, kind, layout)
    read: list[Any] = []
    for batches in cuts:
        read += cut_after(stub, resumed(request, read[-1].resume_token) if read else request, batches)
    read += stream(stub, resumed(request, read[-1].resume_token))

    assert [key for batch in read for key in ids(batch)] == expected


_known: dict[tuple[str, str], list[str]] = {}


def _uncut(stub: Any, kind: str, layout: str) -> list[str]:
    if (kind, layout) not in _known:
        batches = [*stream(stub, KINDS[kind](layout=layout, resumable=True))]
        assert len(batches) > 3, "too few for cuts"
        _known[kind, layout] = [key for batch in batches for key in ids(batch)]
    return _known[kind, layout]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_follows_the_end(stub: Any, kind: str, layout: str) -> None:
    request = KINDS[kind](layout=layout, resumable=True)
    *_, last = stream(stub, request)

    assert [*stream(stub, resumed(request, last.resume_token))] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tokens_come_with_every_batch_of_a_resumable_stream_and_with_no_other(stub: Any, layout: str) -> None:
    tokens = [batch.resume_token for batch in stream(stub, KINDS["all"](layout=layout, resumable=True))]

    assert len(tokens) > 3
    assert all(tokens)
    assert len(set(tokens)) == len(tokens)
    assert {batch.resume_token for batch in stream(stub, KINDS["all"](layout=layout))} == {""}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["radius", "all"])
def test_what_comes_and_goes_meanwhile_moves_nothing_else(new_database: NewDatabase, kind: str, layout: str) -> None:
    with new_database() as url, serving(url) as served:
        insert = (
            "INSERT INTO facilities (id, name, kind, location) OVERRIDING SYSTEM VALUE"
            " SELECT n, repeat('x', 1000), 'test', ST_SetSRID(ST_MakePoint(n * 0.0001, 0), 4326)"
        )
        fetch(url, f"{insert} FROM generate_series(2, 4000, 2) n")
        about = (
            radius("facilities", point(0, 0), 1_000_000) if kind == "radius" else query.LayerQuery(layer="facilities")
        )
        request = asked(about, layout, resumable=True)
        read = cut_after(served.stub, request, 3)
        reached = int(features(read[-1], "facilities")[-1].id)
        assert 100 < reached < 3000

        fetch(url, "DELETE FROM facilities WHERE id %% 10 = 0 OR id = %s", reached)  # the last one delivered, too
        fetch(url, f"{insert} FROM generate_series(1, 4001, 2) n")
        read += stream(served.stub, resumed(request, read[-1].resume_token))
        found = [int(each.id) for batch in read for each in features(batch, "facilities")]

    behind = [key for key in range(reached + 1, 4002) if key % 10]
    assert found == [*range(2, reached + 1, 2), *behind]


# What is counted.


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("StreamRadius", asked(SEARCHES["radius"])),
        ("StreamIntersects", asked(SEARCHES["intersects"])),
        ("StreamFeatures", whole("zones")),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_sent_is_counted(served: Served, method: str, request_: Any, layout: str) -> None:
    request_.layout = feature_pb2.BatchLayout.Value(f"BATCH_LAYOUT_{layout}")
    series = {
        f'spatial_stream_features_total{{layout="{layout}",method="{method}"}}': size,
        f'spatial_stream_bytes_total{{method="{method}"}}': lambda batch: batch.ByteSize(),
        f'grpc_server_msg_sent_total{{grpc_method="{method}",grpc_service="spatial.v1.SpatialService"'
        ',grpc_type="server_stream"}': lambda batch: 1,
    }
    before = {name: served.metric(name) for name in series}
    batches = [*stream(served.stub, request_)]
    counted = {name: served.metric(name) - before[name] for name in series}

    assert counted == {name: sum(map(each, batches)) for name, each in series.items()}
    assert served.metric(IN_FLIGHT) == 0
