"""Bring a whole layer home: as a GeoDataFrame, and as a Parquet file; needs `spatial-service[client]`.

python examples/export.py [TARGET]
"""

import os
import sys
import tempfile
from pathlib import Path

import geopandas

from spatial_client import SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

with SpatialClient(TARGET) as client:
    # A resumable stream goes on by itself if the connection breaks.
    zones = client.stream_features("zones", properties=["name", "category"], resumable=True).to_geopandas()

print(zones[["id", "name"]].head(3).to_string(index=False))
print(f"{len(zones)} zones, EPSG:{zones.crs.to_epsg()}")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "zones.parquet"
    zones.to_parquet(path)
    print("read back:", len(geopandas.read_parquet(path)))
