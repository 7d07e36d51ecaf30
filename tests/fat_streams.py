"""Streams of parcels that are more than anything on their way to a reader holds, and what is left of them."""

from typing import Any

import grpc
import pytest

from tests.servers import Served, refusal
from tests.situations import eventually, fetch, sessions
from tests.streams import (
    BULK_IN_USE,
    BULK_RUNNING,
    BULK_SESSIONS,
    IDLE_IN_TRANSACTION,
    IN_FLIGHT,
    ids,
    stream,
    whole,
)

FAT = 300
PARCELS = whole("parcels")
ZONES = whole("zones")
HANDLED = (
    'grpc_server_handled_total{{grpc_code="{}",grpc_method="StreamFeatures"'
    ',grpc_service="spatial.v1.SpatialService",grpc_type="server_stream"}}'
)
IDLE = 'spatial_pool_connections{pool="bulk",state="idle"}'


def fatten(url: str) -> None:
    """Parcels of 100 KB each, 30 MB that no window and no buffer holds; on disk they are small."""
    fetch(
        url,
        "DELETE FROM parcels; INSERT INTO parcels (number, name, land_use, district_id, boundary)"
        " SELECT n, repeat('x', 100000), 'park', 1, ST_MakeEnvelope(0, 0, 1, 1, 4326)"
        f" FROM generate_series(1, {FAT}) n",
    )


def begun(served: Served, timeout: float | None = 60) -> Any:
    """A stream that has delivered its first batch and cannot end before it is read on."""
    call = stream(served.stub, PARCELS, timeout)
    assert ids(next(call))
    return call


def refused(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    return refusal(error.value)


def code(call: Any) -> str:
    """What a stream ended with, read to its end."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def at_rest(served: Served) -> bool:
    return served.metric(IN_FLIGHT) == 0 and served.metric(BULK_IN_USE) == 0


def assert_nothing_is_left(served: Served, url: str) -> None:
    eventually(lambda: at_rest(served))
    eventually(lambda: not sessions(url, BULK_RUNNING))
    eventually(lambda: len(sessions(url, BULK_SESSIONS)) == served.metric(IDLE))
    eventually(lambda: not sessions(url, IDLE_IN_TRANSACTION))
