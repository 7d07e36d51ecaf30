"""What lanes note on the trail of a call: how long it waited for them, for a connection, and for its statement."""

from collections.abc import Iterator, Mapping
from functools import partial
from time import perf_counter
from types import MappingProxyType

from service.db.batch import Call
from service.db.lane import Ran
from service.db.queries import Statements
from service.observability.trail import NONE, Step, Trail, Value

ERRAND: Mapping[str, Value] = MappingProxyType({"query": "errand"})


def note(trail: Trail, since: float, ran: Ran | None, about: Mapping[str, Value] = NONE) -> None:
    """Of a job that waited `since` then; of one that never ran, how long it waited in vain."""
    trail.note(partial(_steps, since, ran, perf_counter(), about))


def note_search(trail: Trail, call: Call, statements: Statements) -> None:
    trail.asked = call.search
    trail.note(partial(_search_steps, call, perf_counter(), statements))


def _search_steps(call: Call, now: float, statements: Statements) -> Iterator[Step]:
    shape = call.search.shape
    about = {"query": shape.name, "layer": shape.layer, "statement": statements[shape].sql}
    return _steps(call.since, call.ran, now, about)


def _steps(since: float, ran: Ran | None, now: float, about: Mapping[str, Value]) -> Iterator[Step]:
    if ran is None:
        yield Step("lane", since, now - since)
        return
    yield Step("lane", since, max(0.0, ran.began - since))
    if ran.checkout:
        yield Step("checkout", ran.began, ran.checkout)
    if ran.seconds:
        yield Step("statement", ran.began + ran.checkout, ran.seconds, about)
