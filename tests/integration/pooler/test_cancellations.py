"""Behind PgBouncer what is cancelled is the right thing."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from spatial.v1 import write_pb2, write_pb2_grpc
from tests.neighbours import innocents, neighbours, right
from tests.pooler import PgBouncer
from tests.questions import facility, nearest, radius
from tests.servers import Served
from tests.situations import blocked, eventually, locked, quiet
from tests.streams import whole

CANCELLED: dict[str, Callable[[Served], Any]] = {
    "a search": lambda served: served.stub.SearchRadius.future(radius(), timeout=30),
    "a heavy search": lambda served: served.stub.SearchRadius.future(radius(meters=2e6), timeout=30),
    "a stream": lambda served: served.stub.StreamFeatures(whole(), timeout=30),
    "a change": lambda served: write_pb2_grpc.FeatureServiceStub(served.channel).DeleteFeature.future(
        write_pb2.DeleteFeatureRequest(layer="facilities", id="1"), timeout=30
    ),
}


@pytest.mark.parametrize("start", CANCELLED.values(), ids=CANCELLED)
def test_a_statement_ends_soon_after_its_callers_cancellation(
    served: Served, url: str, start: Callable[[Served], Any]
) -> None:
    with locked(url, "facilities"):
        call = start(served)
        eventually(blocked(url), within=20)
        call.cancel()
        eventually(quiet(url))
    assert [each.id for each in served.stub.SearchNearest(facility(7), timeout=10).features] == ["7"]


def test_cancellations_at_any_moment_hit_no_neighbour(served: Served, bouncer: PgBouncer) -> None:
    """On the way, in the queue, in a statement, or late: those beside them share the two sessions."""
    cancelled = 'spatial_statements_cancelled_total{cause="abandoned"}'
    before = served.metric(cancelled)
    with innocents(right(served), callers=3), neighbours(bouncer, 3):
        for number in range(400):
            leaving = served.stub.SearchNearest.future(nearest(longitude=(number % 100) * 0.01), timeout=10)
            heavy = served.stub.SearchRadius.future(radius(meters=2e6), timeout=10) if number % 4 == 0 else None
            time.sleep((number % 8) * 0.001)  # spreads the moments over a call's life; no outcome depends on it
            leaving.cancel()
            if heavy:
                heavy.cancel()
    assert served.metric(cancelled) > before
