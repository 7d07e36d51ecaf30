"""`spatial load`: every format, into layers and into new tables."""

import gzip
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy
import psycopg2
import pytest
import shapely
from pyproj import Transformer

from tests.conftest import ROOT
from tests.loading import FILES, SOME_REJECTED, SQUARE, load, write
from tests.servers import serving
from tests.situations import fetch


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


@pytest.mark.parametrize("options", [(), ("--srid", "4326", "--source-srid", "4326")])
def test_points_of_a_new_table_are_kept_on_the_earth_and_found_through_the_plane(
    plain: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "places.csv"
    path.write_text("wkt,n\nPOINT (180 -90),1\nPOINT (200 0),2\nPOINT (0 -91),3\n,4\n")
    ended = load(plain, path, "places", "--create", "--key", "n", "--wkt", "wkt", *options)

    assert ended.returncode == SOME_REJECTED
    assert "row 1 (2): COORDINATE_OUT_OF_RANGE" in ended.stderr
    assert "row 2 (3): COORDINATE_OUT_OF_RANGE" in ended.stderr
    assert fetch(plain, "SELECT n FROM places ORDER BY 1") == [(1,), (4,)]
    with pytest.raises(psycopg2.errors.CheckViolation):
        fetch(plain, "INSERT INTO places (geom) VALUES ('SRID=4326;POINT (190 0)')")
    with serving(plain, layers="public.places") as served:
        assert served.server.catalog["places"].boxable


def test_points_in_the_plane_of_another_crs_may_lie_anywhere(plain: str, tmp_path: Path) -> None:
    rows = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(500_000, 5_000_000)], crs=32618)

    assert load(plain, write(tmp_path, "places.gpkg", rows), "places", "--create").returncode == 0


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
