"""What is in the files of `spatial export`, where the layers that ship have nothing like it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import geopandas
import pyarrow as pa
import pyarrow.parquet
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely

from service.cli.export import schema as export_schema
from service.cli.export.files import FORMATS, complete
from service.cli.export.question import Question
from spatial.v1 import query_pb2

SUFFIXES = {"geojsonseq": ".geojsonl", "gpkg": ".gpkg", "flatgeobuf": ".fgb", "geoparquet": ".parquet"}
GDAL = ["geojsonseq", "gpkg", "flatgeobuf"]
Rows = dict[str, Any]


def layer(geometry_type: str = "GEOMETRY", srid: int = 4326) -> query_pb2.Layer:
    types = ["STRING", "INTEGER", "NUMBER", "BOOLEAN", "TIMESTAMP", "JSON"]
    properties: list[dict[str, Any]] = [{"name": each.lower(), "type": f"PROPERTY_TYPE_{each}"} for each in types]
    properties += [
        {"name": "id", "type": "PROPERTY_TYPE_STRING"},
        {"name": "area", "type": "PROPERTY_TYPE_NUMBER", "computed": True},
    ]
    return query_pb2.Layer(name="things", geometry_type=geometry_type, srid=srid, properties=properties)


def question(method: str = "StreamFeatures", *properties: str) -> Question:
    return Question(method, query_pb2.StreamFeaturesRequest(output=query_pb2.Output(properties=properties)))


def batch(geometries: list[str | None], srid: int = 4326, **columns: pa.Array) -> pa.RecordBatch:
    wkb = [shapely.to_wkb(shapely.from_wkt(text), output_dimension=4, flavor="iso") for text in geometries]
    (geometry,) = [field for field in export_schema.described(layer(srid=srid), question()) if field.name == "geometry"]
    fields = [
        pa.field("id", pa.int64()),
        geometry,
        *(pa.field(name, values.type) for name, values in columns.items()),
    ]
    arrays = [pa.array(range(1, len(wkb) + 1)), pa.array(wkb, pa.binary()), *columns.values()]
    return pa.record_batch(arrays, schema=pa.schema(fields))


def written(form: str, of: query_pb2.Layer, batches: list[pa.RecordBatch], folder: Path) -> Path:
    path = folder / f"file{SUFFIXES[form]}"
    FORMATS[form].write(batches[0].schema, iter(batches), of, path)
    return path


def rows(path: Path) -> list[Rows]:
    """In order of their ids, geometries as WKT."""
    if path.suffix == ".geojsonl":
        found = list(map(_row, path.read_text().splitlines()))
    else:
        read = pa.parquet.read_table(path) if path.suffix == ".parquet" else pyogrio.read_arrow(path)[1]
        column = "wkb_geometry" if "wkb_geometry" in read.column_names else "geometry"
        found = [{"geometry": _wkt(shapely.from_wkb(row.pop(column))), **row} for row in read.to_pylist()]
    return sorted(found, key=lambda row: int(row["id"]))


def _row(line: str) -> Rows:
    feature = json.loads(line)
    shape = feature["geometry"] and shapely.from_geojson(json.dumps(feature["geometry"]))
    return {"id": feature["id"], "geometry": _wkt(shape), **feature["properties"]}


def _wkt(shape: Any) -> str | None:
    return None if shape is None else str(shapely.to_wkt(shape, trim=True, output_dimension=4, rounding_precision=9))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("geometry_type", "texts"),
    [
        ("POINTZ", ["POINT Z (1 2 3)", "POINT Z (4 5 -6)"]),
        ("MULTIPOLYGONZ", ["MULTIPOLYGON Z (((0 0 1, 1 0 2, 0 1 3, 0 0 1)))"]),
        ("LINESTRING", ["LINESTRING (0 0, 1 1)"]),
        ("GEOMETRY", ["POINT (1 2)", "LINESTRING (0 0, 1 1)", "POLYGON ((0 0, 1 0, 0 1, 0 0))"]),
    ],
)
def test_geometries_are_whole(form: str, geometry_type: str, texts: list[str], tmp_path: Path) -> None:
    path = written(form, layer(geometry_type), [batch([text]) for text in texts], tmp_path)
    assert sorted(row["geometry"] for row in rows(path)) == sorted(texts)


@pytest.mark.parametrize("form", ["geojsonseq", "gpkg", "geoparquet"])
def test_a_feature_without_geometry_is_one(form: str, tmp_path: Path) -> None:
    path = written(form, layer("POINT"), [batch(["POINT (1 2)", None])], tmp_path)
    assert [row["geometry"] for row in rows(path)] == ["POINT (1 2)", None]


@pytest.mark.parametrize(
    ("geometries", "complaint"),
    [(["POINT (1 2)", None], "feature 2 has no geometry"), (["POINT Z (1 2 3)"], "cannot hold Z or M")],
)
def test_what_flatgeobuf_cannot_hold_is_refused_rather_than_lost(
    geometries: list[str | None], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(click.ClickException, match=complaint):
        written("flatgeobuf", layer("GEOMETRY"), [batch(["POINT (1 2)"]), batch(geometries)], tmp_path)


@pytest.mark.parametrize("form", ["gpkg", "flatgeobuf", "geoparquet"])
@pytest.mark.parametrize("srid", [3857, 2154])
def test_the_crs_is_the_layers(form: str, srid: int, tmp_path: Path) -> None:
    path = written(form, layer("POINT", srid), [batch(["POINT (500000 6000000)"], srid)], tmp_path)
    frame = geopandas.read_parquet(path) if form == "geoparquet" else geopandas.read_file(path)
    assert frame.crs.to_epsg() == srid
    assert frame.geometry[0].coords[0] == (500000, 6000000)


@pytest.mark.parametrize("form", FORMATS)
def test_a_layer_of_no_crs_makes_a_file_of_none(form: str, tmp_path: Path) -> None:
    path = written(form, layer("POINT", srid=0), [batch(["POINT (1 2)"], srid=0)], tmp_path)
    assert [row["geometry"] for row in rows(path)] == ["POINT (1 2)"]
    if form == "geoparquet":
        assert geopandas.read_parquet(path).crs is None


def test_geojson_is_in_longitude_and_latitude_whatever_the_layer_is_in(tmp_path: Path) -> None:
    path = written("geojsonseq", layer("POINT", 3857), [batch(["POINT (111319.49079327357 0)"], 3857)], tmp_path)
    (row,) = rows(path)
    assert row["geometry"] == "POINT (1 0)"


VALUES = {
    "text": pa.array(["", "plain", "ä\"'\n\\,;☃", None]),
    "whole": pa.array([2**63 - 1, -(2**63), 0, None]),
    "number": pa.array([0.1, -1e300, 5e-324, None]),
    "truth": pa.array([True, False, True, None]),
}


@pytest.mark.parametrize("form", ["gpkg", "flatgeobuf", "geoparquet", "geojsonseq"])
@pytest.mark.parametrize("name", VALUES)
def test_values_are_exact(form: str, name: str, tmp_path: Path) -> None:
    path = written(form, layer("POINT"), [batch(["POINT (1 2)"] * 4, value=VALUES[name])], tmp_path)
    assert [row["value"] for row in rows(path)] == VALUES[name].to_pylist()


@pytest.mark.parametrize("form", FORMATS)
def test_json_is_text_but_for_the_objects_and_lists_in_geojson(form: str, tmp_path: Path) -> None:
    texts: list[Any] = ['{"a": [1, null]}', "[]", "3", None]
    path = written(form, layer("POINT"), [batch(["POINT (1 2)"] * 4, value=pa.array(texts, pa.json_()))], tmp_path)
    found = [row["value"] for row in rows(path)]
    assert found == (texts if form != "geojsonseq" else [{"a": [1, None]}, [], "3", None])


@pytest.mark.parametrize("form", GDAL)
def test_a_time_that_gdal_has_no_year_for_is_null_and_not_another(form: str, tmp_path: Path) -> None:
    known = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
    last = datetime(9999, 12, 31, tzinfo=UTC)
    day = 86_400_000_000
    beyond = [2**63 - 1, 3_000_000 * day, -(2**63) + 1, -719_163 * day]  # the last is the day before the year 1
    moments = [int(known.timestamp() * 1e6), int(last.timestamp() * 1e6), *beyond]
    times = pa.array(moments, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    path = written(form, layer("POINT"), [batch(["POINT (1 2)"] * 6, at=times)], tmp_path)
    found = [row["at"] for row in rows(path)]
    if form == "geojsonseq":
        assert found == ["2024-02-29T12:30:15.250Z", "9999-12-31T00:00:00Z", None, None, None, None]
    else:
        assert [at and at.replace(tzinfo=UTC) for at in found] == [known, last, None, None, None, None]


@pytest.mark.parametrize("form", FORMATS)
def test_properties_may_be_called_as_gdal_calls_its_own(form: str, tmp_path: Path) -> None:
    names = ["fid", "_FID", "geom", "ogc_fid", "rowid", "wkb_geometry2", "type", "properties"]
    sevens = {name: pa.array([7, 7]) for name in names}
    path = written(form, layer("POINT"), [batch(["POINT (1 2)", "POINT (3 4)"], **sevens)], tmp_path)
    assert [[row[name] for name in names] for row in rows(path)] == [[7] * len(names)] * 2


def geo(path: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(pa.parquet.ParquetFile(path).metadata.metadata[b"geo"])
    return metadata


@pytest.mark.parametrize(
    ("texts", "types", "bounds"),
    [
        (["POINT (1 2)", None, "POINT (-3 4)"], ["Point"], [-3, 2, 1, 4]),
        (["POINT Z (1 2 3)", "POINT Z (0 5 -1)"], ["Point Z"], [0, 2, -1, 1, 5, 3]),
        (["POINT Z (1 2 3)", "LINESTRING (0 0, 9 9)"], ["LineString", "Point Z"], [0, 0, 3, 9, 9, 3]),
        (["POINT EMPTY"], ["Point"], None),
        ([None], [], None),
    ],
)
def test_geoparquet_says_what_is_in_it(
    texts: list[str | None], types: list[str], bounds: list[float] | None, tmp_path: Path
) -> None:
    metadata = geo(written("geoparquet", layer(), [batch([text]) for text in texts], tmp_path))
    assert (metadata["version"], metadata["primary_column"]) == ("1.1.0", "geometry")
    column = metadata["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"], column.get("bbox")) == ("WKB", types, bounds)
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}


def test_row_groups_are_larger_than_batches_and_bounded(tmp_path: Path) -> None:
    small = [batch(["POINT (1 2)"] * 1000) for _ in range(140)]
    parquet = pa.parquet.ParquetFile(written("geoparquet", layer("POINT"), small, tmp_path))
    assert [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)] == [66_000, 66_000, 8_000]


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        (question(), ["id", "geometry", "string", "integer", "number", "boolean", "timestamp", "json", "id_property"]),
        (question("StreamRadius", "area", "json"), ["id", "distance_meters", "geometry", "area", "json"]),
    ],
)
def test_a_file_of_nothing_has_the_columns_all_the_same(asked: Question, columns: list[str], tmp_path: Path) -> None:
    described = export_schema.described(layer("POINT"), asked)
    assert described.names == columns
    for form, suffix in SUFFIXES.items():
        path = tmp_path / f"nothing{suffix}"
        FORMATS[form].write(described, iter(()), layer("POINT"), path)
        if form == "geojsonseq":
            assert path.read_bytes() == b""
            continue
        frame = geopandas.read_parquet(path) if form == "geoparquet" else geopandas.read_file(path)
        assert (set(frame.columns), len(frame), frame.crs.to_epsg()) == (set(columns), 0, 4326)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(143), click.ClickException("cut"), OSError()])
def test_what_ends_the_batches_ends_the_writing_as_itself(form: str, failure: BaseException, tmp_path: Path) -> None:
    def cut() -> Iterator[pa.RecordBatch]:
        yield batch(["POINT (1 2)"])
        raise failure

    with pytest.raises(type(failure)) as raised:
        FORMATS[form].write(batch([]).schema, cut(), layer("POINT"), tmp_path / f"file{SUFFIXES[form]}")
    assert raised.value is failure


def test_a_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    with complete(tmp_path / "file", overwrite=False) as unfinished:
        unfinished.write_text("new")
        assert not (tmp_path / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, ValueError, click.ClickException])
def test_a_file_that_was_there_stays_if_the_new_one_is_not_completed(
    failure: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")

    def half(unfinished: Path) -> None:
        unfinished.write_text("half")
        (unfinished.parent / "file-journal").write_text("GDAL's")
        raise failure("")

    with pytest.raises(failure), complete(tmp_path / "file", overwrite=True) as unfinished:
        half(unfinished)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    refused = pytest.raises(click.ClickException, match="exists; --overwrite replaces it")
    with refused, complete(tmp_path / "file", overwrite=False):
        (tmp_path / "file").write_text("somebody else's")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "somebody else's"


def test_a_disk_that_is_full_is_told_so(tmp_path: Path) -> None:
    with (
        pytest.raises(click.ClickException, match="file: No space left on device"),
        complete(tmp_path / "file", overwrite=False),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert list(tmp_path.iterdir()) == []
