"""From answers to responses. Those that carry features join the bytes that `FeatureReader` made of each."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate

from service.catalog import Layer
from service.codec import wire
from service.codec.tokens import write_token
from service.db.batch import Answer
from service.db.describe import Description
from service.db.problems import problems_of
from service.domain import Argument, Kind, Page
from service.errors import NotFound, Reason, ResourceExhausted
from spatial.v1 import geometry_pb2, query_pb2

# Behind the features in SearchRadiusResponse, SearchIntersectsResponse and BatchGetFeaturesResponse.
SECOND = wire.tag(2, wire.LENGTH)


class ResponseWriter:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def page(self, page: Page, answer: Answer, bound_to: Callable[[], bytes]) -> bytes:
        """As many features as the page may have and the limit on bytes lets through, but at least one. `bound_to` is
        what a token for the next page is bound to, asked for where there is one."""
        if len(answer.rows) <= page.size and (written := self._written(answer)) is not None:
            return written
        framed = _features(answer)[: page.size]
        fitting = self._fitting(framed)
        if fitting < len(answer.rows) or answer.cut:
            del framed[fitting:]
            framed.append(wire.delimited(SECOND, write_token(bound_to(), *_position(answer, fitting)).encode()))
        return b"".join(framed)

    def all(self, answer: Answer) -> bytes:
        """Every feature; RESPONSE_TOO_LARGE where they pass the limit on bytes."""
        if (written := self._written(answer)) is not None:
            return written
        framed = _features(answer)
        self._check_size(answer, framed)
        return b"".join(framed)

    def batch(self, ids: Iterable[str], answer: Answer) -> bytes:
        """Those found in the order of the ids, then the ids of the others."""
        ids = dict.fromkeys(ids)
        framed = _features(answer)
        self._check_size(answer, framed)
        found = {str(row[1]): feature for row, feature in zip(answer.rows, framed, strict=True)}
        missing = [wire.delimited(SECOND, key.encode()) for key in ids if key not in found]
        return b"".join([found[key] for key in ids if key in found] + missing)

    def one(self, layer: str, key: str, answer: Answer) -> bytes:
        if not answer.rows:
            raise NotFound(
                Reason.FEATURE_NOT_FOUND,
                f"layer {layer!r} has no feature {key!r}",
                metadata={"layer": layer, "id": key},
            )
        return wire.content(_features(answer)[0])

    @staticmethod
    def count(answer: Answer) -> int:
        ((_, count),) = answer.rows
        return int(count)

    def _written(self, answer: Answer) -> bytes | None:
        """All features, if that is how they came and they stay within the limit on bytes."""
        written = answer.written
        return written if written is not None and len(written) <= self._max_bytes else None

    def _fitting(self, framed: list[bytes]) -> int:
        """How many from the front stay within the limit on bytes; one always does."""
        if sum(map(len, framed)) <= self._max_bytes:
            return len(framed)
        return max(1, bisect_right(list(accumulate(map(len, framed))), self._max_bytes))

    def _check_size(self, answer: Answer, framed: list[bytes]) -> None:
        if answer.cut or self._fitting(framed) < len(framed):
            raise ResourceExhausted(
                Reason.RESPONSE_TOO_LARGE,
                f"the answer is larger than {self._max_bytes} bytes: ask for fewer features, or less of each",
                metadata={"limit": str(self._max_bytes)},
            )


def _features(answer: Answer) -> list[bytes]:
    return [row[-1] for row in answer.rows]


def _position(answer: Answer, count: int) -> tuple[Argument, ...]:
    """After the last of so many rows: its key, behind its distance where that comes first in the order."""
    _, key, *rest, _ = answer.rows[count - 1]
    return (rest[0], key) if answer.statement.shape.kind is Kind.RADIUS else (key,)


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
                writable=prop.writable,
            )
            for prop in layer.properties.values()
        ],
        extent=_box(description.extent),
        estimated_rows=description.estimated_rows,
        indexes=[
            query_pb2.Index(name=index.name, definition=index.definition, valid=index.valid)
            for index in description.indexes
        ],
        source=description.source or layer.qualified_name,
        key=str(layer.key.key),
        geometry_column=layer.geometry_name,
        geography=layer.is_geography,
        writable=layer.writable,
        no_overlap=layer.no_overlap,
        key_type=f"PROPERTY_TYPE_{'INTEGER' if layer.integer_key else 'STRING'}",
        problems=_problems(layer, description),
    )


def _problems(layer: Layer, description: Description) -> list[query_pb2.LayerProblem]:
    found = [query_pb2.LayerProblem(**problem._asdict()) for problem in problems_of(layer, description)]
    if layer.read_only:
        found.append(query_pb2.LayerProblem(message=f"it is not writable: {layer.read_only}"))
    return found


def _box(extent: tuple[float, float, float, float] | None) -> geometry_pb2.BoundingBox | None:
    if extent is None:
        return None
    west, south, east, north = extent
    return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)
