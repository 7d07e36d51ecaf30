"""From requests for streams to exports: everything that a question finds, from the start or from where a token says."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from service.catalog import Layer
from service.codec import fields, tokens
from service.codec.fields import at
from service.codec.geometry import Stored
from service.codec.questions import QuestionReader
from service.domain import Argument, Encoding, Export, Layout, Output, Question, Result, Search, Shape
from service.errors import InvalidArgument, Reason
from spatial.v1 import query_pb2

FeatureStream: TypeAlias = (
    query_pb2.StreamRadiusRequest | query_pb2.StreamIntersectsRequest | query_pb2.StreamFeaturesRequest
)
Resumable: TypeAlias = FeatureStream | query_pb2.StreamJoinRequest
After = tuple[Argument, ...]


class ExportReader:
    """Reads the requests whose answers are streams of features."""

    def __init__(self, questions: QuestionReader) -> None:
        self._questions = questions

    def radius(self, request: query_pb2.StreamRadiusRequest, stored: Stored | None = None) -> Export:
        return self._export(request, self._questions.radius, stored)

    def intersects(self, request: query_pb2.StreamIntersectsRequest, stored: Stored | None = None) -> Export:
        return self._export(request, self._questions.intersects, stored)

    def features(self, request: query_pb2.StreamFeaturesRequest, stored: Stored | None = None) -> Export:
        return self._export(request, self._questions.window, stored)

    def _export(
        self, request: FeatureStream, read: Callable[[Any, Stored | None], Question], stored: Stored | None
    ) -> Export:
        query = fields.required(request, "query")
        with at("query"):
            question = read(query, stored)
        layer = self._questions.layer_of(question)
        layout = fields.enumerated(Layout, request.layout, Layout.ROWS, "layout")
        output = self._questions.output(layer, request.output)
        if layout is not Layout.ROWS and output.encoding is not Encoding.WKB:
            raise InvalidArgument(
                Reason.UNSUPPORTED_ENCODING, f"{layout.name} carries geometry as WKB only", field="output.encoding"
            )
        if layout is not Layout.ROWS and request.output.etags:
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, f"{layout.name} carries no etags", field="output.etags")
        bound_to, after = resumption(request, [layer])
        return Export(everything(question, output, after, ordered=bound_to is not None), layout, bound_to)


def everything(question: Question, output: Output, after: After = (), *, ordered: bool = False) -> Search:
    """All that a question finds."""
    result = Result.ALL_BY_KEY if ordered else Result.ALL
    shape = Shape(
        question.kind,
        question.layer,
        output,
        question.variant,
        resumed=bool(after),
        constant=True,
        result=result,
        filter=question.filter,
        boxed=question.boxed,
        revision=question.revision,
    )
    return Search(shape, question.arguments + after, heavy=True)


def resumption(request: Resumable, keys: Sequence[Layer]) -> tuple[bytes | None, After]:
    """What the tokens of a resumable stream are bound to, if it is one, and after which keys it goes on, if it does."""
    if not request.resumable:
        if request.resume_token:
            raise InvalidArgument(
                Reason.INVALID_RESUME_TOKEN, "only a resumable stream can be gone on with", field="resume_token"
            )
        return None, ()
    bound_to = tokens.fingerprint(request, "resume_token", "freshness_token")
    if not request.resume_token:
        return bound_to, ()
    return bound_to, tokens.read_token(tokens.Kind.RESUME, request.resume_token, bound_to, keys)
