"""Load many features, from a GeoDataFrame and from an iterable, and remove them again; needs `spatial-service[client]`.

python examples/load.py [TARGET]
"""

import os
import random
import sys
from collections.abc import Iterator

import geopandas

from spatial_client import NewFeature, SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

BUOYS = 5000
SOUTH_PACIFIC = (-150.0, -50.0, -120.0, -40.0)  # west, south, east, north: no facility is there


def buoys() -> Iterator[NewFeature]:
    """What a queue or a file would deliver, one after the other; every thousandth is nowhere on Earth."""
    chance = random.Random(1)
    for number in range(BUOYS):
        latitude = 95.0 if number % 1000 == 999 else chance.uniform(-49, -41)
        yield NewFeature((chance.uniform(-149, -121), latitude), {"name": f"Buoy {number}", "kind": "buoy"})


with SpatialClient(TARGET) as client:
    # Rows that cannot be written are reported, and end nothing; a broken connection is gone on from where it broke.
    done = client.import_features(buoys(), "facilities")
    print(f"{done.inserted} of {done.rows} buoys are in, {done.rejected} were rejected:")
    for rejection in done.rejections[:2]:
        print(f"  row {rejection.row}: {rejection.reason} in {rejection.field}")

    # A frame, and back: with their ids, its rows replace the features that they came from.
    frame = client.stream_features(
        "facilities", bbox=SOUTH_PACIFIC, properties=["name", "kind"], freshness_token=done.freshness_token
    ).to_geopandas()
    assert isinstance(frame, geopandas.GeoDataFrame)
    frame["name"] = frame["name"].str.upper()
    replaced = client.import_features(frame, "facilities", mode="upsert")
    print(f"{replaced.updated} have another name")

    # At most so many may go; if there are more, none does.
    gone = client.delete_features("facilities", BUOYS, bbox=SOUTH_PACIFIC, filter="kind = 'buoy'")
    print(f"{gone.count} are gone")
