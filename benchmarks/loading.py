"""`spatial load` of a GeoPackage into a new table against ogr2ogr with COPY, both with the same indexes at the end.

ogr2ogr checks nothing of a geometry and makes one index; the one for metres, and the statistics, are made after it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyogrio  # type: ignore[import-untyped]
import shapely
from geopandas import GeoDataFrame

from benchmarks.cluster import database_url
from benchmarks.dataset import EAST, KINDS, NORTH, SEED, SOUTH, WEST
from benchmarks.figures import Figure, machine, median_ratio, print_lines
from benchmarks.programs import LOCAL, find, output, say

POINTS, POLYGONS, VERTICES = 300_000, 100_000, 64
ROUNDS = 3
GOAL = "<= 1.3"
_AFTER = "CREATE INDEX ON {table} USING gist (geography(geom)); ANALYZE {table}"
_SPATIAL = Path(sys.executable).parent / "spatial"


def run() -> None:
    ogr2ogr = find("ogr2ogr")
    with database_url() as url:
        print_lines([*machine(), ("ogr2ogr", output([ogr2ogr, "--version"]).strip())])
        for path, rows in ((_points(), POINTS), (_polygons(), POLYGONS)):
            for figure in _figures(url, ogr2ogr, path, rows):
                print(figure, flush=True)


def _figures(url: str, ogr2ogr: str, path: Path, rows: int) -> Iterator[Figure]:
    ours, theirs, bare = [], [], []
    for _ in range(ROUNDS):
        ours.append(_timed(url, rows, [_SPATIAL, "load", path, "--layer", "loaded", "--create", "--quiet"]))
        copied: list[str | Path] = [
            ogr2ogr,
            "-f",
            "PostgreSQL",
            f"PG:{url}",
            path,
            "-nln",
            "loaded",
            "--config",
            "PG_USE_COPY",
            "YES",
        ]
        bare.append(_timed(url, rows, copied, keep=True))
        theirs.append(bare[-1] + _executed(url, _AFTER.format(table="loaded")))
        _executed(url, "DROP TABLE loaded")
    detail = f"{rows:,} rows: {min(ours):.1f} s against {min(theirs):.1f} s"
    yield Figure(f"spatial load, {path.stem} / ogr2ogr, same indexes", median_ratio(ours, theirs), GOAL, detail)
    detail = f"{min(ours):.1f} s against {min(bare):.1f} s, which leaves searches in metres without an index"
    yield Figure(f"spatial load, {path.stem} / ogr2ogr as it is", median_ratio(ours, bare), "none", detail)


def _timed(url: str, rows: int, command: Sequence[str | Path], *, keep: bool = False) -> float:
    started = time.perf_counter()
    environment = os.environ | {"SPATIAL_DATABASE_URL": url}
    subprocess.run([str(part) for part in command], env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM loaded")
        if cursor.fetchone() != (rows,):
            raise RuntimeError(f"{command[0]} did not load {rows} rows")
    if not keep:
        _executed(url, "DROP TABLE loaded")
    return seconds


def _executed(url: str, statements: str) -> float:
    started = time.perf_counter()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements.split("; "):
                cursor.execute(statement)
    return time.perf_counter() - started


def _points() -> Path:
    random = np.random.default_rng(SEED)
    places = shapely.points(random.uniform(WEST, EAST, POINTS), random.uniform(SOUTH, NORTH, POINTS))
    return _written("points", places, random)


def _polygons() -> Path:
    random = np.random.default_rng(SEED)
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = 0.002 * (1 + 0.2 * np.sin(5 * angles))
    xs = random.uniform(WEST, EAST, POLYGONS)[:, None] + radius * np.cos(angles)
    ys = random.uniform(SOUTH, NORTH, POLYGONS)[:, None] + radius * np.sin(angles)
    return _written("polygons", shapely.polygons(np.stack([xs, ys], axis=-1)), random)


def _written(name: str, shapes: Any, random: np.random.Generator) -> Path:
    path = LOCAL / f"{name}.gpkg"
    if not path.exists():
        say(f"writing {path.name}, once")
        count = len(shapes)
        columns = {
            "name": [f"Place {number}" for number in range(count)],
            "kind": random.choice(KINDS, count),
            "population": random.integers(0, 10**6, count),
            "attributes": [json.dumps({"level": number % 5}) for number in range(count)],
        }
        LOCAL.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.gpkg")
        pyogrio.write_dataframe(GeoDataFrame(columns, geometry=shapes, crs=4326), unfinished, layer=name)
        unfinished.replace(path)
    return path
