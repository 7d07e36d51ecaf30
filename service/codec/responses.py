"""From answers to responses. Those that carry features are written as bytes, feature by feature."""

from collections.abc import Callable, Iterable, Iterator

from service.catalog import Catalog, Layer
from service.codec import wire
from service.codec.rows import FeatureWriter
from service.codec.tokens import write_token
from service.db.batch import Answer
from service.db.copy import Row
from service.db.describe import Description
from service.domain import Kind, Page
from service.errors import NotFound, Reason, ResourceExhausted
from spatial.v1 import geometry_pb2, query_pb2

# SearchRadiusResponse, SearchNearestResponse, SearchIntersectsResponse and BatchGetFeaturesResponse agree on both.
FEATURES = wire.tag(1, wire.LENGTH)
SECOND = wire.tag(2, wire.LENGTH)


class ResponseWriter:
    def __init__(self, catalog: Catalog, max_bytes: int) -> None:
        self._features = FeatureWriter()
        self._srids = {layer.name: layer.srid for layer in catalog}
        self._max_bytes = max_bytes

    def page(self, page: Page, answer: Answer, bound_to: Callable[[], bytes]) -> bytes:
        """As many features as the page may have and the limit on bytes lets through, but at least one. `bound_to` is
        what a token for the next page is bound to, asked for where there is one."""
        parts: list[bytes] = []
        size = 0
        more = answer.cut
        last = None
        for row, feature in self._rows(answer):
            size += len(feature) + 8
            if len(parts) == page.size or (parts and size > self._max_bytes):
                more = True
                break
            parts.append(wire.delimited(FEATURES, feature))
            last = row
        if more and last is not None:
            position = (last[2], last[1]) if answer.statement.shape.kind is Kind.RADIUS else (last[1],)
            parts.append(wire.delimited(SECOND, write_token(bound_to(), *position).encode()))
        return b"".join(parts)

    def all(self, answer: Answer) -> bytes:
        """Every feature; RESPONSE_TOO_LARGE where they pass the limit on bytes."""
        written = b"".join([wire.delimited(FEATURES, feature) for _, feature in self._rows(answer)])
        self._check_size(answer, len(written))
        return written

    def batch(self, ids: Iterable[str], answer: Answer) -> bytes:
        """Those found in the order of the ids, then the ids of the others."""
        ids = dict.fromkeys(ids)
        found = {str(row[1]): feature for row, feature in self._rows(answer)}
        self._check_size(answer, sum(map(len, found.values())))
        features = [wire.delimited(FEATURES, found[key]) for key in ids if key in found]
        missing = [wire.delimited(SECOND, key.encode()) for key in ids if key not in found]
        return b"".join(features + missing)

    def one(self, layer: str, key: str, answer: Answer) -> bytes:
        for _, feature in self._rows(answer):
            return feature
        raise NotFound(
            Reason.FEATURE_NOT_FOUND,
            f"layer {layer!r} has no feature {key!r}",
            metadata={"layer": layer, "id": key},
        )

    @staticmethod
    def count(answer: Answer) -> int:
        (message,) = answer.messages
        return int(answer.statement.decode(message)[1])

    def _rows(self, answer: Answer) -> Iterator[tuple[Row, bytes]]:
        return self._features.features(answer.statement, answer.messages, self._srids[answer.statement.shape.layer])

    def _check_size(self, answer: Answer, size: int) -> None:
        if answer.cut or size > self._max_bytes:
            raise ResourceExhausted(
                Reason.RESPONSE_TOO_LARGE,
                f"the answer is larger than {self._max_bytes} bytes: ask for fewer features, or less of each",
                metadata={"limit": str(self._max_bytes)},
            )


def layer_message(layer: Layer, description: Description) -> query_pb2.Layer:
    return query_pb2.Layer(
        name=layer.name,
        description=layer.description,
        geometry_type=layer.geometry_type,
        srid=layer.srid,
        properties=[
            query_pb2.Property(
                name=prop.name,
                type=f"PROPERTY_TYPE_{prop.type.name}",
                nullable=prop.nullable,
                computed=prop.computed,
            )
            for prop in layer.properties.values()
        ],
        extent=_box(description.extent),
        estimated_rows=description.estimated_rows,
        indexes=[
            query_pb2.Index(name=index.name, definition=index.definition, valid=index.valid)
            for index in description.indexes
        ],
    )


def _box(extent: tuple[float, float, float, float] | None) -> geometry_pb2.BoundingBox | None:
    if extent is None:
        return None
    west, south, east, north = extent
    return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)
