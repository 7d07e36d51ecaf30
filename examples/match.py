"""Ask the same about each of many places, as they come: an iterable in, an iterator out, neither held in memory.

python examples/match.py [TARGET]
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator

from spatial_client import SpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

TAXIS = 1000


def positions() -> Iterator[tuple[str, tuple[float, float]]]:
    """What a queue would deliver: keys and places, one after the other."""
    chance = random.Random(1)
    for number in range(TAXIS):
        yield f"taxi {number}", (chance.uniform(-74.02, -73.93), chance.uniform(40.70, 40.82))


visited: Counter[str] = Counter()
with SpatialClient(TARGET) as client:
    matches = client.match_intersects(
        positions(), "parcels", predicate="contains", limit=1, properties=["name"], view="none"
    )
    for match in matches:
        visited.update(feature.properties["name"] for feature in match)

print(f"{visited.total()} of {TAXIS} are in a zone; the busiest:")
for name, count in visited.most_common(3):
    print(f"  {name}: {count}")
