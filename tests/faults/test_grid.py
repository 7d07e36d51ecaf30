"""Grids that end before they have counted everything leave nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.conftest import NewDatabase
from tests.grids import of_layer
from tests.questions import fill
from tests.servers import Served, refusal, serving
from tests.situations import eventually, locked, sessions
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


def cancelled(call: Any) -> None:
    call.cancel()


def out_of_time(call: Any) -> None:
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("timeout", "end"), [(30, cancelled), (1.5, out_of_time)], ids=["cancelled", "out of time"])
def test_a_grid_that_nobody_waits_for_frees_its_connection(
    served: Served, url: str, timeout: float, end: Callable[[Any], None]
) -> None:
    with locked(url, "facilities"):
        call = served.stub.AggregateGrid(GRID, timeout=timeout)
        eventually(lambda: sessions(url, BULK_RUNNING))
        end(call)
        eventually(lambda: not sessions(url, BULK_RUNNING), within=5)
    eventually(lambda: served.metric(IN_FLIGHT) == served.metric(BULK_IN_USE) == 0, within=5)
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
    eventually(lambda: served.metric(IN_FLIGHT) == 0, within=5)
    assert counted(served) == 100
