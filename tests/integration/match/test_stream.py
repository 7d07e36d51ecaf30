"""Matches as a stream: order, keys, batches, and how little memory it takes."""

import os
import queue
import random
from pathlib import Path
from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2_grpc
from spatial.v1.query_pb2 import MatchProbe, MatchRequest, Output
from tests.matched import World, mixed, points
from tests.matching import in_messages, keyed, match, matches, opening
from tests.processes import spatial_serve
from tests.searches import intersects, nearest, point


def test_answers_keep_the_order_of_the_probes_whatever_each_costs(demo: World) -> None:
    probes = [*keyed(mixed(50)), *keyed(points(500), start=50), *keyed(mixed(50), start=550)]
    generator = random.Random(5)
    requests = [opening(intersects("zones", point(0, 0)), limit=1)]
    rest = probes
    while rest:
        size = generator.choice([0, 1, 1, 7, 150])
        requests.append(MatchRequest(probes=rest[:size]))
        rest = rest[size:]

    assert [each.key for each in matches(demo.stub, requests)] == [each.key for each in probes]


def test_one_message_with_everything_is_enough(demo: World) -> None:
    request = opening(nearest("facilities", point(0, 0)), limit=1)
    request.probes.extend(keyed(points(400)))

    found = matches(demo.stub, [request])

    assert [each.key for each in found] == [str(number) for number in range(400)]
    assert all(len(each.features) == 1 for each in found)


def test_keys_need_not_be_unique_nor_set(demo: World) -> None:
    keys = ["", "a", "a", "ключ", "é" * 128]
    request = opening(nearest("facilities", point(0, 0)), limit=1)
    request.probes.extend(MatchProbe(key=key, probe=point(0, 0)) for key in keys)

    assert [each.key for each in matches(demo.stub, [request])] == keys


@pytest.mark.parametrize("messages", [0, 1, 3])
def test_a_stream_without_probes_ends_well(demo: World, messages: int) -> None:
    requests = [opening(nearest("facilities", point(0, 0))), MatchRequest(), MatchRequest()][:messages]

    assert matches(demo.stub, requests) == []


def test_a_probe_that_comes_alone_is_answered_at_once(demo: World) -> None:
    """The stream stays open all the while: each probe is sent when the one before it has been answered."""
    waiting: queue.SimpleQueue[MatchRequest | None] = queue.SimpleQueue()
    waiting.put(opening(nearest("facilities", point(0, 0)), limit=1))
    call = demo.stub.MatchFeatures(iter(waiting.get, None), timeout=20)
    for number in range(30):
        waiting.put(MatchRequest(probes=keyed([point(number, 50)], start=number)))
        assert [each.key for each in next(call).matches] == [str(number)]
    waiting.put(None)
    assert list(call) == []


def test_many_probes_share_a_statement(demo: World) -> None:
    count, total = "spatial_lane_batch_size_count", "spatial_lane_batch_size_sum"
    statements, probes = demo.served.metric(count), demo.served.metric(total)

    match(demo.stub, nearest("facilities", point(0, 0)), points(2000), size=2000, limit=1)

    assert demo.served.metric(total) - probes == 2000
    assert demo.served.metric(count) - statements < 2000 / 40


def test_responses_are_about_as_large_as_batches_are(demo: World) -> None:
    request = opening(intersects("zones", point(0, 0)), output=Output())
    request.probes.extend(keyed(points(800)))

    responses = list(demo.stub.MatchFeatures(iter([request]), timeout=60))

    sizes = [response.ByteSize() for response in responses]
    assert sum(sizes) > 4 * 2**20
    assert all(
        size <= 256 * 1024 or len(response.matches) == 1 for size, response in zip(sizes, responses, strict=True)
    )
    assert len(responses) < 3 * sum(sizes) / (256 * 1024) + 20


def resident_mebibytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_ten_thousand_probes_pass_through_little_memory(demo_database: str) -> None:
    def everything(count: int) -> int:
        first = opening(intersects("zones", point(0, 0)), output=Output())
        requests = in_messages(first, keyed(points(count)), 500)
        return sum(response.ByteSize() for response in stub.MatchFeatures(requests, timeout=120))

    with spatial_serve(database_url=demo_database) as process, grpc.insecure_channel(process.address) as channel:
        stub: Any = query_pb2_grpc.SpatialServiceStub(channel)
        everything(1000)
        before = resident_mebibytes(process.process.pid)
        answered = everything(10_000)
        after = resident_mebibytes(process.process.pid)
    assert answered > 32 * 2**20
    assert after - before < 16
