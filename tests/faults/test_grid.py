"""Grids that end before they have counted everything leave nothing behind."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.conftest import NewDatabase
from tests.grids import of_layer
from tests.questions import fill
from tests.servers import Served, refusal, serving
from tests.situations import cancelled, eventually, expiring, locked, sessions
from tests.streams import BULK_IN_USE, BULK_RUNNING, IDLE_IN_TRANSACTION, IN_FLIGHT

GRID = of_layer("facilities", "HEXAGON", cell_size=0.01)


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Served]:
    with serving(url, max_streams=1, lock_timeout=30) as running:
        yield running


def counted(served: Served) -> int:
    return sum(cell.count for batch in served.stub.AggregateGrid(GRID, timeout=30) for cell in batch.cells)


@pytest.mark.parametrize(
    ("end", "code"),
    [(cancelled, grpc.StatusCode.CANCELLED), (expiring, grpc.StatusCode.DEADLINE_EXCEEDED)],
    ids=["cancelled", "out of time"],
)
def test_a_grid_that_nobody_waits_for_frees_its_connection(
    served: Served, url: str, end: Any, code: grpc.StatusCode
) -> None:
    def start(seconds: float) -> Any:
        eventually(lambda: served.metric(IN_FLIGHT) == 0)
        return served.stub.AggregateGrid(GRID, timeout=seconds)

    with locked(url, "facilities"):
        with pytest.raises(grpc.RpcError) as error:
            next(end(start, lambda: sessions(url, BULK_RUNNING)))
        assert error.value.code() is code
        eventually(lambda: not sessions(url, BULK_RUNNING))
    eventually(lambda: served.metric(IN_FLIGHT) == served.metric(BULK_IN_USE) == 0)
    assert not sessions(url, IDLE_IN_TRANSACTION)
    assert counted(served) == 100


def test_grids_count_among_the_most_streams(served: Served, url: str) -> None:
    with locked(url, "facilities"):
        call = served.stub.AggregateGrid(GRID, timeout=30)
        eventually(lambda: sessions(url, BULK_RUNNING))
        with pytest.raises(grpc.RpcError) as error:
            next(served.stub.AggregateGrid(GRID, timeout=30))
        told = refusal(error.value)
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
        call.cancel()
    eventually(lambda: served.metric(IN_FLIGHT) == 0)
    assert counted(served) == 100
