"""Pair the features of two layers: which places lie in which country.

python examples/join.py [TARGET]
"""

import os
import sys
from collections import Counter

from spatial_client import Output, SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

NAME = Output(properties=["name"], view="none")

with SpatialClient(TARGET) as client:
    pairs = client.stream_join("zones", "facilities", predicate="contains", left=NAME)
    places = Counter(pair.left.properties["name"] for pair in pairs if pair.left)

for country, count in places.most_common(5):
    print(f"{country}: {count}")
