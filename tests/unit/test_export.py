"""`spatial export` before it writes: what the options ask, and how a stream is read through cuts."""

import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import grpc
import pyarrow as pa
import pytest
from click.testing import CliRunner

from service.cli import spatial
from service.cli.export import files, question, stream
from service.cli.export.ogr import geometry_type
from service.cli.export.signals import stoppable
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2

NOTHING = dict.fromkeys(
    ("bbox", "near", "radius", "intersects", "predicate", "properties", "filter", "srid", "simplify")
)
TRIANGLE = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1], [0, 0]]]}'


def asked(**options: Any) -> question.Question:
    return question.read("parcels", {**NOTHING, **options})


def test_without_a_question_it_is_the_whole_layer_and_can_be_gone_on_with() -> None:
    method, request, whole = asked()
    assert isinstance(request, query_pb2.StreamFeaturesRequest)
    assert (method, whole, request.resumable) == ("StreamFeatures", True, True)
    assert request.layout == feature_pb2.BATCH_LAYOUT_ARROW
    assert not request.query.HasField("bbox")


def test_a_box_is_west_south_east_north() -> None:
    method, request, whole = asked(bbox="170,-20,-170,-10.5")
    assert isinstance(request, query_pb2.StreamFeaturesRequest)
    assert (method, whole, request.resumable) == ("StreamFeatures", False, False)
    box = request.query.bbox
    assert (box.west, box.south, box.east, box.north) == (170, -20, -170, -10.5)


@pytest.mark.parametrize("question", [{}, {"near": "1,2", "radius": 5.0}, {"intersects": "POINT (1 2)"}], ids=str)
def test_a_filter_goes_with_every_question(question: dict[str, Any]) -> None:
    _, request, whole = asked(filter="land_use = 'park'", **question)

    assert (request.query.filter, whole) == ("land_use = 'park'", False)


def test_near_is_longitude_first() -> None:
    method, request, _ = asked(near="-74.006,40.7128", radius=2000.0)
    assert isinstance(request, query_pb2.StreamRadiusRequest)
    assert method == "StreamRadius"
    assert (request.query.center.point.longitude, request.query.center.point.latitude) == (-74.006, 40.7128)
    assert request.query.radius_meters == 2000


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("POINT (1 2)", "wkt"), (" \nPOINT (1 2)\n", "wkt"), (TRIANGLE, "geojson"), (f"\n{TRIANGLE}\n", "geojson")],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_a_geometry_is_wkt_or_geojson_itself_or_in_a_file(
    text: str, encoding: str, from_file: bool, tmp_path: Path
) -> None:
    (tmp_path / "area").write_text(text)
    _, request, _ = asked(intersects=f"@{tmp_path / 'area'}" if from_file else text, predicate="covered_by")
    assert isinstance(request, query_pb2.StreamIntersectsRequest)
    assert request.query.probe.geometry.WhichOneof("encoding") == encoding
    assert request.query.probe.geometry.wkt in ("", "POINT (1 2)")
    assert request.query.predicate == geometry_pb2.PREDICATE_COVERED_BY


def test_properties_are_named_with_commas() -> None:
    assert list(asked(properties="name, land_use").request.output.properties) == ["name", "land_use"]
    assert list(asked().request.output.properties) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"bbox": "1,2,3,4", "near": "1,2", "radius": 1.0}, "--bbox and --near are different questions"),
        ({"near": "1,2", "radius": 1.0, "intersects": "POINT (0 0)"}, "--near and --intersects"),
        ({"near": "1,2"}, "--near goes with --radius"),
        ({"radius": 1.0}, "--radius goes with --near"),
        ({"radius": 0.0}, "--radius goes with --near"),
        ({"predicate": "within"}, "--predicate goes with --intersects"),
        ({"bbox": "1,2,3"}, "'1,2,3' is not 4 numbers"),
        ({"near": "here", "radius": 1.0}, "'here' is not 2 numbers"),
        ({"intersects": "@/nowhere/area.wkt"}, "/nowhere/area.wkt: No such file"),
        ({"intersects": '{"type": '}, "not a GeoJSON geometry"),
        ({"intersects": "{} {}"}, "not a GeoJSON geometry"),
        ({"properties": "name,"}, "not names with commas between"),
        ({"properties": ""}, "not names with commas between"),
    ],
)
def test_options_that_do_not_fit_are_told_apart(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        asked(**options)
    assert complaint in refused.value.format_message()


@pytest.mark.parametrize(
    ("target", "name", "form"),
    [
        ("a.geojsonl", None, "geojsonseq"),
        ("a.geojsonseq", None, "geojsonseq"),
        ("a.ndjson", None, "geojsonseq"),
        ("-", None, "geojsonseq"),
        ("a.gpkg", None, "gpkg"),
        ("folder.fgb/a.GPKG", None, "gpkg"),
        ("a.fgb", None, "flatgeobuf"),
        ("a.parquet", None, "geoparquet"),
        ("a.geoparquet", None, "geoparquet"),
        ("a", "gpkg", "gpkg"),
        ("a.fgb", "geoparquet", "geoparquet"),
    ],
)
def test_the_format_is_the_names_unless_it_is_given(target: str, name: str | None, form: str) -> None:
    assert files.chosen(target, name).name == form


@pytest.mark.parametrize("target", ["a", "a.shp", "a.json", "gpkg", ".gpkg"])
def test_a_name_that_says_no_format_is_refused_with_those_that_do(target: str) -> None:
    with pytest.raises(click.UsageError, match=r"\.gpkg, \.fgb, \.parquet"):
        files.chosen(target, None)


@pytest.mark.parametrize("form", ["gpkg", "flatgeobuf", "geoparquet"])
def test_standard_output_is_for_lines_alone(form: str) -> None:
    with pytest.raises(click.UsageError, match="only geojsonseq"):
        files.chosen("-", form)


@pytest.mark.parametrize(
    ("missing", "target"), [("pyogrio", "a.gpkg"), ("pyogrio", "-"), ("pyarrow", "a.fgb"), ("shapely", "a.parquet")]
)
def test_a_package_that_is_missing_is_named_with_what_brings_it(
    missing: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    shown = CliRunner().invoke(spatial, ["export", "parcels", target])
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == f'Error: {missing} is not installed; it comes with `pip install "spatial-service[export]"`\n'


def test_the_command_teaches_its_use() -> None:
    shown = CliRunner().invoke(spatial, ["export", "--help"])
    assert "spatial export facilities near.fgb --near -74.006,40.7128 --radius 2000\n" in shown.stdout


@pytest.mark.parametrize(
    ("postgis", "pyogrio"),
    [
        ("POINT", "Point"),
        ("POINTZ", "Point Z"),
        ("POINTM", "PointM"),
        ("MULTIPOLYGON", "MultiPolygon"),
        ("MultiLineStringZ", "MultiLineString Z"),
        ("POLYGONZM", "Measured 3D Polygon"),
        ("LINESTRINGM", "Measured LineString"),
        ("GEOMETRYCOLLECTION", "GeometryCollection"),
        ("GEOMETRY", "Unknown"),
        ("GEOMETRYZ", "Unknown"),
        ("CURVEPOLYGON", "Unknown"),
        ("", "Unknown"),
    ],
)
def test_geometry_types_are_called_as_gdal_calls_them(postgis: str, pyogrio: str) -> None:
    assert geometry_type(postgis) == pyogrio


class Cut(grpc.RpcError):
    """How a call ends that fails."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


class Server:
    """Streams ten features, two a batch, and cuts each stream after so many batches."""

    def __init__(self, *cuts: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.cuts, self.code = list(cuts), code
        self.tokens: list[str] = []
        self.cancelled = 0

    def __call__(self, request: question.Request) -> "Call":
        self.tokens.append(request.resume_token)
        return Call(self, int(request.resume_token or 0), self.cuts.pop(0) if self.cuts else 9, request.resumable)


class Call:
    def __init__(self, server: Server, start: int, cut: int, resumable: bool) -> None:
        self.server, self.start, self.cut, self.resumable = server, start, cut, resumable

    def __iter__(self) -> Iterator[feature_pb2.FeatureBatch]:
        for number in range(self.start, 10, 2):
            if (number - self.start) // 2 == self.cut:
                raise Cut(self.server.code)
            token = str(number + 2) if self.resumable else ""
            yield feature_pb2.FeatureBatch(arrow_ipc=ipc([number, number + 1]), resume_token=token)

    def cancel(self) -> None:
        self.server.cancelled += 1


def ipc(ids: list[int]) -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": ids})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries; the tests do not."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def ids(server: Server, *, resumable: bool) -> Generator[int]:
    for batch in stream.record_batches(server, query_pb2.StreamFeaturesRequest(resumable=resumable)):
        yield from batch.column("id").to_pylist()


CODES = ["UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("code", CODES)
def test_a_resumable_stream_goes_on_where_it_was_cut(code: str, waits: list[float]) -> None:
    server = Server(0, 1, 0, 2, code=grpc.StatusCode[code])
    assert list(ids(server, resumable=True)) == list(range(10))
    assert server.tokens == ["", "", "2", "2", "6"]
    assert server.cancelled == 5


@pytest.mark.parametrize("code", CODES)
def test_any_stream_is_asked_for_again_that_has_sent_nothing(code: str, waits: list[float]) -> None:
    assert list(ids(Server(0, 0, code=grpc.StatusCode[code]), resumable=False)) == list(range(10))
    assert waits == sorted(set(waits))


def test_any_other_stream_that_is_cut_fails(waits: list[float]) -> None:
    read = ids(Server(1), resumable=False)
    assert [next(read), next(read)] == [0, 1]
    with pytest.raises(Cut):
        next(read)
    assert waits == []


@pytest.mark.parametrize("code", ["INTERNAL", "NOT_FOUND", "INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED"])
def test_a_refusal_is_not_asked_again(code: str, waits: list[float]) -> None:
    with pytest.raises(Cut):
        list(ids(Server(1, code=grpc.StatusCode[code]), resumable=True))
    assert waits == []


def test_a_server_that_does_not_come_back_is_given_up(waits: list[float]) -> None:
    with pytest.raises(Cut):
        list(ids(Server(1, *[0] * 100), resumable=True))
    assert len(waits) == stream.TRIES
    assert 15 <= sum(waits) <= 40


def test_tries_are_counted_anew_after_each_batch(waits: list[float]) -> None:
    server = Server(*[0, 0, 0, 0, 0, 1] * 3)
    assert list(ids(server, resumable=True)) == list(range(10))


def test_who_stops_reading_ends_the_call() -> None:
    server = Server()
    with closing(ids(server, resumable=True)) as read:
        assert next(read) == 0
    assert server.cancelled == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_stopped_within_a_library_ends_as_stopped(number: signal.Signals) -> None:
    def library() -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise RuntimeError("Error while accessing batch from stream") from None

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit), stoppable():
        library()
    assert signal.getsignal(number) is before


def test_who_is_stopped_where_python_ignores_it_is_stopped_a_moment_later(capfd: pytest.CaptureFixture[str]) -> None:
    class Library:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        Library()
        time.sleep(20)

    with pytest.raises(KeyboardInterrupt), stoppable():
        work()
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_what_else_python_ignores_is_told_as_ever() -> None:
    told: list[object] = []

    class Library:
        def __del__(self) -> None:
            raise RuntimeError("disk")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))
        with stoppable():
            Library()
    assert [str(each) for each in told] == ["disk"]


def test_an_error_is_itself_if_nobody_stopped_it() -> None:
    with pytest.raises(RuntimeError, match="disk"), stoppable():
        raise RuntimeError("disk")


def test_the_crs_and_the_tolerance_are_the_output_s() -> None:
    output = asked(srid=3857, simplify=0.5).request.output

    assert (output.srid, output.simplify_tolerance) == (3857, 0.5)
    assert not asked().request.output.HasField("srid")
