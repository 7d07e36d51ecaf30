"""Files of every format, as rows: what is in them, in which CRS, and where they cannot be read."""

import gzip
import json
import struct
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely
from geopandas import GeoDataFrame
from pyproj import CRS

from service.loading.errors import LoadError
from service.loading.files import open_source
from service.loading.shapes import common_type, types_of
from service.loading.source import Batch, Fault, Source, Wanted
from service.loading.survey import surveyed
from service.loading.systems import system_of, transformed

FORMATS = {
    "roads.gpkg": "GPKG",
    "roads.shp": "ESRI Shapefile",
    "roads.geojson": "GeoJSON",
    "roads.geojsonl": "GeoJSONSeq",
    "roads.fgb": "FlatGeobuf",
}
PLACES = [shapely.Point(-74.006, 40.7128), shapely.Point(-73.9, 40.7), None]
NAMES = ["Broadway", "Fünfte", None]
LENGTHS = [3, 2**31, None]
MOMENT = datetime(2024, 5, 6, 7, 8, 9, 250_000, tzinfo=UTC)


def frame(*, crs: Any = 4326, places: Any = PLACES) -> GeoDataFrame:
    columns = {"name": NAMES, "length": pyarrow_column(LENGTHS), "width": [1.5, 0.1, 7.0]}
    return GeoDataFrame(columns, geometry=places, crs=crs)


def pyarrow_column(values: list[int | None]) -> Any:
    return pyarrow.array(values).to_pandas(integer_object_nulls=True).astype("Int64")


def write(folder: Path, name: str, rows: GeoDataFrame | None = None) -> Path:
    path = folder / name
    pyogrio.write_dataframe(frame() if rows is None else rows, path, driver=FORMATS[name])
    return path


def text(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    content = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def whole(source: Source) -> Batch:
    batches = [*source.batches()]
    columns = {name: pyarrow.concat_arrays([batch.columns[name] for batch in batches]) for name in source.columns}
    return Batch(columns, [wkb for batch in batches for wkb in batch.geometries or []], batches[0].faults)


def rows(source: Source) -> list[tuple[Any, ...]]:
    batch = whole(source)
    places = [shapely.from_wkb(wkb or None) for wkb in batch.geometries or []]
    return [*zip(places, *(column.to_pylist() for column in batch.columns.values()), strict=True)]


def wkt(source: Source) -> list[str | None]:
    return [place and place.wkt for place, *_ in rows(source)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "roads.fgb"])
def test_a_file_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    source = open_source(write(tmp_path, name), Wanted())

    assert (source.name, source.geometry, source.rows) == ("roads", "POINT", 3)
    assert source.system is not None
    assert source.system.srid == 4326
    assert rows(source) == [*zip(PLACES, NAMES, LENGTHS, [1.5, 0.1, 7.0], strict=True)]


def test_flatgeobuf_is_read_in_its_own_order(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, "roads.fgb", frame().dropna(subset="geometry")), Wanted())

    assert sorted(row[1] for row in rows(source)) == NAMES[:2]


def test_geoparquet_is_read_with_its_crs(tmp_path: Path) -> None:
    frame(crs=2263).to_parquet(tmp_path / "roads.parquet")
    source = open_source(tmp_path / "roads.parquet", Wanted())

    assert (source.geometry, source.rows, source.system and source.system.srid) == ("POINT", 3, 2263)
    assert rows(source) == [*zip(PLACES, NAMES, LENGTHS, [1.5, 0.1, 7.0], strict=True)]


def test_geoparquet_of_old_says_its_crs_by_leaving_it_out(tmp_path: Path) -> None:
    geo = {"primary_column": "shape", "columns": {"shape": {"encoding": "WKB", "geometry_types": []}}}
    table = pyarrow.table({"a": [1], "shape": [shapely.Point(1, 2).wkb]})
    parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "old.parquet")
    source = open_source(tmp_path / "old.parquet", Wanted())

    assert source.system is not None
    assert (source.system.srid, source.geometry) == (4326, "")


@pytest.mark.parametrize("several", ["roads.shp", "roads.geojson"])
def test_an_archive_is_read_as_what_is_in_it(tmp_path: Path, several: str) -> None:
    write(tmp_path, several)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in tmp_path.glob("roads.*"):
            archive.write(path, path.name)

    assert [row[1] for row in rows(open_source(tmp_path / "all.zip", Wanted()))] == NAMES


def test_a_compressed_sequence_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "roads.geojsonl")
    (tmp_path / "roads.geojsonl.gz").write_bytes(gzip.compress(path.read_bytes()))

    assert [row[1] for row in rows(open_source(tmp_path / "roads.geojsonl.gz", Wanted()))] == NAMES


def test_one_of_several_layers_is_chosen(tmp_path: Path) -> None:
    for layer in ("roads", "rails"):
        pyogrio.write_dataframe(frame(), tmp_path / "net.gpkg", layer=layer, driver="GPKG")

    assert open_source(tmp_path / "net.gpkg", Wanted(layer="rails")).name == "rails"
    with pytest.raises(LoadError, match="2 layers: choose one with --source-layer: roads, rails"):
        open_source(tmp_path / "net.gpkg", Wanted())
    with pytest.raises(LoadError, match="no layer 'streets', but roads, rails"):
        open_source(tmp_path / "net.gpkg", Wanted(layer="streets"))


def test_the_ids_of_features_are_a_column_if_they_are_to_be_keys(tmp_path: Path) -> None:
    lines = [json.dumps({"type": "Feature", "id": n, "properties": {"a": "b"}, "geometry": None}) for n in (7, 9)]
    path = text(tmp_path, "ids.geojsonl", *lines)

    assert whole(open_source(path, Wanted(key="id"))).columns["id"].to_pylist() == [7, 9]
    assert [*open_source(path, Wanted()).columns] == ["a"]
    packed = write(tmp_path, "roads.gpkg")
    assert whole(open_source(packed, Wanted(key="fid"))).columns["fid"].to_pylist() == [1, 2, 3]


def test_times_keep_their_zones(tmp_path: Path) -> None:
    lines = ['"2024-05-06T07:08:09.250+02:00"', '"2024-05-06T07:08:09Z"']
    feature = '{"type": "Feature", "properties": {"t": %s}, "geometry": null}'
    source = open_source(text(tmp_path, "t.geojsonl", *(feature % line for line in lines)), Wanted())

    assert source.columns["t"] == pyarrow.timestamp("ms", "UTC")
    assert whole(source).columns["t"].to_pylist() == ["2024-05-06T07:08:09.250+02:00", "2024-05-06T07:08:09Z"]


def test_times_of_a_format_that_declares_no_zones_have_those_that_they_are_written_with(tmp_path: Path) -> None:
    rows = GeoDataFrame({"t": [MOMENT]}, geometry=PLACES[:1], crs=4326)

    assert open_source(write(tmp_path, "roads.fgb", rows), Wanted()).columns["t"] == pyarrow.timestamp("ms", "UTC")


@pytest.mark.parametrize(
    ("places", "geometry"),
    [
        ([shapely.Polygon([(0, 0), (1, 0), (1, 1)])] * 3, "MULTIPOLYGON"),
        ([shapely.LineString([(0, 0), (1, 0)])] * 3, "MULTILINESTRING"),
        ([shapely.Point(0, 0, 1)] * 3, "POINTZ"),
    ],
)
def test_a_shapefile_may_have_several_where_it_declares_one(tmp_path: Path, places: Any, geometry: str) -> None:
    assert open_source(write(tmp_path, "roads.shp", frame(places=places)), Wanted()).geometry == geometry


# CSV


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("lon,lat,name", Wanted()),
        ("Longitude;LATITUDE;name", Wanted()),
        ("lng\tlat\tname", Wanted()),
        ("x|y|name", Wanted(longitude="x", latitude="y")),
    ],
)
def test_coordinates_of_csv_are_points(tmp_path: Path, header: str, wanted: Wanted) -> None:
    separator = header[-5]
    line = separator.join(["13.405", " 52.52 ", '"a\nb"'])
    source = open_source(text(tmp_path, "p.csv", header, line), wanted)

    assert (source.geometry, source.system and source.system.srid) == ("POINT", 4326)
    assert rows(source) == [(shapely.Point(13.405, 52.52), "a\nb")]


def test_rows_of_csv_without_coordinates_have_no_geometry_and_those_with_wrong_ones_are_at_fault(
    tmp_path: Path,
) -> None:
    lines = ["lon,lat,n", ",,1", "x,2,2", "1,,3", "1,2e0,4", "1,2,"]
    batch = whole(open_source(text(tmp_path, "p.csv", *lines), Wanted()))

    assert batch.faults == {
        1: Fault("INVALID_ENCODING", "'x' in 'lon' is no number", "geometry"),
        2: Fault("INVALID_ENCODING", "None in 'lat' is no number", "geometry"),
    }
    assert batch.geometries is not None
    assert [bool(wkb) for wkb in batch.geometries] == [False, False, False, True, True]
    assert batch.columns["n"].to_pylist() == ["1", "2", "3", "4", None]


def test_an_empty_text_of_csv_is_null_unless_it_is_quoted(tmp_path: Path) -> None:
    source = open_source(text(tmp_path, "p.csv", "lon,lat,n,m", '1,2,,""'), Wanted())

    assert [column.to_pylist() for column in whole(source).columns.values()] == [[None], [""]]


@pytest.mark.parametrize(
    ("lines", "srid", "shapes"),
    [
        (
            ["n,wkt", 'a,"POINT (1 2)"', 'b,"LINESTRING Z (0 0 1, 1 1 2)"'],
            4326,
            ["POINT (1 2)", "LINESTRING Z (0 0 1, 1 1 2)"],
        ),
        (["n,where", 'a,"SRID=2263; POINT (1 2)"', "b,"], 2263, ["POINT (1 2)", None]),
    ],
    ids=["WKT", "EWKT"],
)
def test_wkt_of_csv_is_found_by_what_it_is(tmp_path: Path, lines: list[str], srid: int, shapes: list[str]) -> None:
    source = open_source(text(tmp_path, "w.csv.gz", *lines), Wanted())

    assert (source.name, source.system and source.system.srid) == ("w", srid)
    assert wkt(source) == shapes
    assert [*source.columns] == ["n"]


def test_wkt_that_says_another_srid_keeps_it(tmp_path: Path) -> None:
    source = open_source(text(tmp_path, "w.csv", "wkt", "SRID=4326;POINT(1 2)", "SRID=2263;POINT(3 4)"), Wanted())
    first, second = whole(source).geometries or []

    assert first == shapely.to_wkb(shapely.Point(1, 2), byte_order=1)
    assert second == struct.pack("<BIIdd", 1, 0x20000001, 2263, 3, 4)


def test_what_is_no_wkt_is_at_fault(tmp_path: Path) -> None:
    batch = whole(open_source(text(tmp_path, "w.csv", "wkt,n", '"POINT (1 2)",1', '"POINT (1",2'), Wanted()))

    assert [*batch.faults] == [1]
    assert batch.faults[1].reason == "INVALID_ENCODING"
    assert batch.faults[1].message.startswith("not WKT: ParseException: Expected number")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", ""], pyarrow.int64()),
        (["1", "2.5", "1e5"], pyarrow.float64()),
        (["01", "02"], pyarrow.string()),
        (["9999999999999999999"], pyarrow.string()),
        (["true", "False"], pyarrow.bool_()),
        (["2024-02-29"], pyarrow.date32()),
        (["2024-02-29 10:11", "2024-02-29T10:11:12.5"], pyarrow.timestamp("us")),
        (["2024-02-29T10:11:12Z", "2024-02-29 10:11:12+02"], pyarrow.timestamp("us", "UTC")),
        (["1", "a"], pyarrow.string()),
        (["", ""], pyarrow.string()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_the_types_of_csv_are_what_all_values_are(tmp_path: Path, values: list[str], kind: Any) -> None:
    lines = ["lon,lat,v", *(f"1,2,{value}" for value in values)]

    assert surveyed(open_source(text(tmp_path, "p.csv", *lines), Wanted())).columns == {"v": kind}


# Shapes and systems


@pytest.mark.parametrize(
    ("names", "common"),
    [
        ([], ""),
        (["POINT"], "POINT"),
        (["POLYGON", "MULTIPOLYGON"], "MULTIPOLYGON"),
        (["POINT", "POLYGON"], "GEOMETRY"),
        (["LINESTRINGZ"], "LINESTRINGZ"),
        (["POINT", "MULTIPOINTZ", "POINTM"], "MULTIPOINTZM"),
    ],
)
def test_a_column_takes_all_types(names: list[str], common: str) -> None:
    assert common_type(names) == common


def test_types_are_read_from_wkb_of_any_kind() -> None:
    line = shapely.LineString([(0, 0, 1), (1, 1, 2)])
    wkbs = [
        line.wkb,
        shapely.to_wkb(line, flavor="iso", byte_order=0),
        b"",
        b"\x01\x00",
        b"\x05abcd",
        b"\x01\xff\xff\xff\xff",
    ]

    assert types_of(wkbs) == {"LINESTRINGZ"}


@pytest.mark.parametrize(
    ("definition", "srid"),
    [
        ("EPSG:2263", 2263),
        ("OGC:CRS84", 4326),
        (CRS.from_epsg(32618).to_wkt("WKT1_ESRI"), 32618),
        ("+proj=tmerc +lat_0=1 +lon_0=2 +ellps=bessel", None),
    ],
    ids=["code", "longitudes first", "of a Shapefile", "nobody's"],
)
def test_a_crs_has_the_code_of_what_is_the_same(definition: str, srid: int | None) -> None:
    assert system_of(definition).srid == srid


def test_a_crs_without_a_code_is_transformed_by_proj_and_heights_stay() -> None:
    system = system_of("+proj=utm +zone=33 +ellps=bessel +towgs84=0,0,0")
    moved, nothing = transformed([shapely.Point(500_000, 5_000_000, 7).wkb, b""], system, 4326)

    assert shapely.get_coordinates(shapely.from_wkb(moved), include_z=True)[0] == pytest.approx(
        [15, 45.15, 7], abs=0.01
    )
    assert nothing == b""


# Complaints


@pytest.mark.parametrize(
    ("name", "content", "wanted", "complaint"),
    [
        ("nothing.gpkg", None, Wanted(), "there is no file"),
        ("a.gpkg", "no database", Wanted(), "cannot be read"),
        ("a.parquet", "no parquet", Wanted(), "cannot be read"),
        ("a.csv", "", Wanted(), "needs a first line"),
        ("a.csv", "a,a\n1,2\n", Wanted(), "a name of its own for each column, not a, a"),
        ("a.csv", "a,b\n1,2\n", Wanted(longitude="a"), "--lon and --lat go together"),
        ("a.csv", "a,b\n1,2\n", Wanted(longitude="a", latitude="c"), "no column 'c', but a, b"),
        ("a.csv", "a,b\n1,2\n", Wanted(wkt="c"), "no column 'c', but a, b"),
        ("a.csv", "a,b\nPOINT(1 2),POINT(3 4)\n", Wanted(), "several columns are WKT: choose one with --wkt: a, b"),
        ("a.csv", "lon,lat\n1,2\n1,2,3\n", Wanted(), "Expected 2 columns, got 3"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, content: str | None, wanted: Wanted, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(LoadError, match=complaint):
        [*open_source(tmp_path / name, wanted).batches()]


def test_a_crs_that_cannot_be_understood_is_to_be_said(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="say it with --source-srid: 'gibberish'"):
        system_of("gibberish")
