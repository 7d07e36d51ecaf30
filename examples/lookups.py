"""Ask a few questions, one after the other.

python examples/lookups.py [TARGET]
"""

import os
import sys

from spatial_client import NotFound, SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

NEW_YORK = (-74.006, 40.7128)  # longitude, latitude

with SpatialClient(TARGET) as client:
    print("layers:", ", ".join(layer.name for layer in client.list_layers()))

    print("within 2 km:")
    for feature in client.search_radius("facilities", NEW_YORK, 2000, properties=["name"], page_size=3):
        print(f"  {feature.properties['name']}, {feature.distance_meters:.0f} m")

    (nearest,) = client.search_nearest("facilities", "POINT(13.4 52.5)", 1)
    print("nearest:", nearest.properties["name"], "at", nearest.geometry)

    (district,) = client.search_intersects("districts", NEW_YORK, predicate="contains", properties=["name"])
    print("district:", district.properties["name"])

    print("facilities in Germany's box:", client.count_features("facilities", bbox=(5.9, 47.3, 15.0, 55.1)))

    try:
        client.get_feature("facilities", 999_999_999)
    except NotFound as error:
        print("refused:", error.reason)
