"""`spatial export`: every format read back and compared with what the server says, and how the command ends."""

import json
import math
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import geopandas
import pyarrow.parquet as parquet
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely
from google.protobuf.json_format import MessageToDict
from google.type.latlng_pb2 import LatLng

from spatial.v1 import geometry_pb2, query_pb2
from tests.conftest import NewDatabase
from tests.processes import SPATIAL, Serving, environment, invoked, spatial, spatial_serve
from tests.proxy import proxied
from tests.servers import Served
from tests.situations import eventually, fetch, quiet

SUFFIXES = [".geojsonl", ".gpkg", ".fgb", ".parquet"]
Row = dict[str, Any]
ROWS = 100_000
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def many(new_database: NewDatabase) -> Iterator[str]:
    """So many facilities that an export takes a while; all but the last are in the eastern hemisphere."""
    with new_database() as url:
        indexes = "SELECT indexname FROM pg_indexes WHERE tablename = 'facilities' AND indexname LIKE 'ix%'"
        for (name,) in fetch(url, indexes):
            fetch(url, f"DROP INDEX {name}")
        fetch(
            url,
            "INSERT INTO facilities (name, kind, location) SELECT 'Facility ' || n, repeat('x', 60),"
            f" ST_Point(CASE n WHEN {ROWS} THEN -90 ELSE n / 1e4 END, 1, 4326) FROM generate_series(1, {ROWS}) n",
        )
        fetch(url, "ANALYZE facilities")
        yield url


@pytest.fixture(scope="module")
def busy(many: str) -> Iterator[Serving]:
    with spatial_serve(database_url=many) as server:
        yield server


def export(
    server: Served, *arguments: object, run: Callable[..., subprocess.CompletedProcess[str]] = invoked
) -> subprocess.CompletedProcess[str]:
    return run("export", *map(str, arguments), "--target", server.address)


@contextmanager
def exporting(address: str, *arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command as it runs."""
    command = [str(SPATIAL), "export", *map(str, arguments), "--target", address]
    with subprocess.Popen(command, env=environment(), **options) as process:
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def at_work(folder: Path) -> Callable[[], object]:
    """Whether something has been written that is no file yet."""
    return lambda: [path for path in folder.glob(".*/*") if path.stat().st_size > 0]


@cache
def answered(server: Served, layer: str, properties: tuple[str, ...], bbox: tuple[int, ...]) -> list[Row]:
    """A layer, or what of it meets a box, as messages say it."""
    sides = zip(("west", "south", "east", "north"), bbox, strict=False)
    box = geometry_pb2.BoundingBox(**dict(sides)) if bbox else None
    request = query_pb2.StreamFeaturesRequest(
        query=query_pb2.LayerQuery(layer=layer, bbox=box), output=query_pb2.Output(properties=properties)
    )
    features = [feature for batch in server.stub.StreamFeatures(request, timeout=60) for feature in batch.rows.features]
    return by_id(
        {"id": feature.id, "geometry": shapely.from_wkb(feature.geometry.wkb), **MessageToDict(feature.properties)}
        for feature in features
    )


def contents(path: Path) -> list[Row]:
    if path.suffix == ".geojsonl":
        return by_id(_feature(json.loads(line)) for line in path.read_text().splitlines())
    read = parquet.read_table(path) if path.suffix == ".parquet" else pyogrio.read_arrow(path)[1]
    column = "wkb_geometry" if "wkb_geometry" in read.column_names else "geometry"
    return by_id({"geometry": shapely.from_wkb(row.pop(column)), **row} for row in read.to_pylist())


def _feature(feature: Any) -> Row:
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    return {"id": feature["id"], "geometry": shape, **feature["properties"]}


def by_id(rows: Iterator[Row]) -> list[Row]:
    return sorted(({**row, "id": str(row["id"])} for row in rows), key=lambda row: int(row["id"]))


def same(written: Any, said: Any) -> bool:
    """Whether a value in a file is the one in a message, which has numbers as doubles and times as text."""
    if isinstance(said, shapely.Geometry):
        return bool(shapely.equals_exact(shapely.normalize(written), shapely.normalize(said), tolerance=1e-9))
    if isinstance(written, datetime):
        return abs(written.replace(tzinfo=None) - _moment(said)) <= timedelta(milliseconds=0.5)
    if isinstance(said, (dict, list)) and isinstance(written, str):
        return bool(json.loads(written) == said)
    if isinstance(said, float) and not isinstance(written, bool):
        return math.isclose(written, said, rel_tol=1e-15)
    if isinstance(said, str) and isinstance(written, str) and re.match(r"\d{4}-\d\d-\d\dT", said):
        return abs(_moment(written) - _moment(said)) <= timedelta(milliseconds=0.5)
    return bool(written == said)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("layer", "properties", "bbox"),
    [
        ("facilities", (), (-20, 30, 10, 60)),
        ("zones", (), ()),
        ("parcels", ("district_name", "area_square_meters", "vertex_count"), ()),
        ("zone_centroids", ("name",), ()),
    ],
)
def test_a_file_holds_what_the_server_says(
    demo_server: Served,
    layer: str,
    properties: tuple[str, ...],
    bbox: tuple[int, ...],
    suffix: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"file{suffix}"
    chosen = ["--properties", ",".join(properties)] if properties else []
    box = ["--bbox", ",".join(map(str, bbox))] if bbox else []
    shown = export(demo_server, layer, path, *chosen, *box)
    expected, found = answered(demo_server, layer, properties, bbox), contents(path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == f"{len(expected):,} features in {path}\n"
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    wrong = [
        (name, row.get(name), value)
        for row, other in zip(found, expected, strict=True)
        for name, value in other.items()
        if set(row) != set(other) or not same(row[name], value)
    ]
    assert wrong[:5] == []
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_geopandas_reads_each_format_and_its_crs(demo_server: Served, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    export(demo_server, "zones", path)
    frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    assert (len(frame), frame.crs.to_epsg(), set(frame.geom_type)) == (241, 4326, {"MultiPolygon"})


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_a_file_is_typed_and_indexed(demo_server: Served, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    export(demo_server, "districts", path)
    about = pyogrio.read_info(path)
    assert (about["layer_name"], about["geometry_type"]) == ("districts", "MultiPolygon")
    assert about["capabilities"]["fast_spatial_filter"]


def near(server: Served) -> list[Any]:
    center = geometry_pb2.Probe(point=LatLng(latitude=40.7128, longitude=-74.006))
    query = query_pb2.RadiusQuery(layer="facilities", center=center, radius_meters=20_000)
    return list(server.stub.SearchRadius(query_pb2.SearchRadiusRequest(query=query, page_size=1000)).features)


def meeting(server: Served, predicate: str) -> list[Any]:
    probe = geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=AREA))
    query = query_pb2.IntersectsQuery(layer="parcels", probe=probe, predicate=f"PREDICATE_{predicate}")
    return list(server.stub.SearchIntersects(query_pb2.SearchIntersectsRequest(query=query, page_size=1000)).features)


AREA = "POLYGON ((-74.02 40.7, -73.99 40.7, -73.99 40.72, -74.02 40.72, -74.02 40.7))"
QUESTIONS: dict[str, tuple[tuple[str, ...], Callable[[Served], list[Any]]]] = {
    "near": (("facilities", "--near", "-74.006,40.7128", "--radius", "20000"), near),
    "intersects": (("parcels", "--intersects", AREA), lambda server: meeting(server, "INTERSECTS")),
    "within": (("parcels", "--intersects", AREA, "--predicate", "within"), lambda server: meeting(server, "WITHIN")),
    "box": (("parcels", "--bbox", "-74.02,40.7,-73.99,40.72"), lambda server: meeting(server, "INTERSECTS")),
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("suffix", [".geojsonl", ".parquet"])
def test_a_question_is_answered_as_its_search_is(demo_server: Served, name: str, suffix: str, tmp_path: Path) -> None:
    (layer, *options), ask = QUESTIONS[name]
    path = tmp_path / f"file{suffix}"
    assert export(demo_server, layer, path, *options).returncode == 0
    expected, found = ask(demo_server), {row["id"]: row for row in contents(path)}
    assert len(expected) >= 5
    if name == "box":  # boxes meet at least where their geometries do
        assert {feature.id for feature in expected} <= set(found)
        return
    assert {feature.id for feature in expected} == set(found)
    for feature in expected:
        distance = found[feature.id].get("distance_meters")
        assert distance == (pytest.approx(feature.distance_meters) if name == "near" else None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_found_is_a_file_of_nothing(demo_server: Served, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    shown = export(demo_server, "facilities", path, "--near", "-123,-48", "--radius", "10")
    assert (shown.returncode, shown.stderr, shown.stdout) == (0, "", f"0 features in {path}\n")
    if suffix != ".geojsonl":
        frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
        assert {"id", "name", "tags", "distance_meters", "geometry"} <= set(frame.columns)
        assert (len(frame), frame.crs.to_epsg()) == (0, 4326)


def test_standard_output_is_the_file_that_would_have_been(demo_server: Served, tmp_path: Path) -> None:
    path = tmp_path / "file.geojsonl"
    export(demo_server, "zones", path)
    shown = export(demo_server, "zones", "-", run=spatial)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == path.read_text()


def test_nothing_on_standard_output_is_nothing(demo_server: Served) -> None:
    shown = export(demo_server, "facilities", "-", "--near", "-123,-48", "--radius", "10")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_who_has_read_enough_ends_it_quietly(busy: Serving, many: str) -> None:
    command = shlex.join([str(SPATIAL), "export", "facilities", "-", "--target", busy.address])
    shown = subprocess.run(
        f"{command} | head -1", shell=True, env=environment(), capture_output=True, text=True, timeout=20, check=True
    )
    assert shown.stderr == ""
    assert json.loads(shown.stdout)["properties"]["name"] == "Facility 1"
    eventually(quiet(many))


@pytest.mark.parametrize("existing", ["file", "link"])
def test_a_file_that_exists_is_replaced_only_if_asked(demo_server: Served, existing: str, tmp_path: Path) -> None:
    path = tmp_path / "file.gpkg"
    if existing == "file":
        path.write_text("old")
    else:
        path.symlink_to(tmp_path / "nowhere")
    shown = export(demo_server, "zones", path)
    assert (shown.returncode, shown.stderr) == (1, f"Error: {path} exists; --overwrite replaces it\n")
    assert existing == "link" or path.read_text() == "old"
    assert export(demo_server, "zones", path, "--overwrite").returncode == 0
    assert len(contents(path)) == 241


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("rivers", "file.gpkg"), 1, "Error: NOT_FOUND: name: no layer is called 'rivers'\n"),
        (("zones", "file.gpkg", "--properties", "colour"), 1, "INVALID_ARGUMENT: output.properties"),
        (("zones", "file.gpkg", "--near", "0,91", "--radius", "1"), 1, "query.center.point.latitude"),
        (("zones", "file.gpkg", "--intersects", "POINT (0"), 1, "query.probe.geometry"),
        (("zones", "nowhere/file.gpkg"), 1, "Error: there is no folder nowhere\n"),
        (("zones", "/dev/null", "--format", "gpkg", "--overwrite"), 1, "Error: /dev/null is not a file\n"),
        (("zones", "file.shp"), 2, "no format is known by the name of 'file.shp'"),
        (("zones", "-", "--format", "gpkg"), 2, "only geojsonseq can be written to standard output"),
        (("zones", "file.gpkg", "--near", "0,0"), 2, "--near goes with --radius"),
        (("zones", "file.gpkg", "--format", "dbf"), 2, "--format"),
        (("zones",), 2, "FILE|-"),
    ],
)
def test_what_cannot_be_exported_is_told_why(
    demo_server: Served,
    arguments: tuple[str, ...],
    code: int,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = export(demo_server, *arguments)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert complaint in shown.stderr
    assert code == 2 or shown.stderr.count("\n") == 1
    assert names(tmp_path) == []


def test_an_export_from_nobody_is_told_so_at_once(demo_database: str, tmp_path: Path) -> None:
    with proxied(demo_database, listening=False) as nobody:
        shown = invoked("export", "zones", str(tmp_path / "file.gpkg"), "--target", f"127.0.0.1:{nobody.port}")
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: UNAVAILABLE: ")
    assert names(tmp_path) == []


INTERRUPTED = (signal.SIGINT, 1, b"\nAborted!\n")
TERMINATED = (signal.SIGTERM, 143, b"")


@pytest.mark.parametrize(
    ("suffix", "number", "code", "said"),
    [*((suffix, *INTERRUPTED) for suffix in SUFFIXES), (".gpkg", *TERMINATED)],
)
def test_an_export_that_is_stopped_leaves_nothing_behind(
    busy: Serving, many: str, suffix: str, number: signal.Signals, code: int, said: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_text("old")
    with exporting(busy.address, "facilities", path, "--overwrite", stderr=subprocess.PIPE) as process:
        eventually(at_work(tmp_path), within=20)
        process.send_signal(number)
        assert process.wait(10) == code
        assert process.stderr
        assert process.stderr.read() == said
    assert (names(tmp_path), path.read_text()) == ([path.name], "old")
    eventually(quiet(many))


def test_an_export_of_a_layer_goes_on_where_it_was_when_the_server_is_back(many: str, tmp_path: Path) -> None:
    path = tmp_path / "file.gpkg"
    with spatial_serve(database_url=many) as first:
        address = first.address
        with exporting(address, "facilities", path, "--quiet") as process:
            eventually(at_work(tmp_path), within=20)
            first.process.kill()
            first.process.wait(10)
            assert not path.exists()
            with spatial_serve(database_url=many, listen=address):
                assert process.wait(60) == 0
    ids = pyogrio.read_arrow(path, columns=["id"], read_geometry=False)[1].column("id").to_pylist()
    assert ids == list(range(1, ROWS + 1))


def test_an_answer_that_is_cut_is_no_file(many: str, tmp_path: Path) -> None:
    path = tmp_path / "file.gpkg"
    with spatial_serve(database_url=many) as server:
        everywhere = ("--bbox", "-180,-90,180,90")
        with exporting(server.address, "facilities", path, *everywhere, stderr=subprocess.PIPE) as process:
            eventually(at_work(tmp_path), within=20)
            server.process.kill()
            assert process.wait(30) == 1
            assert process.stderr
            assert process.stderr.read().startswith(b"Error: UNAVAILABLE: ")
    assert names(tmp_path) == []


def on_a_terminal(address: str, *arguments: object) -> str:
    """What the command prints on a terminal."""
    ours, its = pty.openpty()
    with exporting(address, *arguments, stderr=its, stdout=subprocess.DEVNULL) as process:
        os.close(its)
        shown = b""
        try:
            while some := os.read(ours, 4096):
                shown += some
        except OSError:  # the terminal's other end is closed
            pass
        assert process.wait(20) == 0
    os.close(ours)
    return shown.decode()


def test_a_terminal_has_a_bar(busy: Serving, tmp_path: Path) -> None:
    shown = on_a_terminal(busy.address, "facilities", tmp_path / "file.parquet")
    assert re.search(r"facilities +\[#*-+\]", shown)
    assert re.search(r"\[#{24}\] +100% +100,000 features, [\d,]+ a second", shown)


def test_of_an_answer_nobody_knows_how_long_it_will_be(busy: Serving, tmp_path: Path) -> None:
    shown = on_a_terminal(busy.address, "facilities", tmp_path / "file.parquet", "--bbox", "0,-90,180,90")
    assert "99,999 features, " in shown
    assert "100%" not in shown.partition("99,999 features")[0]


@pytest.mark.parametrize("arguments", [("file.gpkg", "--quiet"), ("-",)])
def test_a_terminal_has_no_bar_if_asked_or_beside_the_features(
    demo_server: Served, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert on_a_terminal(demo_server.address, "zones", *arguments) == ""


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_memory_does_not_grow_with_what_is_exported(busy: Serving, suffix: str, tmp_path: Path) -> None:
    def peak(*arguments: object) -> tuple[int, int]:
        """Of the command, and of the server."""
        measured = f"import os, sys; os.execv({str(SPATIAL)!r}, ['spatial', *sys.argv[1:]])"
        command = [sys.executable, "-c", measured, "export", *map(str, arguments), "--target", busy.address]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss * 1024, _resident(busy.process.pid)

    little, before = peak("facilities", tmp_path / f"one{suffix}", "--bbox", "-91,0,-89,2")
    much, after = peak("facilities", tmp_path / f"all{suffix}")
    assert (tmp_path / f"all{suffix}").stat().st_size > 5 * (tmp_path / f"one{suffix}").stat().st_size
    assert much - little < 64 * MIB
    assert after - before < 64 * MIB


def _resident(pid: int) -> int:
    """The most that a process has had in memory."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024
