"""`spatial load` of what cannot be kept: what is rejected, what is repaired, and what is left behind."""

import json
from pathlib import Path

import geopandas
import pytest
import shapely

from tests.loading import BOWTIE, FAILED, SOME_REJECTED, load, run, write
from tests.servers import serving
from tests.situations import fetch


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
