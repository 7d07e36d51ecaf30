"""More callers than a server can serve, and more than its memory holds: what it refuses, and that others and the server
itself come through. Relations are asserted, no speeds: machines differ."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2_grpc
from spatial_client import ResourceExhausted
from spatial_client.aio import AsyncSpatialClient
from tests.conftest import NewDatabase
from tests.faults.test_stream_memory import resident
from tests.processes import Serving, spatial_serve
from tests.questions import fill, radius, zone
from tests.servers import Served, refusal, serving
from tests.situations import blocked, eventually, fetch, locked
from tests.streams import size, stream, whole

SECONDS = 1.5


# Calls that wait for lanes.


def refusals(calls: list[Any]) -> Counter[str]:
    """The reasons of those that have ended already."""
    return Counter(refusal(call).reason for call in calls if call.done() and call.exception() is not None)


def test_calls_that_cannot_be_answered_soon_are_refused_and_others_are_not_held_up(filled: str) -> None:
    """A table that is locked is as slow as a database gets."""
    with serving(filled, lane_batch=4, lock_timeout=60, adaptive_limit=True) as served:
        with locked(filled, "facilities") as unlock:
            first = [served.stub.SearchRadius.future(radius(), timeout=60) for _ in range(8)]
            eventually(blocked(filled), within=20)
            calls = [served.stub.SearchRadius.future(radius(), timeout=60) for _ in range(60)]

            def too_many() -> bool:
                """Before it is known that the first ones take long, there is no reason to refuse any."""
                calls.append(served.stub.SearchRadius.future(radius(), timeout=60))
                return refusals(calls)["OVERLOADED"] > 0

            eventually(too_many, within=20)
            for number in range(1, 11):
                assert [feature.id for feature in served.stub.SearchIntersects(zone(number), timeout=20).features] == [
                    str(number)
                ]
            assert refusals(calls).keys() == {"OVERLOADED"}
            eventually(lambda: served.health() == "SERVING", within=20)
            unlock()
        kept = [call for call in calls if call.exception() is None]
        assert all(call.result().features for call in (*first, *kept))
        assert served.metric('spatial_requests_rejected_total{reason="overloaded"}') == refusals(calls)["OVERLOADED"]
        eventually(lambda: answers(served), within=20)


def answers(served: Served) -> bool:
    """Whether eight at a time are all let in."""
    calls = [served.stub.SearchRadius.future(radius(), timeout=20) for _ in range(8)]
    return all(call.exception() is None for call in calls)


def test_without_the_adaptive_limit_calls_wait_as_long_as_it_takes(filled: str) -> None:
    with serving(filled, lane_batch=4, lock_timeout=60, adaptive_limit=False) as served:
        with locked(filled, "facilities"):
            calls = [served.stub.SearchRadius.future(radius(), timeout=60) for _ in range(60)]
            eventually(lambda: served.metric("spatial_lane_depth") == 60, within=20)
        assert all(call.result().features for call in calls)


# Callers without end.


async def flood(address: str, callers: int, *, patient: bool) -> tuple[int, Counter[str]]:
    """How many calls were answered, and the reasons of the others."""
    answered, others, until = 0, Counter[str](), time.monotonic() + SECONDS
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = query_pb2_grpc.SpatialServiceStub(channel)

        async def call_on_and_on() -> None:
            nonlocal answered
            while time.monotonic() < until:
                try:
                    await stub.SearchRadius(radius(), timeout=30)
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    told = refusal(error)
                    others[told.reason] += 1
                    assert told.retry_seconds, told
                    if patient:
                        await asyncio.sleep(min(told.retry_seconds, until - time.monotonic()))

        await asyncio.gather(*(call_on_and_on() for _ in range(callers)))
    return answered, others


@pytest.fixture(scope="module")
def server(new_database: NewDatabase) -> Iterator[Serving]:
    with new_database() as url:
        fill(url)
        # Little room, so that a few callers are too many on any machine.
        with spatial_serve(database_url=url, lane_batch="2", lanes="1", queue_target="0.001") as server:
            yield server


@pytest.mark.parametrize("patient", [True, False], ids=["patient callers", "callers that insist"])
def test_a_flood_is_answered_as_far_as_possible_and_the_rest_told_when_to_come_again(
    server: Serving, patient: bool
) -> None:
    few, _ = asyncio.run(flood(server.address, 4, patient=True))
    answered, others = asyncio.run(flood(server.address, 64, patient=patient))
    assert others.keys() == {"OVERLOADED"}
    assert answered > (0.1 if patient else 0.01) * few, (answered, few, others)
    _, others = asyncio.run(flood(server.address, 1, patient=True))
    assert not others, "one caller is refused after the flood"


def test_health_answers_amid_a_flood(server: Serving) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async def probe_amid_flood() -> list[float]:
        flooding = asyncio.create_task(flood(server.address, 64, patient=False))
        seconds = []
        async with grpc.aio.insecure_channel(server.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            while not flooding.done():
                begun = time.monotonic()
                await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                seconds.append(time.monotonic() - begun)
                await asyncio.sleep(0.1)
        await flooding
        return seconds

    assert len(asyncio.run(probe_amid_flood())) > 1


def test_the_client_gets_through_a_flood_of_its_like(server: Serving) -> None:
    """With the retries that it makes unless told otherwise."""

    async def ask() -> Counter[str]:
        ends = Counter[str]()
        async with AsyncSpatialClient(server.address) as client:

            async def one() -> None:
                try:
                    page = await client.search_radius("facilities", (0, 0), 1000, timeout=60)
                    ends["answered" if [feature.id for feature in page.features] == ["1"] else "wrong"] += 1
                except ResourceExhausted:
                    ends["refused"] += 1

            await asyncio.gather(*(one() for _ in range(200)))
        return ends

    ends = asyncio.run(ask())
    assert ends["answered"] >= 150, ends
    assert ends["answered"] + ends["refused"] == 200


# More than memory holds.

MIB = 1024 * 1024
READERS = 40  # slow ones, each of which keeps more than a megabyte waiting
ENOUGH = 3  # refusals
ROOM = 45 * MIB  # beyond what a server has that answered searches alone


@pytest.fixture(scope="module")
def large(new_database: NewDatabase) -> Iterator[str]:
    """A layer of 10 MB."""
    with new_database() as url:
        fetch(
            url,
            "INSERT INTO facilities (name, kind, location)"
            " SELECT rpad('Facility ' || n, 900, '.'), 'test', ST_Point(n * 0.001, 0, 4326)"
            " FROM generate_series(1, 10000) n",
        )
        yield url


def test_streams_are_refused_before_memory_runs_out_and_let_in_again_when_there_is_some(
    large: str, server: Serving
) -> None:
    limit = round((resident(server) * MIB + ROOM) / 0.85)
    settings = {"max_streams": "64", "bulk_pool_size": "64", "workers": "1", "memory_limit": str(limit)}
    with ExitStack() as stack:
        small = stack.enter_context(spatial_serve(database_url=large, **settings))
        held, reasons = [], Counter[str]()
        for _ in range(READERS):
            stub, messages = slow_stream(stack, small.address)
            try:
                assert size(next(messages))
                held.append(messages)
            except grpc.RpcError as error:
                reasons[refusal(error).reason] += 1
            if reasons.total() == ENOUGH:
                break
            time.sleep(0.05)
        assert held
        assert reasons.keys() == {"MEMORY_PRESSURE"}
        assert stub.SearchRadius(radius(), timeout=10).features is not None, "a small call is still answered"
        assert resident(small) * MIB < limit, "the kernel would have killed it"
        for messages in held:
            messages.cancel()
        eventually(lambda: streams(stub), within=30)
        assert small.process.poll() is None


def slow_stream(stack: ExitStack, address: str) -> tuple[Any, Any]:
    """Over a connection of its own."""
    channel = stack.enter_context(grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]))
    stub = query_pb2_grpc.SpatialServiceStub(channel)
    return stub, stream(stub, whole("facilities"), timeout=120)


def streams(stub: Any) -> bool:
    """Whether a whole layer comes through."""
    try:
        return sum(map(size, stream(stub, whole("facilities"), timeout=30))) == 10_000
    except grpc.RpcError:
        return False
