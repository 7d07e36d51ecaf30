"""Explanations made short, and a database with so many rows that a wrong plan would cost."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spatial.v1 import admin_pb2, admin_pb2_grpc
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.servers import Served
from tests.situations import fetch

ROWS = 10_000


def facilities_and_zones(rows: int) -> str:
    """So many of each, small ones all over the map."""
    return f"""
SELECT setseed(0.5);
CREATE TEMP TABLE place AS
    SELECT n, x, y, ST_MakeEnvelope(x, y, x + 0.02, y + 0.02, 4326) AS boundary
      FROM (SELECT n, random() * 350 - 175 AS x, random() * 160 - 80 AS y FROM generate_series(1, {rows}) n) AS place;
INSERT INTO facilities (name, kind, location)
    SELECT 'Facility ' || n, 'test', ST_SetSRID(ST_MakePoint(x, y), 4326) FROM place;
INSERT INTO zones (code, name, category, boundary) SELECT 'Z' || n, 'Zone ' || n, 'test', ST_Multi(boundary) FROM place;
ANALYZE facilities, zones;
"""


FILL = f"""
{facilities_and_zones(ROWS)}
INSERT INTO districts (name, boundary) SELECT 'District ' || n, ST_Multi(boundary) FROM place;
INSERT INTO parcels (number, name, land_use, district_id, boundary)
    SELECT n, 'Parcel ' || n, 'test', (SELECT min(id) FROM districts), boundary FROM place;
ANALYZE districts, parcels;
"""
COLUMNS = {
    "facilities": ("facilities", "location"),
    "zones": ("zones", "boundary"),
    "zone_centroids": ("zones", "centroid"),
    "districts": ("districts", "boundary"),
    "parcels": ("parcels", "boundary"),
}


def gist(layer: str, *, geography: bool) -> str:
    """The index that serves a layer."""
    table, column = COLUMNS[layer]
    return f"ix_{table}_{column}_{'geography_' if geography else ''}gist"


def explain(served: Served, **request: Any) -> admin_pb2.ExplainResponse:
    """`explain(served, radius=…, stream=True)`."""
    kinds = {field.name for field in query.Query.DESCRIPTOR.fields}
    asked = {name: request.pop(name) for name in kinds & request.keys()}
    stub: Any = admin_pb2_grpc.AdminServiceStub(served.channel)
    made = admin_pb2.ExplainRequest(query=query.Query(**asked) if asked else None, **request)
    answer: admin_pb2.ExplainResponse = stub.Explain(made, timeout=30)
    return answer


def top(explained: admin_pb2.ExplainResponse) -> Any:
    """The top node of the plan, from its JSON."""
    return json.loads(explained.json)[0]["Plan"]


def layer(name: str, bbox: tuple[float, float, float, float] | None = None, **more: Any) -> query.LayerQuery:
    box = bbox and geometry.BoundingBox(west=bbox[0], south=bbox[1], east=bbox[2], north=bbox[3])
    return query.LayerQuery(layer=name, bbox=box, **more)


def join(left: str, right: str, **more: Any) -> query.JoinQuery:
    return query.JoinQuery(left_layer=left, right_layer=right, **more)


@contextmanager
def without(url: str, index: str) -> Iterator[None]:
    """As if there were no such index."""
    ((definition,),) = fetch(url, "SELECT pg_get_indexdef(%s::regclass)", index)
    fetch(url, f"DROP INDEX {index}")
    try:
        yield
    finally:
        fetch(url, definition)
