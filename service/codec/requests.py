"""From request messages to searches. What a caller can get wrong is said with the path of the field."""

from collections.abc import Iterable

from service.catalog import Layer
from service.codec import fields, tokens
from service.codec.fields import at
from service.codec.geometry import Stored
from service.codec.questions import QuestionReader
from service.codec.tokens import fingerprint, read_token
from service.db.batch import array_literal
from service.domain import (
    Argument,
    Count,
    Key,
    Kind,
    Output,
    Page,
    Question,
    Result,
    Search,
    Shape,
)
from service.errors import InvalidArgument, Reason
from spatial.v1 import query_pb2

DEFAULT_PAGE = 100
DEFAULT_NEAREST = 10
MOST_IDS = 1000
MOST_SHAPES = 4096
HEAVY_ROWS = 250  # an answer of more may be slow to make


class RequestReader:
    """Reads the requests of SpatialService. `stored` is what the database has for a probe that is a feature."""

    def __init__(self, questions: QuestionReader, most: int) -> None:
        """`most` is how many features a page may have."""
        self.questions = questions
        self._most = most
        self._shapes: dict[tuple[object, ...], Shape] = {}

    def layer(self, request: query_pb2.GetLayerRequest) -> Layer:
        return self.questions.layer(request.name, "name")

    def feature(self, request: query_pb2.GetFeatureRequest, stored: Stored | None = None) -> Search:
        layer = self.questions.layer(request.layer)
        with at("id"):
            key = layer.parse_key(request.id)
        return self._lookup(layer, request.output, [key])

    def features(self, request: query_pb2.BatchGetFeaturesRequest, stored: Stored | None = None) -> Search:
        layer = self.questions.layer(request.layer)
        if not request.ids:
            raise InvalidArgument(Reason.REQUIRED, "at least one id must be named", field="ids")
        if len(request.ids) > MOST_IDS:
            raise InvalidArgument(
                Reason.TOO_MANY_ELEMENTS,
                f"at most {MOST_IDS} ids may be named, not {len(request.ids)}",
                field="ids",
                metadata={"limit": str(MOST_IDS)},
            )
        keys = []
        for index, text in enumerate(request.ids):
            with at(f"ids[{index}]"):
                keys.append(layer.parse_key(text))
        return self._lookup(layer, request.output, keys)

    def radius(self, request: query_pb2.SearchRadiusRequest, stored: Stored | None = None) -> Page:
        query = fields.required(request, "query")
        with at("query"):
            question = self.questions.radius(query, stored)
        return self._page(request, question, distances=1)

    def intersects(self, request: query_pb2.SearchIntersectsRequest, stored: Stored | None = None) -> Page:
        query = fields.required(request, "query")
        with at("query"):
            question = self.questions.intersects(query, stored)
        return self._page(request, question)

    def nearest(self, request: query_pb2.SearchNearestRequest, stored: Stored | None = None) -> Search:
        query = fields.required(request, "query")
        with at("query"):
            question = self.questions.nearest(query, stored)
        limit = fields.size(request.limit, DEFAULT_NEAREST, self._most, "limit")
        return self._search(question, request.output, limit)

    def count(self, request: query_pb2.CountFeaturesRequest, stored: Stored | None = None) -> Count:
        query = fields.required(request, "query")
        with at("query"):
            question = self.questions.any(query, stored)
        shape = Shape(
            question.kind,
            question.layer,
            variant=question.variant,
            constant=True,
            result=Result.COUNT,
            filter=question.filter,
            within=question.within,
            boxed=question.boxed,
            revision=question.revision,
        )
        return Count(Search(shape, question.arguments, heavy=True), estimated(request))

    def _lookup(self, layer: Layer, output: query_pb2.Output, keys: list[Key]) -> Search:
        return lookup(layer, self.questions.output(layer, output, etags=True), keys)

    def first_page(self, question: Question, output: query_pb2.Output) -> Search:
        """A search for as much as a page has unless its size is said."""
        return self._search(question, output, min(DEFAULT_PAGE, self._most) + (question.kind is not Kind.NEAREST))

    def _page(
        self,
        request: query_pb2.SearchRadiusRequest | query_pb2.SearchIntersectsRequest,
        question: Question,
        distances: int = 0,
    ) -> Page:
        """A page, from the start or from where its token says; `distances` is how many stand in the token."""
        most = fields.size(request.page_size, DEFAULT_PAGE, self._most, "page_size")
        after: tuple[Argument, ...] = ()
        if request.page_token:
            keys = [self.questions.layer_of(question)]
            after = read_token(tokens.Kind.PAGE, request.page_token, bound_to(request), keys, distances=distances)
        return Page(self._search(question, request.output, most + 1, after), most)

    def _search(
        self, question: Question, output: query_pb2.Output, limit: int, after: tuple[Argument, ...] = ()
    ) -> Search:
        heavy = question.heavy or limit > HEAVY_ROWS
        return Search(self._shape(question, output, limit, bool(after)), question.arguments + after, heavy)

    def _shape(self, question: Question, output: query_pb2.Output, limit: int, resumed: bool) -> Shape:
        """The shape of an answer, kept: most calls ask like one before them, and reading an Output is not cheap."""
        asked = (question.kind, question.layer, question.revision, question.variant, question.big)
        key = (*asked, question.filter, question.within, question.boxed, limit, resumed, output.SerializeToString())
        shape = self._shapes.get(key)
        if shape is None:
            wanted = self.questions.output(self.questions.layer_of(question), output)
            shape = Shape(
                question.kind,
                question.layer,
                wanted,
                question.variant,
                limit,
                resumed=resumed,
                constant=question.big,
                filter=question.filter,
                within=question.within,
                boxed=question.boxed,
                revision=question.revision,
            )
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            self._shapes[key] = shape
        return shape


def estimated(request: query_pb2.CountFeaturesRequest) -> bool:
    """Whether an estimate is asked for."""
    if request.mode not in query_pb2.CountFeaturesRequest.Mode.values():
        raise InvalidArgument(
            Reason.UNKNOWN_ENUM_VALUE, f"{request.mode} is no mode that this server knows", field="mode"
        )
    return request.mode == query_pb2.CountFeaturesRequest.MODE_ESTIMATED


def bound_to(request: query_pb2.SearchRadiusRequest | query_pb2.SearchIntersectsRequest) -> bytes:
    """What the page tokens of a request are bound to."""
    return fingerprint(request, "page_size", "page_token", "freshness_token")


def lookup(layer: Layer, output: Output, keys: Iterable[Key]) -> Search:
    """The features with these keys."""
    shape = Shape(Kind.LOOKUP, layer.name, output, revision=layer.revision)
    keys = dict.fromkeys(keys)
    return Search(shape, (array_literal(keys),), heavy=len(keys) > HEAVY_ROWS)
