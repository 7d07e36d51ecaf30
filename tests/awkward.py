"""A database of tables as they are found, none of which this service made."""

from pathlib import Path
from typing import Any

from service.catalog import Layer
from spatial.v1 import query_pb2 as query
from tests.situations import fetch
from tests.streams import Found, features, stream, whole

SQL = Path(__file__).parent / "data/awkward.sql"
# Every table that can be a layer as it is.
LAYERS = 'public.*,gis.*,"Straße 1.a".*'
STRANGE = 'Straße 1.a.100% "Größe"'
KEYED = (
    "keyed_smallint",
    "keyed_integer",
    "keyed_bigint",
    "keyed_uuid",
    "keyed_text",
    "keyed_varchar",
    "keyed_domain",
    "keyed_unique",
)


def make(url: str) -> None:
    """In an empty database, with PostGIS or without."""
    fetch(url, "CREATE EXTENSION IF NOT EXISTS postgis")
    fetch(url, SQL.read_text())


def found(stub: Any, asked: query.RadiusQuery | query.IntersectsQuery | query.NearestQuery, **fields: Any) -> Any:
    """The features of a first page, by a search of the query's kind."""
    make: dict[type[Any], tuple[Any, Any]] = {
        query.RadiusQuery: (stub.SearchRadius, query.SearchRadiusRequest),
        query.IntersectsQuery: (stub.SearchIntersects, query.SearchIntersectsRequest),
        query.NearestQuery: (stub.SearchNearest, query.SearchNearestRequest),
    }
    call, request = make[type(asked)]
    return call(request(query=asked, **fields), timeout=20).features


def ids(stub: Any, asked: query.RadiusQuery | query.IntersectsQuery | query.NearestQuery, **fields: Any) -> list[str]:
    """Their ids."""
    return [feature.id for feature in found(stub, asked, **fields)]


def everything(stub: Any, layer: Layer, layout: str = "ROWS", **fields: Any) -> list[Found]:
    """All of a layer, streamed."""
    batches = stream(stub, whole(layer.name, layout=layout, **fields))
    return [each for batch in batches for each in features(batch, layer)]
