"""From requests to remove what a query finds to deletions."""

from service.changes import Deletion
from service.codec import fields
from service.codec.arriving.promises import check_writable, promise_of
from service.codec.exports import everything
from service.codec.fields import at
from service.codec.geometry import Stored
from service.codec.questions import QuestionReader
from service.domain import Output, Question, View
from service.errors import InvalidArgument, Reason
from spatial.v1 import query_pb2, write_pb2

KEYS = Output((), View.NONE)


class DeletionReader:
    def __init__(self, questions: QuestionReader) -> None:
        self._questions = questions

    def deletion(self, request: write_pb2.DeleteFeaturesRequest, stored: Stored | None = None) -> Deletion:
        query = fields.required(request, "query")
        with at("query"):
            question = self._question(query, stored)
        return Deletion(
            everything(question, KEYS), _most(request.max_features), request.validate_only, promise_of(request)
        )

    def _question(self, query: query_pb2.Query, stored: Stored | None) -> Question:
        kind = query.WhichOneof("kind")
        if kind in ("nearest", "join"):
            raise InvalidArgument(
                Reason.UNEXPECTED_FIELD, f"what radius, intersects or layer finds is removed, not {kind}", field=kind
            )
        question = self._questions.any(query, stored)
        check_writable(self._questions.layer_of(question), f"{kind}.layer")
        return question


def _most(number: int) -> int:
    if number == 0:
        raise InvalidArgument(Reason.REQUIRED, "max_features must be set", field="max_features")
    if number < 0:
        raise InvalidArgument(
            Reason.OUT_OF_RANGE, f"max_features must be from 1 on, and is {number}", field="max_features"
        )
    return number


def deletions_response(deleted: int) -> bytes:
    """Without the token, which comes when it is known."""
    return write_pb2.DeleteFeaturesResponse(deleted=deleted).SerializeToString()
