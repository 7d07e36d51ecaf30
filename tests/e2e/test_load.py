"""`spatial load`: every format, into layers and new tables, and how it ends."""

import gzip
import json
import os
import pty
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely
from click.testing import CliRunner
from pyproj import Transformer

from service.catalog import Catalog, shipped_layers
from service.cli.load import load as spatial_load
from tests.clusters import POSTGIS
from tests.conftest import ROOT, NewDatabase
from tests.consoles import steps
from tests.processes import SPATIAL, environment, spatial
from tests.servers import serving
from tests.situations import eventually, fetch

SOME_REJECTED, FAILED = 1, 2
BOWTIE = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
SQUARE = shapely.box(0, 0, 1, 1)
FILES = {
    "parcels.gpkg": "GPKG",
    "parcels.shp": "ESRI Shapefile",
    "parcels.geojson": "GeoJSON",
    "parcels.geojsonl": "GeoJSONSeq",
    "parcels.fgb": "FlatGeobuf",
    "parcels.parquet": "",
}


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(url: str, *arguments: str) -> Ended:
    """The command in this process, which spares each test the start of another."""
    result = CliRunner().invoke(spatial_load, arguments, env={"SPATIAL_DATABASE_URL": url})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def load(url: str, path: Path, layer: str, *arguments: str) -> Ended:
    return run(url, str(path), "--layer", layer, *arguments)


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> geopandas.GeoDataFrame:
    """The demo's, with their districts left out."""
    path = tmp_path_factory.mktemp("demo") / "parcels.csv"
    path.write_bytes(gzip.decompress((ROOT / "demo/parcels.csv.gz").read_bytes()))
    table = pyogrio.read_dataframe(path, read_geometry=False)
    shapes = shapely.from_wkt(table.pop("boundary").str.removeprefix("SRID=4326;"))
    return geopandas.GeoDataFrame(
        {
            "PARCEL_ID": table["id"].astype("int64"),
            "number": table["number"],
            "name": table["name"],
            "area": shapely.area(shapes),
        },
        geometry=shapes,
        crs=4326,
    )


def write(folder: Path, name: str, rows: geopandas.GeoDataFrame) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    else:
        pyogrio.write_dataframe(rows, path, driver=FILES.get(name) or "GPKG")
    return path


@pytest.fixture
def plain(new_database: NewDatabase) -> Iterator[str]:
    """A database with PostGIS and nothing else."""
    with new_database(template=POSTGIS) as url:
        yield url


def columns(url: str, table: str) -> dict[str, str]:
    return dict(
        fetch(
            url,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            f" WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum",
        )
    )


def indexes(url: str, table: str) -> list[str]:
    return [name for (name,) in fetch(url, f"SELECT indexname FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1")]


@pytest.mark.parametrize("name", FILES)
def test_a_file_makes_a_table_of_what_is_in_it(
    plain: str, tmp_path: Path, parcels: geopandas.GeoDataFrame, name: str
) -> None:
    ended = load(plain, write(tmp_path, name, parcels), "land", "--create", "--key", "PARCEL_ID")

    assert (ended.returncode, ended.stdout) == (0, f"{name} -> land: {len(parcels)} inserted\n"), ended.stderr
    assert columns(plain, "land") == {
        "parcel_id": "bigint",
        "number": "text",
        "name": "text",
        "area": "double precision",
        "geom": "geometry(MultiPolygon,4326)" if name == "parcels.shp" else "geometry(Polygon,4326)",
    }
    rows = fetch(plain, "SELECT parcel_id, number, name, area, ST_AsBinary(ST_GeometryN(geom, 1)) FROM land ORDER BY 1")
    for row, parcel in zip(rows, parcels.sort_values("PARCEL_ID").itertuples(index=False), strict=True):
        assert row[:3] == tuple(parcel)[:3]
        assert row[3] == pytest.approx(parcel.area, rel=1e-12)
        assert shapely.equals_exact(
            shapely.normalize(shapely.from_wkb(bytes(row[4]))), shapely.normalize(parcel.geometry)
        )


def test_a_new_table_has_indexes_statistics_and_a_key_that_goes_on(plain: str, tmp_path: Path) -> None:
    places = geopandas.GeoDataFrame(
        {"n": range(1, 2001)}, geometry=shapely.points([[n / 100, n / 100] for n in range(2000)]), crs=4326
    )
    load(plain, write(tmp_path, "places.gpkg", places), "places", "--create", "--key", "n")

    assert indexes(plain, "places") == ["ix_places_geom_geography_gist", "ix_places_geom_gist", "pk_places"]
    questions = {
        "ix_places_geom_gist": "geom && ST_MakeEnvelope(1, 1, 1.1, 1.1, 4326)",
        "ix_places_geom_geography_gist": "ST_DWithin(geography(geom), geography(ST_Point(1, 1, 4326)), 1000)",
    }
    for index, condition in questions.items():
        plan = "\n".join(line for (line,) in fetch(plain, f"EXPLAIN SELECT FROM places WHERE {condition}"))
        assert index in plan
    assert fetch(plain, "SELECT reltuples FROM pg_class WHERE relname = 'places'") == [(2000,)]
    assert fetch(plain, "INSERT INTO places (geom) SELECT geom FROM places LIMIT 1 RETURNING n") == [(2001,)]


@pytest.mark.parametrize("epsg", [32618, 2263], ids=["UTM", "feet"])
def test_another_crs_is_transformed_as_proj_does(
    plain: str, tmp_path: Path, parcels: geopandas.GeoDataFrame, epsg: int
) -> None:
    parcels = parcels[shapely.get_num_coordinates(parcels.geometry) < 300].head(60)
    moved = parcels.to_crs(epsg)
    ended = load(plain, write(tmp_path, "parcels.shp", moved), "land", "--create", "--srid", "4326")

    assert ended.returncode == 0, ended.stderr
    transformer = Transformer.from_crs(epsg, 4326, always_xy=True)
    xs, ys = transformer.transform(*shapely.get_coordinates(moved.geometry.to_numpy()).T)
    expected = shapely.set_coordinates(moved.geometry.to_numpy().copy(), numpy.column_stack([xs, ys]))
    rows = fetch(plain, "SELECT number, ST_AsBinary(ST_GeometryN(geom, 1)), ST_SRID(geom) FROM land")
    places = dict(zip(parcels["number"], expected, strict=True))
    for number, wkb, srid in rows:
        distance = shapely.hausdorff_distance(shapely.from_wkb(bytes(wkb)), places[number])
        assert srid == 4326
        assert distance < 1e-9
    assert len(rows) == len(parcels)


def test_a_crs_that_has_no_code_is_transformed_as_well(plain: str, tmp_path: Path) -> None:
    crs = "+proj=tmerc +lat_0=40 +lon_0=-74 +k=1 +x_0=1000 +y_0=2000 +ellps=WGS84 +units=us-ft"
    rows = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(-74.01, 40.7)], crs=4326).to_crs(crs)
    path = write(tmp_path, "places.gpkg", rows)

    assert "has no EPSG code: say with --srid" in load(plain, path, "places", "--create").stderr
    assert load(plain, path, "places", "--create", "--srid", "4326").returncode == 0
    ((x, y),) = fetch(plain, "SELECT ST_X(geom), ST_Y(geom) FROM places")
    assert (x, y) == pytest.approx((-74.01, 40.7), abs=1e-9)


def test_types_of_geojson_become_those_of_postgresql(plain: str, tmp_path: Path) -> None:
    properties = {
        "tags": ["a", "b c"],
        "about": {"x": 1},
        "t": "2024-05-06T07:08:09+02:00",
        "d": "2024-05-06",
        "ok": True,
    }
    features = [
        {"type": "Feature", "id": 7, "properties": properties, "geometry": shapely.geometry.mapping(place)}
        for place in (shapely.Point(1, 2), SQUARE)
    ]
    path = tmp_path / "mixed.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps({"type": "FeatureCollection", "features": features[:1]}).encode()))
    ended = load(plain, path, "mixed", "--create", "--key", "id")

    assert ended.returncode == 0, ended.stderr
    assert columns(plain, "mixed") == {
        "id": "bigint",
        "tags": "text[]",
        "about": "jsonb",
        "t": "timestamp with time zone",
        "d": "date",
        "ok": "boolean",
        "geom": "geometry(Point,4326)",
    }
    ((key, tags, about, moment, day, okay),) = fetch(plain, "SELECT id, tags, about, t::text, d::text, ok FROM mixed")
    assert (key, tags, about, day, okay) == (7, ["a", "b c"], {"x": 1}, "2024-05-06", True)
    assert moment.startswith(("2024-05-06 05:08:09", "2024-05-06 07:08:09+02"))


def test_csv_of_the_demo_is_loaded_into_its_layer_as_it_is(database: str) -> None:
    path = ROOT / "demo/facilities.csv.gz"
    ended = load(database, path, "facilities")

    assert (ended.returncode, ended.stdout) == (0, "facilities.csv.gz -> facilities: 16,081 inserted\n"), ended.stderr
    kept = "name, kind, country, population, location, tags, active, attributes"
    fetch(database, f"CREATE TABLE copied (id bigint, {_declared(kept)})")
    _copy(database, path)
    differing = f"SELECT id, {kept} FROM facilities EXCEPT SELECT id, {kept} FROM copied"
    assert fetch(database, differing) == []
    assert fetch(database, "SELECT count(*) FROM facilities") == [(16_081,)]


def _declared(names: str) -> str:
    types = {
        "population": "bigint",
        "location": "geometry",
        "tags": "text[]",
        "active": "boolean",
        "attributes": "jsonb",
    }
    return ", ".join(f"{name} {types.get(name, 'text')}" for name in names.split(", "))


def _copy(url: str, path: Path) -> None:
    import psycopg2

    with gzip.open(path, "rt") as file, psycopg2.connect(url) as connection, connection.cursor() as cursor:
        header = file.readline().strip()
        cursor.copy_expert(f"COPY copied ({header}) FROM STDIN WITH (FORMAT csv)", file)
    connection.close()


def test_the_same_upserted_twice_is_the_same_table(database: str, tmp_path: Path, parcels: Any) -> None:
    fetch(database, "INSERT INTO districts (name, boundary) VALUES ('one', ST_Multi(ST_MakeEnvelope(0,0,1,1,4326)))")
    land = parcels.assign(DISTRICT=1, use="park").drop(columns="PARCEL_ID").head(40)
    path = write(tmp_path, "parcels.gpkg", land)
    arguments = ["--mode", "upsert", "--match", "number", "--map", "DISTRICT=district_id", "--map", "use=land_use"]
    everything = "SELECT number, name, land_use, ST_AsBinary(boundary) FROM parcels ORDER BY number"

    first = load(database, path, "parcels", *arguments)
    once = fetch(database, everything)
    again = load(database, path, "parcels", *arguments)

    assert (first.stdout, again.stdout) == (
        "parcels.gpkg -> parcels: 40 inserted\n",
        "parcels.gpkg -> parcels: 40 updated\n",
    ), first.stderr + again.stderr
    assert len(once) == 40
    assert fetch(database, everything) == once


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """Four rows, of which the third can be loaded."""
    rows = geopandas.GeoDataFrame(
        {
            "code": ["A", "B", "C", None],
            "name": ["bow", "dot", "square", "none"],
            "message": ["m"] * 4,
            "category": "x",
        },
        geometry=[BOWTIE, shapely.Point(1, 2), SQUARE, SQUARE],
        crs=4326,
    ).to_crs(3857)
    return write(tmp_path, "wrong.gpkg", rows)


def test_what_is_rejected_is_said_and_can_be_opened(database: str, tmp_path: Path, wrong: Path) -> None:
    report = tmp_path / "rejected.geojson"
    ended = load(database, wrong, "zones", "--rejected", str(report))

    assert (ended.returncode, ended.stdout) == (SOME_REJECTED, "wrong.gpkg -> zones: 1 inserted, 3 rejected\n"), (
        ended.stderr
    )
    assert "row 0: INVALID_GEOMETRY: geometry: " in ended.stderr
    assert fetch(database, "SELECT code FROM zones") == [("C",)]
    rejected = geopandas.read_file(report)
    assert rejected.crs == 4326
    assert rejected[["row", "reason", "field", "name", "source_message"]].to_numpy().tolist() == [
        [0, "INVALID_GEOMETRY", "geometry", "bow", "m"],
        [1, "GEOMETRY_TYPE_MISMATCH", "geometry", "dot", "m"],
        [3, "REQUIRED", "properties.code", "none", "m"],
    ]
    assert shapely.equals_exact(rejected.geometry[0], BOWTIE, tolerance=1e-9)
    assert shapely.distance(shapely.from_wkt(rejected["location"][0]), shapely.Point(0.5, 0.5)) < 1e-4


def test_what_is_invalid_is_repaired_if_that_is_asked_for(database: str, wrong: Path) -> None:
    ended = load(database, wrong, "zones", "--repair")

    assert ended.stdout == "wrong.gpkg -> zones: 2 inserted, 2 rejected\n"
    assert fetch(database, "SELECT code, ST_IsValid(boundary) FROM zones ORDER BY 1") == [("A", True), ("C", True)]


def test_texts_that_are_no_values_are_rejected(database: str, tmp_path: Path) -> None:
    path, report = tmp_path / "p.csv", tmp_path / "r.geojson"
    path.write_text("lon,lat,name,kind,population\n1,2,a,k,x\n1,2,b,k,5\n1,x,c,k,5\n200,2,d,k,5\n")
    ended = load(database, path, "facilities", "--rejected", str(report))

    assert ended.returncode == SOME_REJECTED
    assert fetch(database, "SELECT name, population FROM facilities") == [("b", 5)]
    features = json.loads(report.read_text())["features"]
    assert [(each["properties"]["row"], each["properties"]["reason"], each["geometry"]) for each in features] == [
        (0, "INVALID_PROPERTY_VALUE", {"type": "Point", "coordinates": [1.0, 2.0]}),
        (2, "INVALID_ENCODING", None),
        (3, "COORDINATE_OUT_OF_RANGE", {"type": "Point", "coordinates": [200.0, 2.0]}),
    ]
    assert features[0]["properties"]["message"] == "'x' is not an integer"


def test_a_dry_run_says_what_would_be_and_changes_nothing(database: str, wrong: Path) -> None:
    ended = load(database, wrong, "zones", "--dry-run")

    assert ended.returncode == SOME_REJECTED
    assert ended.stdout == "wrong.gpkg -> zones: a dry run, nothing was kept: 1 inserted, 3 rejected\n"
    assert fetch(database, "SELECT count(*) FROM zones") == [(0,)]


def test_a_dry_run_makes_no_table(plain: str, wrong: Path) -> None:
    ended = load(plain, wrong, "new", "--create", "--dry-run")

    assert (ended.returncode, ended.stdout) == (
        SOME_REJECTED,
        "wrong.gpkg -> new: a dry run, nothing was kept: 3 inserted, 1 rejected\n",
    ), ended.stderr
    assert fetch(plain, "SELECT to_regclass('new')") == [(None,)]


@pytest.mark.parametrize(("keep", "left"), [([], None), (["--keep"], "new")], ids=["", "unless told to"])
def test_a_table_that_could_not_be_filled_is_not_left_behind(
    plain: str, tmp_path: Path, keep: list[str], left: str | None
) -> None:
    rows = geopandas.GeoDataFrame({"a": [1]}, geometry=[BOWTIE], crs=4326)
    ended = load(plain, write(tmp_path, "wrong.gpkg", rows), "new", "--create", *keep)

    assert ended.returncode == FAILED
    assert "Error: every row was rejected, the first one since row 0: INVALID_GEOMETRY" in ended.stderr
    assert fetch(plain, "SELECT to_regclass('new')::text") == [(left,)]


def test_a_load_that_is_interrupted_leaves_no_new_table(plain: str, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("lon,lat,n\n" + "".join(f"{n % 180},{n % 90},{n}\n" for n in range(300_000)))
    command = [str(SPATIAL), "load", str(path), "--layer", "many", "--create"]
    with subprocess.Popen(command, env=environment(database_url=plain), stderr=subprocess.PIPE) as process:
        eventually(lambda: fetch(plain, "SELECT to_regclass('many')") == [("many",)], within=30)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert fetch(plain, "SELECT to_regclass('many')") == [(None,)]


def test_a_terminal_sees_how_far_it_is(plain: str, tmp_path: Path, parcels: Any) -> None:
    path = write(tmp_path, "parcels.gpkg", parcels)
    ours, theirs = pty.openpty()
    command = [str(SPATIAL), "load", str(path), "--layer", "land", "--create"]
    with subprocess.Popen(
        command, env=environment(database_url=plain), stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"100%" in shown
    assert b"353 of 353 rows" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody writes to it any more
        return b""


def test_a_running_server_takes_the_same_rows(database: str, tmp_path: Path, wrong: Path) -> None:
    report = tmp_path / "rejected.geojson"
    with serving(database) as served:
        ended = run("", str(wrong), "--layer", "zones", "--target", served.address, "--rejected", str(report))
        again = run(
            "", str(wrong), "--layer", "zones", "--target", served.address, "--mode", "upsert", "--match", "code"
        )
        refused = run("", str(wrong), "--layer", "zone_centroids", "--target", served.address)

    assert (ended.returncode, ended.stdout) == (SOME_REJECTED, "wrong.gpkg -> zones: 1 inserted, 3 rejected\n"), ended
    assert again.stdout == "wrong.gpkg -> zones: 1 updated, 3 rejected\n"
    assert fetch(database, "SELECT code, round(ST_Area(boundary)::numeric, 6) FROM zones") == [("C", 1)]
    rejected = geopandas.read_file(report)
    assert rejected[["row", "reason", "field"]].to_numpy().tolist() == [
        [0, "INVALID_GEOMETRY", "geometry"],
        [1, "GEOMETRY_TYPE_MISMATCH", "geometry"],
        [3, "REQUIRED", "properties.code"],
    ]
    assert (refused.returncode, refused.stderr) == (
        FAILED,
        "Error: layer 'zone_centroids' takes no rows: the server has it read only\n",
    )


def test_what_only_the_loader_sees_is_rejected_through_a_server_as_well(database: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("lon,lat,name,kind,population,active\n1,2,a,k,x,t\n1,2,b,k,5,true\n1,x,c,k,5,f\n")
    with serving(database) as served:
        ended = run("", str(path), "--layer", "facilities", "--target", served.address)

    assert ended.stdout == "p.csv -> facilities: 1 inserted, 2 rejected\n"
    assert "row 0: INVALID_PROPERTY_VALUE: properties.population: " in ended.stderr
    assert "row 2: INVALID_ENCODING: geometry: 'x' in 'lat' is no number" in ended.stderr
    assert fetch(database, "SELECT name, population, active FROM facilities") == [("b", 5, True)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.gpkg", "--layer", "zones"], "Error: there is no file nowhere.gpkg"),
        (
            ["FILE", "--layer", "nothing"],
            "'nothing' cannot be loaded into: there is no such table or view with a geometry column; --create makes a",
        ),
        (["FILE", "--layer", "zone_centroids"], "takes no rows"),
        (["FILE", "--layer", "zones", "--create"], 'the table cannot be made: relation "zones" already exists'),
        (["FILE", "--layer", "a.b.c", "--create"], "neither a table nor schema.table"),
        (["FILE", "--layer", "zones", "--map", "name"], "say source=property"),
        (["FILE", "--layer", "zones", "--match", "code"], "--match goes with --mode upsert"),
        (["FILE", "--layer", "zones", "--embedded", "x", "--target", "y"], "--embedded is a database"),
        (["FILE", "--layer", "zones", "--srid", "4326"], "--srid goes with --create"),
        (["FILE", "--layer", "new", "--create", "--mode", "upsert"], "there is nothing to upsert"),
    ],
)
def test_a_load_that_cannot_be_fails_and_says_why(
    module_database: str, wrong: Path, arguments: list[str], complaint: str
) -> None:
    named = [str(wrong) if argument == "FILE" else argument for argument in arguments]
    ended = run(module_database, *named)

    assert (ended.returncode, ended.stdout) == (FAILED, "")
    assert complaint in ended.stderr


def test_a_database_that_is_away_is_said(wrong: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    ended = spatial("load", str(wrong), "--layer", "zones", database_url=away)

    assert ended.returncode == FAILED
    assert "Error: the database: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_layers_that_ship_are_those_that_can_be_loaded_into() -> None:
    assert [layer.name for layer in Catalog(shipped_layers()) if not layer.writable] == ["zone_centroids"]


def test_the_document_shows_what_happens(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    for step in steps((ROOT / "docs/loading.md").read_text()):
        printed = typed(database, step.command)
        assert step.is_answered_by(printed), f"{step.command}\nprinted instead:\n{printed}"


def typed(url: str, command: str) -> str:
    """What a shell prints; `spatial load` without the start of a process."""
    program, *words = shlex.split(command)
    if (program, words[0]) == ("spatial", "load"):
        return CliRunner().invoke(spatial_load, words[1:], env={"SPATIAL_DATABASE_URL": url}).output
    ended = subprocess.run(
        ["bash", "-c", command],
        env=environment(database_url=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout
