"""Parquet without geometries, with those of other encodings, and damaged; FlatGeobuf that is cut off; and CSV in an
encoding that is not said."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely
from geopandas import GeoDataFrame

from service.loading.errors import LoadError
from service.loading.files import open_source
from service.loading.source import Wanted

POINTS = [shapely.Point(13.4, 52.5), shapely.Point(-74.0, 40.7)]


def written(path: Path, columns: dict[str, Any], geo: dict[str, Any] | None = None) -> Path:
    metadata = None if geo is None else {"geo": json.dumps(geo)}
    # Not compressed, so that what is damaged below is the rows.
    parquet.write_table(pyarrow.table(columns, metadata=metadata), path, compression="none", use_dictionary=False)
    return path


def places(path: Path, wanted: Wanted) -> tuple[Any, list[str]]:
    source = open_source(path, wanted)
    wkbs = [wkb for batch in source.batches() for wkb in batch.geometries or []]
    return source.system and source.system.srid, [shapely.from_wkb(wkb).wkt for wkb in wkbs]


def geo(encoding: str) -> dict[str, Any]:
    return {"primary_column": "shape", "columns": {"shape": {"encoding": encoding, "geometry_types": ["Point"]}}}


def test_plain_parquet_has_points_where_it_has_longitudes_and_latitudes(tmp_path: Path) -> None:
    path = written(tmp_path / "p.parquet", {"lon": [13.4, -74.0], "lat": [52.5, 40.7], "name": ["a", "b"]})

    assert places(path, Wanted()) == (4326, [point.wkt for point in POINTS])


def test_plain_parquet_has_shapes_where_a_column_is_named_that_has_wkt(tmp_path: Path) -> None:
    path = written(tmp_path / "p.parquet", {"where": [point.wkt for point in POINTS], "name": ["a", "b"]})

    assert places(path, Wanted(wkt="where")) == (4326, [point.wkt for point in POINTS])


def test_the_crs_that_is_said_goes_before_that_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "p.parquet", {"shape": [point.wkb for point in POINTS]}, geo("WKB"))

    assert places(path, Wanted())[0] == 4326
    assert places(path, Wanted(srid=25833))[0] == 25833


def test_of_geoparquet_only_wkb_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "p.parquet", {"shape": [[point.x, point.y] for point in POINTS]}, geo("point"))

    with pytest.raises(LoadError) as refused:
        open_source(path, Wanted())
    assert str(refused.value) == f"{path} has geometries as 'point': only WKB is read"


def test_parquet_whose_rows_are_damaged_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = written(tmp_path / "p.parquet", {"shape": [POINTS[0].wkb] * 100}, geo("WKB"))
    content = bytearray(path.read_bytes())
    content[4:1000] = b"\xff" * 996  # behind the mark at the beginning; what describes the file is at its end
    path.write_bytes(content)
    source = open_source(path, Wanted())

    with pytest.raises(LoadError, match=f"{path} cannot be read on: "):
        list(source.batches())


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(tmp_path: Path, share: float) -> None:
    path = tmp_path / "p.fgb"
    frame = GeoDataFrame({"name": ["a"] * 1000}, geometry=POINTS * 500, crs=4326)
    pyogrio.write_dataframe(frame, path, SPATIAL_INDEX="NO")
    content = path.read_bytes()

    first = int(share * len(content))
    for cut in range(first, first + 120, 8):  # inside features, and between them
        path.write_bytes(content[:cut])
        with pytest.raises(LoadError, match=r"GDAL cannot read on: |the file is not whole: it ends after "):
            list(open_source(path, Wanted()).batches())


ENCODINGS = {
    "an encoding that nobody knows": (
        b"lon,lat\n1,2\n",
        Wanted(encoding="klingon"),
        "cannot be read: unknown encoding",
    ),
    "another than is said": (b"lon,lat,n\xe4me\n1,2,x\n", Wanted(), "cannot be read: 'utf-8' codec"),
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_csv_in_another_encoding_is_said(tmp_path: Path, case: str) -> None:
    content, wanted, said = ENCODINGS[case]
    path = tmp_path / "p.csv"
    path.write_bytes(content)

    with pytest.raises(LoadError) as refused:
        open_source(path, wanted)
    assert said in str(refused.value)
