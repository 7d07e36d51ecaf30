"""What lanes note on the trail of a call: how long it waited for them, for a connection, and for its statement."""

from collections.abc import Mapping
from time import perf_counter
from types import MappingProxyType

from service.db.batch import Call
from service.db.lane import Ran
from service.db.queries import Statement
from service.observability.trail import NONE, Trail, Value

ERRAND: Mapping[str, Value] = MappingProxyType({"query": "errand"})


def note(trail: Trail, since: float, ran: Ran | None, about: Mapping[str, Value] = NONE) -> None:
    """Of a job that waited `since` then; of one that never ran, how long it waited in vain."""
    if ran is None:
        trail.note("lane", since, perf_counter() - since)
        return
    trail.note("lane", since, max(0.0, ran.began - since))
    if ran.checkout:
        trail.note("checkout", ran.began, ran.checkout)
    if ran.seconds:
        trail.note("statement", ran.began + ran.checkout, ran.seconds, about)


def note_search(trail: Trail, call: Call, statement: Statement) -> None:
    shape = statement.shape
    trail.asked = call.search
    note(trail, call.since, call.ran, {"query": shape.name, "layer": shape.layer, "statement": statement.sql})
