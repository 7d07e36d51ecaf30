"""What is loaded, and into what."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import geopandas
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely

from tests.clusters import POSTGIS
from tests.conftest import ROOT, NewDatabase
from tests.loading import BOWTIE, SQUARE, write


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


@pytest.fixture
def plain(new_database: NewDatabase) -> Iterator[str]:
    """A database with PostGIS and nothing else."""
    with new_database(template=POSTGIS) as url:
        yield url


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
