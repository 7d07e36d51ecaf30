"""Add, change and remove a feature, when nobody else may get in between; needs a layer that is writable.

python examples/write.py [TARGET]
"""

import os
import sys

from spatial_client import Aborted, InvalidArgument, NotFound, SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

ISLAND = (-140.0, -30.0)  # (longitude, latitude), far away from everything

with SpatialClient(TARGET) as client:
    # Every change has a request id of its own, so that it is tried again safely where a connection breaks.
    created = client.create_feature("facilities", ISLAND, {"name": "Weather station", "kind": "station"})
    station = created.feature
    print("created:", station.properties["name"], station.geometry)

    # A read that is given the token knows of the change, whichever replica answers it.
    (nearest,) = client.search_nearest("facilities", ISLAND, 1, freshness_token=created.freshness_token)
    print("nearest is what was created:", nearest.id == station.id)

    # The etag is the version that was read: the change is refused if another one came first.
    changed = client.update_feature("facilities", station.id, properties={"population": 2}, etag=station.etag).feature
    print("population:", changed.properties["population"])
    try:
        client.update_feature("facilities", station.id, properties={"population": 3}, etag=station.etag)
    except Aborted as error:
        print("refused:", error.reason)

    # A mistake names the field, and nothing is written.
    try:
        client.update_feature("facilities", station.id, geometry="POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))")
    except InvalidArgument as error:
        print("refused:", error.reason, "in", error.field)

    client.delete_feature("facilities", station.id, etag=changed.etag)
    try:
        client.get_feature("facilities", station.id)
    except NotFound as error:
        print("gone:", error.reason)
