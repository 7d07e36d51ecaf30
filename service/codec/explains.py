"""Requests to explain: from a query to the search or the join whose plan is wanted, and from the plan to the answer."""

from service.codec import fields
from service.codec.exports import everything
from service.codec.fields import at
from service.codec.geometry import Stored
from service.codec.joins import JoinReader
from service.codec.questions import QuestionReader
from service.codec.requests import RequestReader
from service.db.explain import Explanation, Refusal
from service.domain import Join, Kind, Search
from service.errors import InvalidArgument, Reason
from spatial.v1 import admin_pb2


class ExplainReader:
    def __init__(self, questions: QuestionReader, requests: RequestReader, joins: JoinReader) -> None:
        self._questions = questions
        self._requests = requests
        self._joins = joins

    def asked(self, request: admin_pb2.ExplainRequest, stored: Stored | None = None) -> Search | Join:
        """What would answer the query: a first page, or where there are no pages, or none are wanted, the stream."""
        query = fields.required(request, "query")
        if query.WhichOneof("kind") == "join":
            return self._join(request)
        with at("query"):
            question = self._questions.any(query, stored)
        if request.stream and question.kind is Kind.NEAREST:
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, "what is nearest is not streamed", field="stream")
        if request.stream or question.kind in (Kind.ALL, Kind.WINDOW):
            output = self._questions.output(self._questions.layer(question.layer), request.output)
            return everything(question, output)
        return self._requests.first_page(question, request.output)

    def _join(self, request: admin_pb2.ExplainRequest) -> Join:
        if request.HasField("output"):
            raise InvalidArgument(
                Reason.UNEXPECTED_FIELD, "a join is explained for the keys of its pairs alone", field="output"
            )
        with at("query"), at("join"):
            return self._joins.pairs(request.query.join)


def explain_response(explanation: Explanation, refusal: Refusal | None) -> admin_pb2.ExplainResponse:
    plan = explanation.plan
    return admin_pb2.ExplainResponse(
        text=explanation.text,
        json=explanation.json,
        indexes=plan.indexes,
        sequential_scans=plan.sequential_scans,
        total_cost=plan.cost,
        estimated_rows=plan.rows,
        sql=explanation.asked.sql,
        refusal=refusal.message if refusal else "",
    )
