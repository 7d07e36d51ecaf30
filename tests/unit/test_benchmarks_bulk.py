"""What the benchmark of streams asks, what its reader makes of the answers, and how its figures come about."""

import os
from collections.abc import Iterator
from itertools import cycle

import pyarrow as pa
import pytest
import shapely

from benchmarks import polygons, reader
from benchmarks.copying import copy
from benchmarks.host import Cores
from benchmarks.jobs import Job, Taken
from benchmarks.memory import Resident
from benchmarks.streams import LARGE_CIRCLE, POINTS, PROBES, match_asked, match_statements, probes
from benchmarks.throughput import Contest
from spatial.v1 import feature_pb2, query_pb2


def test_jobs_and_what_came_of_them_travel_as_lines() -> None:
    job = Job(port=1, method="StreamFeatures", requests=["0a"], seconds=2.5, check=True)
    taken = Taken(features=10, messages=2, seconds=4.0, firsts=[0.1], ids=55, wkb_bytes=210, message_bytes=500)
    assert job.line().count("\n") == taken.line().count("\n") == 1
    assert (Job.read(job.line()), Taken.read(taken.line())) == (job, taken)
    assert taken.rate == 2.5


# --- the polygons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "count", "vertices", "wkb_bytes"),
    [
        pytest.param(lambda: polygons.parcels(20), 20, 65, 1_053, id="parcels of a kilobyte"),
        pytest.param(lambda: polygons.zones(2), 2, 65_536, 1_048_598, id="zones of a megabyte"),
    ],
)
def test_polygons_are_valid_and_as_large_as_they_should_be(
    rows: polygons.Rows, count: int, vertices: int, wkb_bytes: int
) -> None:
    shapes = [shapely.from_wkb(line.rsplit(b"\t", 1)[1].strip().decode()) for part in rows() for line in part]
    assert len(shapes) == count
    assert all(shape.is_valid and shapely.get_srid(shape) == 4326 for shape in shapes)
    assert {shapely.get_num_coordinates(shape) for shape in shapes} == {vertices}
    assert {len(shape.wkb) for shape in shapes} == {wkb_bytes}


def test_polygons_are_the_same_every_time_and_lie_in_their_district() -> None:
    first, again = (b"".join(part.getvalue() for part in polygons.parcels(3)) for _ in range(2))
    assert first == again
    (district,) = (shapely.from_wkt(line.split(b";")[1].decode()) for part in polygons.districts() for line in part)
    for line in first.splitlines():
        assert district.contains(shapely.from_wkb(line.rsplit(b"\t", 1)[1].decode()))


# --- what is asked -------------------------------------------------------------------------------------------------


def test_a_statement_is_copied_on_one_line() -> None:
    assert copy("SELECT id\n   FROM parcels\n") == "COPY (SELECT id FROM parcels) TO STDOUT (FORMAT binary)"


def test_a_layer_is_asked_for_with_the_properties_of_its_statement() -> None:
    request = query_pb2.StreamFeaturesRequest.FromString(bytes.fromhex(POINTS.asked("ARROW").requests[0]))
    assert request.layout == feature_pb2.BATCH_LAYOUT_ARROW
    assert request.query.layer == "facilities"
    assert f"{', '.join(request.output.properties)} FROM facilities" in POINTS.statement


def test_a_circle_is_the_same_in_sql_and_as_a_message() -> None:
    query = query_pb2.StreamRadiusRequest.FromString(bytes.fromhex(LARGE_CIRCLE.asked("ROWS").requests[0])).query
    point = query.center.point
    assert f"ST_MakePoint({point.longitude}, {point.latitude})" in LARGE_CIRCLE.statement
    assert f"{query.radius_meters})" in LARGE_CIRCLE.statement


def test_only_the_first_message_of_a_match_says_what_is_asked_and_all_bring_probes() -> None:
    places = probes()
    messages = [query_pb2.MatchRequest.FromString(bytes.fromhex(each)) for each in match_asked(places).requests]
    assert [message.HasField("query") for message in messages] == [True] + [False] * (len(messages) - 1)
    assert [probe.key for message in messages for probe in message.probes] == [str(n) for n in range(PROBES)]


def test_every_probe_is_in_one_statement() -> None:
    places = probes()
    text = "".join(match_statements(places))
    assert [text.count(str(place.longitude)) for place in places[:5]] == [1] * 5
    assert text.count("LATERAL") * 64 == PROBES


# --- what the reader makes of it -----------------------------------------------------------------------------------


WKB = [b"\1", b"\2\2"]


def _rows() -> feature_pb2.FeatureBatch:
    features = [feature_pb2.Feature(id=str(number), geometry={"wkb": wkb}) for number, wkb in enumerate(WKB, 7)]
    return feature_pb2.FeatureBatch(rows=feature_pb2.FeatureRows(features=features))


def _columns() -> feature_pb2.FeatureBatch:
    names = feature_pb2.Column(name="name", strings=feature_pb2.StringValues(values=["a", "b"]))
    active = feature_pb2.Column(name="active", booleans=feature_pb2.BoolValues(values=[True, False]))
    columns = feature_pb2.FeatureColumns(count=2, int64_ids=[7, 8], wkb=WKB, properties=[names, active])
    return feature_pb2.FeatureBatch(columns=columns)


def _arrow() -> feature_pb2.FeatureBatch:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": pa.array([7, 8]), "geometry": pa.array(WKB, pa.binary())})
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return feature_pb2.FeatureBatch(arrow_ipc=sink.getvalue().to_pybytes())


def _matches() -> query_pb2.MatchResponse:
    found = _rows().rows.features
    matches = [query_pb2.Match(key="a", features=found[:1]), query_pb2.Match(key="b", features=found[1:])]
    return query_pb2.MatchResponse(matches=matches)


@pytest.mark.parametrize(
    "message", [_rows(), _columns(), _arrow(), _matches()], ids=["rows", "columns", "arrow", "matches"]
)
def test_every_layout_is_counted_and_checked_alike(message: feature_pb2.FeatureBatch | query_pb2.MatchResponse) -> None:
    layout = reader.layout_of(message)
    decoded = layout.decode(message)
    assert layout.count(decoded) == 2
    assert layout.content(decoded) == reader.Content(ids=15, wkb_bytes=3)


def test_columns_are_lists_of_python_values() -> None:
    ids, wkb, values = reader.layout_of(_columns()).decode(_columns())
    assert (ids, wkb, values) == ([7, 8], WKB, [["a", "b"], [True, False]])


# --- figures -------------------------------------------------------------------------------------------------------


def test_contestants_take_turns_and_a_figure_is_the_median_of_the_rounds() -> None:
    turns: list[str] = []
    psql, columns = cycle([100.0, 200.0, 400.0, 100.0, 100.0]), cycle([50.0, 100.0, 200.0, 90.0, 10.0])

    def run(name: str, rates: Iterator[float]) -> float:
        turns.append(name)
        return next(rates)

    runs = {"psql": lambda: run("psql", psql), "COLUMNS": lambda: run("COLUMNS", columns)}
    (figure,) = Contest("points", "rows", runs, {"COLUMNS": "0.55"}, look=lambda: Cores(0, 0)).held()
    assert turns[:4] == ["psql", "COLUMNS", "COLUMNS", "psql"]
    assert str(figure).startswith("bulk points COLUMNS / psql: 0.50 (goal 0.55)\n")


def test_the_peak_of_memory_is_of_what_came_since() -> None:
    resident = Resident(os.getpid())
    resident.forget()
    before = resident.peak()
    held = b"x" * (48 * 1024 * 1024)
    del held
    assert 40 < resident.peak() - before < 80
    resident.forget()
    assert resident.peak() - resident.now() < 8
