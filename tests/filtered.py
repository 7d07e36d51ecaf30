"""Facilities and zones of all sorts, a filter, and what it means in SQL."""

from dataclasses import dataclass
from typing import Any

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.oracle import fetch
from tests.searches import box, point, radius
from tests.servers import Served

FILL = """
SELECT setseed(0.5);
INSERT INTO facilities (name, kind, country, population, location, tags, active, attributes)
SELECT 'Facility ' || n, (ARRAY['school', 'hospital', 'park'])[1 + mod(n, 3)], CASE WHEN mod(n, 7) > 0 THEN 'DE' END,
       CASE WHEN mod(n, 5) > 0 THEN n END, ST_SetSRID(ST_MakePoint(random() * 10, random() * 10), 4326),
       CASE WHEN mod(n, 1000) = 0 THEN ARRAY['rare'] ELSE ARRAY['common', 'n' || mod(n, 4)] END, mod(n, 100) = 0,
       jsonb_build_object('height', mod(n, 2000), 'deep', jsonb_build_object('er', mod(n, 3) = 0))
  FROM generate_series(1, 20000) n;
INSERT INTO zones (code, name, category, boundary)
SELECT 'Z' || n, 'Zone ' || n, CASE WHEN mod(n, 2) = 0 THEN 'even' ELSE 'odd' END,
       ST_Multi(ST_MakeEnvelope(n, 0, n + 0.5, 5, 4326)) FROM generate_series(0, 9) n;
ANALYZE facilities, zones;
"""
FILTER = "kind = 'school' AND population > 1000 AND NOT attributes.height = 1002"
WHERE = "kind = 'school' AND population > 1000 AND NOT (attributes ->> 'height')::numeric = 1002"
CENTER = "ST_SetSRID(ST_MakePoint(5, 5), 4326)"
NEAR = f"ST_DWithin(location::geography, {CENTER}::geography, 100000)"
SQUARE = "ST_MakeEnvelope(2, 2, 4, 4, 4326)"


@dataclass(frozen=True)
class World:
    url: str
    served: Served

    @property
    def stub(self) -> Any:
        return self.served.stub

    def keys(self, *conditions: str) -> list[int]:
        """What a plain SELECT finds."""
        return [
            key for (key,) in fetch(self.url, f"SELECT id FROM facilities WHERE {' AND '.join(conditions)} ORDER BY id")
        ]


def around(filtered: str = FILTER, meters: float = 100_000.0) -> query.RadiusQuery:
    asked = radius("facilities", point(5, 5), meters)
    asked.filter = filtered
    return asked


def crossing(filtered: str = FILTER) -> query.IntersectsQuery:
    return query.IntersectsQuery(layer="facilities", probe=box(2, 2, 4, 4), filter=filtered)


def whole(filtered: str = FILTER, bbox: geometry.BoundingBox | None = None) -> query.LayerQuery:
    return query.LayerQuery(layer="facilities", bbox=bbox, filter=filtered)


BOX = geometry.BoundingBox(west=2, south=2, east=4, north=4)
