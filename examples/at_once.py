"""Ask many questions at once with asyncio: the service answers those that wait together with one statement.

python examples/at_once.py [TARGET]
"""

import asyncio
import os
import sys

from spatial_client import AsyncSpatialClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SPATIAL_TARGET", "127.0.0.1:50051")

CITIES = {"Berlin": (13.4, 52.5), "Paris": (2.35, 48.86), "Tokyo": (139.69, 35.69), "Lagos": (3.38, 6.52)}


async def main() -> None:
    async with AsyncSpatialClient(TARGET, channels=2) as client:
        asked = [client.count_radius("facilities", place, 100_000) for place in CITIES.values()]
        for city, count in zip(CITIES, await asyncio.gather(*asked), strict=True):
            print(f"{city}: {count} within 100 km")

        stream = client.stream_radius("facilities", CITIES["Paris"], 100_000, properties=["population"])
        people = [feature.properties["population"] or 0 async for feature in stream]
        print(f"around Paris: {sum(people):,} people in {len(people)} places")


asyncio.run(main())
