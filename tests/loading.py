"""`spatial load` in the tests' own process, and files for it."""

from pathlib import Path
from typing import NamedTuple

import geopandas
import pyogrio  # type: ignore[import-untyped]
import shapely
from click.testing import CliRunner

from service.cli.load import load as spatial_load

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


def write(folder: Path, name: str, rows: geopandas.GeoDataFrame) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    else:
        pyogrio.write_dataframe(rows, path, driver=FILES.get(name) or "GPKG")
    return path
