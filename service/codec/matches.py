"""Matches: from the messages of a stream to searches, one for each probe, and from their answers to responses."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from google.protobuf.message import Message

from service.codec import fields, wire
from service.codec.fields import at
from service.codec.frames import BATCH_BYTES
from service.codec.geometry import Stored
from service.codec.packed import packing
from service.codec.questions import Inquiry, QuestionReader
from service.codec.rows import FeatureWriter
from service.db.batch import Answer
from service.db.packed import Packing
from service.db.queries import Statement
from service.domain import Kind, Search, Shape
from service.errors import InvalidArgument, Reason, ResourceExhausted, SpatialError
from spatial.v1 import query_pb2

DEFAULT_LIMIT = 10
KEY_BYTES = 256
SLICE_ROWS = 50  # that are made features of without a pause

_FIELDS = query_pb2.Match.DESCRIPTOR.fields_by_name
_MATCHES = wire.tag(query_pb2.MatchResponse.DESCRIPTOR.fields_by_name["matches"].number, wire.LENGTH)
_KEY = wire.tag(_FIELDS["key"].number, wire.LENGTH)
_FEATURE = wire.tag(_FIELDS["features"].number, wire.LENGTH)
_FEATURES = wire.Prefixes(_FEATURE)
_MORE = wire.tag(_FIELDS["more"].number, wire.VARINT) + b"\1"
_ERROR = wire.tag(_FIELDS["error"].number, wire.LENGTH)
_CENTERS = {"radius": "center", "nearest": "center", "intersects": "probe"}


class Probed(NamedTuple):
    """What is asked about one probe, or why nothing can be. `alone`: it had better not share a statement."""

    key: bytes
    asked: Search | SpatialError
    alone: bool = False

    @property
    def size(self) -> int:
        """About as many bytes as it keeps."""
        geometry = 0 if isinstance(self.asked, SpatialError) else len(str(self.asked.arguments[0]))
        return len(self.key) + geometry


@dataclass(frozen=True, slots=True)
class Matching:
    """What a stream asks about each of its probes: `limit` is the features wanted of each. `boxed` is the shape of
    those with a box around them, which may go with others that are `shared`."""

    inquiry: Inquiry
    limit: int
    shared: Shape
    boxed: Shape
    constant: Shape

    def read(self, index: int, message: query_pb2.MatchProbe, stored: Stored | SpatialError | None = None) -> Probed:
        """The probe at `index` in its message; `stored` is what the database has for one that is a feature, or why it
        has nothing. What is refused is said of the path there."""
        key = message.key.encode()
        try:
            return self._read(key, message, stored)
        except SpatialError as error:
            return Probed(_cut(key), error.at(f"probes[{index}]"))

    def _read(self, key: bytes, message: query_pb2.MatchProbe, stored: Stored | SpatialError | None) -> Probed:
        if len(key) > KEY_BYTES:
            raise InvalidArgument(
                Reason.OUT_OF_RANGE,
                f"a key has at most {KEY_BYTES} bytes, and this one {len(key)}",
                field="key",
                metadata={"limit": str(KEY_BYTES)},
            )
        probe = fields.required(message, "probe")
        with at("probe"):
            if isinstance(stored, SpatialError):
                raise stored.at("feature")
            question = self.inquiry.about(probe, stored)
        shape = self.constant if question.big else self.boxed if question.boxed else self.shared
        alone = question.big or (question.heavy and not self.inquiry.heavy)
        return Probed(key, Search(shape, question.arguments, heavy=True), alone)


def _cut(key: bytes) -> bytes:
    """A key that is too long comes back as far as it may go: no response may grow with what was refused."""
    return key if len(key) <= KEY_BYTES else key[:KEY_BYTES].decode(errors="ignore").encode()


class MatchReader:
    """Reads the first message of a stream, and refuses that others speak of the question again."""

    def __init__(self, questions: QuestionReader, most: int) -> None:
        """`most` is how many features each probe may be answered with."""
        self._questions = questions
        self._most = most
        self._inquiries: Mapping[str, Callable[[Any], Inquiry]] = {
            "radius": questions.radius_inquiry,
            "nearest": questions.nearest_inquiry,
            "intersects": questions.intersects_inquiry,
        }

    def first(self, request: query_pb2.MatchRequest, stored: Stored | None = None) -> Matching:
        """What is asked about all probes: nothing is `stored` for it."""
        query = fields.required(request, "query")
        with at("query"):
            inquiry = self._inquiry(query)
        output = self._questions.output(inquiry.layer, request.output)
        limit = fields.size(request.limit, DEFAULT_LIMIT, self._most, "limit")
        # One more shows whether there are more.
        fetched = limit if inquiry.kind is Kind.NEAREST else limit + 1
        shared = Shape(
            inquiry.kind,
            inquiry.layer.name,
            output,
            inquiry.variant,
            fetched,
            filter=inquiry.filter,
            within=inquiry.within,
            revision=inquiry.layer.revision,
        )
        return Matching(inquiry, limit, shared, replace(shared, boxed=True), replace(shared, constant=True))

    def _inquiry(self, query: query_pb2.Query) -> Inquiry:
        kind = query.WhichOneof("kind")
        if kind is None:
            raise InvalidArgument(Reason.REQUIRED, "one of radius, nearest, intersects must be set", field="kind")
        if kind not in self._inquiries:
            raise _unexpected(kind, "only radius, nearest and intersects are asked about probes")
        with at(kind):
            asked = getattr(query, kind)
            if asked.HasField(_CENTERS[kind]):
                raise _unexpected(_CENTERS[kind], "the probes are in `probes`")
            return self._inquiries[kind](asked)

    @staticmethod
    def check_later(request: query_pb2.MatchRequest) -> None:
        """A later message brings probes and nothing else."""
        for field, _ in request.ListFields():
            if field.name != "probes":
                raise _unexpected(field.name, "only the first message says what is asked")


def _unexpected(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(Reason.UNEXPECTED_FIELD, f"{field} must not be set here: {why}", field=field)


def match_packing(statement: Statement) -> Packing | None:
    """How PostgreSQL writes the features of matches, if it can."""
    return packing(statement, _FEATURE)


class MatchWriter:
    """`status` makes the google.rpc.Status of an error."""

    def __init__(self, max_bytes: int, status: Callable[[SpatialError], Message]) -> None:
        self._features = FeatureWriter()
        self._max_bytes = max_bytes
        self._status = status

    def found(self, answer: Answer, limit: int) -> Iterator[bytes]:
        """The features of a match, some at a time."""
        rows = iter(answer.rows[:limit])
        while some := list(islice(rows, SLICE_ROWS)):
            features = self._features.features(answer.statement, some)
            yield b"".join([_FEATURES[len(feature)] + feature for feature in features])

    def match(self, key: bytes, answer: Answer, found: list[bytes], limit: int) -> bytes:
        """A match with what was found, as part of a response. What passes the limit on bytes is its error."""
        if answer.cut or sum(map(len, found)) > self._max_bytes:
            return self.failed(key, self._too_large())
        more = _MORE if len(answer.rows) > limit else b""
        return _framed(wire.delimited(_KEY, key), *found, more)

    def written(self, key: bytes, answer: Answer, features: bytes, limit: int) -> bytes:
        """A match whose features PostgreSQL has written."""
        some = features if len(answer.rows) <= limit else wire.first_elements(features, limit)
        return self.match(key, answer, [some], limit)

    def failed(self, key: bytes, error: SpatialError) -> bytes:
        """A match that is an error, as part of a response."""
        status = self._status(error).SerializeToString()
        return _framed(wire.delimited(_KEY, key), wire.delimited(_ERROR, status))

    def _too_large(self) -> SpatialError:
        return ResourceExhausted(
            Reason.RESPONSE_TOO_LARGE,
            f"the match is larger than {self._max_bytes} bytes: ask for fewer features, or less of each",
            metadata={"limit": str(self._max_bytes)},
        )


def _framed(*parts: bytes) -> bytes:
    return wire.delimited(_MATCHES, b"".join(parts))


class ResponseBuilder:
    """Gathers matches until they are about as large as a response should be."""

    def __init__(self) -> None:
        self._matches: list[bytes] = []
        self._size = 0

    def add(self, match: bytes) -> Iterable[bytes]:
        """What goes out before this match, if that would make the response too large."""
        full = self.rest() if self._size + len(match) > BATCH_BYTES else ()
        self._matches.append(match)
        self._size += len(match)
        return full

    def rest(self) -> Iterable[bytes]:
        """What is left to go out, if anything is."""
        response = b"".join(self._matches)
        self._matches.clear()
        self._size = 0
        return (response,) if response else ()
