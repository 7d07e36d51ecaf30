"""Changes that meet a service which fails, does not know or is cut off: tried again, and done once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from itertools import islice
from typing import Any, NoReturn

import grpc
import pytest

from service import errors
from service.errors import Reason
from service.interceptors.errors import DETAILS_KEY, STATUS, status_of
from spatial.v1 import query_pb2, query_pb2_grpc, write_pb2, write_pb2_grpc
from spatial_client import (
    Aborted,
    AsyncSpatialClient,
    DeadlineExceeded,
    FailedPrecondition,
    NewFeature,
    Retry,
    SpatialClient,
    Unavailable,
    _aio_imports,
    _packing,
    _sources,
)
from spatial_client._sources import end_of
from tests.clients import Blocking

BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
QUICKLY = Retry(attempts=5, first_pause=0.01, longest_pause=0.05)

UNKNOWN = errors.Unavailable(Reason.OUTCOME_UNKNOWN, "nobody knows", retry_after=0.01)
CONFLICT = errors.Aborted(Reason.CONFLICT, "somebody came between", retry_after=0.01)
CHANGED = errors.Aborted(Reason.ETAG_MISMATCH, "changed")
NO_LEDGER = errors.FailedPrecondition(Reason.LEDGER_MISSING, "no place to remember")
READ_ONLY = errors.FailedPrecondition(Reason.LAYER_READ_ONLY, "read only")


def refuse(context: grpc.ServicerContext, error: errors.SpatialError) -> NoReturn:
    context.set_trailing_metadata(((DETAILS_KEY, status_of(error).SerializeToString()),))
    context.abort(STATUS[type(error)], error.message)
    raise AssertionError


class Failing(query_pb2_grpc.SpatialServiceServicer, write_pb2_grpc.FeatureServiceServicer):
    """Fails a change as often as it is told to. Of an import it commits what `settles` says after each message, and
    fails where `cuts` says: at the message that has this row."""

    def __init__(self, *failures: errors.SpatialError) -> None:
        self.failures = list(failures)
        self.requests: list[Any] = []
        self.cuts: dict[int, errors.SpatialError] = {}
        self.every = 1  # messages to a chunk
        self.stored: list[int] = []
        self.begun = False
        self.openings: list[write_pb2.ImportFeaturesRequest] = []
        self.asked = 0
        self.before_answer: list[errors.SpatialError] = []

    def CreateFeature(self, request: Any, context: Any) -> write_pb2.CreateFeatureResponse:  # noqa: N802
        self.requests.append(request)
        if self.failures:
            refuse(context, self.failures.pop(0))
        return write_pb2.CreateFeatureResponse(feature=request.feature, freshness_token="fresh")

    def GetLayer(self, request: Any, context: Any) -> query_pb2.Layer:  # noqa: N802
        number = query_pb2.Property(name="number", type="PROPERTY_TYPE_INTEGER")
        return query_pb2.Layer(name="places", srid=4326, properties=[number])

    def GetImport(self, request: Any, context: Any) -> write_pb2.GetImportResponse:  # noqa: N802
        self.asked += 1
        if not self.begun:
            refuse(context, errors.NotFound(Reason.IMPORT_NOT_FOUND, "no such import"))
        return write_pb2.GetImportResponse(totals=write_pb2.ImportTotals(rows=len(self.stored)))

    def ImportFeatures(self, requests: Any, context: Any) -> write_pb2.ImportFeaturesResponse:  # noqa: N802
        opening = next(requests)
        self.openings.append(opening)
        if self.failures:
            refuse(context, self.failures.pop(0))
        self.begun = True
        waiting: list[write_pb2.ImportFeaturesRequest] = []
        for request in requests:
            for row in [row for row in self.cuts if row < end_of(request)]:
                refuse(context, self.cuts.pop(row))
            waiting.append(request)
            if len(waiting) == self.every:
                self._store(waiting)
                waiting = []
        self._store(waiting)
        if self.before_answer:
            refuse(context, self.before_answer.pop())
        totals = write_pb2.ImportTotals(rows=len(self.stored), inserted=len(self.stored))
        return write_pb2.ImportFeaturesResponse(import_id=opening.plan.import_id, totals=totals)

    def _store(self, requests: list[write_pb2.ImportFeaturesRequest]) -> None:
        for request in requests:
            assert request.first_row <= len(self.stored), "a gap"
            (column,) = request.columns.properties
            self.stored += column.integers.values[len(self.stored) - request.first_row :]


@contextmanager
def served(failing: Failing) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    query_pb2_grpc.add_SpatialServiceServicer_to_server(failing, server)
    write_pb2_grpc.add_FeatureServiceServicer_to_server(failing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@BOTH
@pytest.mark.parametrize("failures", [[UNKNOWN], [CONFLICT, UNKNOWN, CONFLICT]], ids=["once", "again and again"])
def test_a_change_is_made_again_with_the_same_id(kind: Any, failures: list[errors.SpatialError]) -> None:
    failing = Failing(*failures)
    with served(failing) as address, kind(address, retry=QUICKLY) as client:
        written = client.create_feature("places", (1, 2))

    assert written.freshness_token == "fresh"
    assert len(failing.requests) == len(failures) + 1
    assert len({request.request_id for request in failing.requests}) == 1
    assert failing.requests[0].request_id


@BOTH
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        pytest.param(CHANGED, Aborted, id="changed since"),
        pytest.param(NO_LEDGER, FailedPrecondition, id="nowhere to remember it"),
    ],
)
def test_what_will_not_pass_is_said_at_once(kind: Any, failure: errors.SpatialError, raised: Any) -> None:
    failing = Failing(failure)
    with served(failing) as address, kind(address, retry=QUICKLY) as client, pytest.raises(raised) as caught:
        client.create_feature("places", (1, 2))

    assert caught.value.reason == failure.reason
    assert len(failing.requests) == 1


@BOTH
@pytest.mark.parametrize("failure", [UNKNOWN, CONFLICT], ids=["unknown", "conflict"])
def test_without_an_id_a_change_is_made_once(kind: Any, failure: errors.SpatialError) -> None:
    failing = Failing(failure)
    with (
        served(failing) as address,
        kind(address, retry=QUICKLY) as client,
        pytest.raises((Unavailable, Aborted)) as caught,
    ):
        client.create_feature("places", (1, 2), request_id="")

    assert caught.value.reason == failure.reason
    assert len(failing.requests) == 1


@BOTH
def test_a_change_is_not_made_again_after_its_timeout(kind: Any) -> None:
    patient = errors.Unavailable(Reason.OUTCOME_UNKNOWN, "nobody knows", retry_after=5)
    failing = Failing(patient)
    with served(failing) as address, kind(address) as client, pytest.raises(Unavailable):
        client.create_feature("places", (1, 2), timeout=1)

    assert len(failing.requests) == 1


ROWS = 2000


@pytest.fixture(autouse=True)
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are many messages."""
    monkeypatch.setattr(_packing, "BATCH_BYTES", 2000)
    monkeypatch.setattr(_aio_imports, "CAREFUL_SECONDS", 0.02)


def numbers() -> Iterator[NewFeature]:
    return (NewFeature(None, {"number": number}) for number in range(ROWS))


SOURCES: dict[str, Callable[[], Any]] = {"read once": numbers, "read again": lambda: list(numbers())}
ANY_SOURCE = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@BOTH
@ANY_SOURCE
@pytest.mark.parametrize("every", [1, 3], ids=["each message a chunk", "chunks of three"])
def test_an_import_that_is_cut_goes_on_where_it_was(kind: Any, source: Callable[[], Any], every: int) -> None:
    failing = Failing()
    failing.every = every
    failing.cuts = {0: UNKNOWN, ROWS // 2: CONFLICT, ROWS - 1: UNKNOWN}
    progress: list[int] = []
    with served(failing) as address, kind(address, retry=QUICKLY) as client:
        done = client.import_features(source(), "places", on_progress=progress.append)

    assert failing.stored == list(range(ROWS))
    assert (done.rows, done.inserted, done.complete) == (ROWS, ROWS, True)
    assert len(failing.openings) == 4
    assert {opening.plan.import_id for opening in failing.openings} == {done.import_id}
    assert [opening.first_row for opening in failing.openings[:2]] == [0, 0]
    assert failing.openings[2].first_row > 0
    assert progress[-1] == ROWS


@BOTH
@ANY_SOURCE
def test_an_import_whose_answer_is_lost_ends_with_its_totals(kind: Any, source: Callable[[], Any]) -> None:
    failing = Failing()
    failing.before_answer = [UNKNOWN]
    with served(failing) as address, kind(address, retry=QUICKLY) as client:
        done = client.import_features(source(), "places")

    assert done.rows == ROWS
    assert failing.stored == list(range(ROWS))


@BOTH
@ANY_SOURCE
def test_an_import_is_gone_on_with_by_its_id(kind: Any, source: Callable[[], Any]) -> None:
    failing = Failing()
    failing.begun = True
    failing.stored = list(range(750))
    with served(failing) as address, kind(address) as client:
        client.import_features(source(), "places", import_id="mine")

    assert [(each.plan.import_id, each.first_row) for each in failing.openings] == [("mine", 750)]
    assert failing.stored == list(range(ROWS))


@BOTH
def test_the_service_is_asked_how_far_it_is_so_that_less_is_held(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "ASKED_BYTES", 1000)
    failing = Failing()
    with served(failing) as address, kind(address) as client:
        client.import_features(numbers(), "places")

    assert failing.stored == list(range(ROWS))
    assert failing.asked >= 1


@BOTH
def test_an_import_that_is_refused_says_why(kind: Any) -> None:
    failing = Failing(READ_ONLY, READ_ONLY, READ_ONLY)
    with (
        served(failing) as address,
        kind(address, retry=QUICKLY) as client,
        pytest.raises(FailedPrecondition) as caught,
    ):
        client.import_features(numbers(), "places", import_id="mine")

    assert caught.value.reason == "LAYER_READ_ONLY"
    assert caught.value.__notes__ == ["import_id='mine' goes on with this import; 0 rows were in"]


@BOTH
def test_a_source_that_fails_ends_the_import_and_does_not_complete_it(kind: Any) -> None:
    def broken() -> Iterator[NewFeature]:
        yield from islice(numbers(), ROWS // 2)
        raise OSError("the disk is gone")

    failing = Failing()
    with served(failing) as address, kind(address) as client:
        with pytest.raises(OSError, match="the disk is gone") as caught:
            client.import_features(broken(), "places", import_id="mine")
        time.sleep(0.2)

        assert len(failing.stored) < ROWS // 2
        client.import_features(numbers(), "places", import_id="mine")

    assert caught.value.__notes__
    assert failing.stored == list(range(ROWS))


@BOTH
def test_an_import_without_an_id_is_sent_once(kind: Any) -> None:
    failing = Failing(UNKNOWN)
    with served(failing) as address, kind(address, retry=QUICKLY) as client, pytest.raises(Unavailable):
        client.import_features([(None, {"number": 1})], "places", import_id="")

    assert (len(failing.openings), failing.asked) == (1, 0)


@BOTH
def test_an_import_keeps_to_its_timeout(kind: Any) -> None:
    failing = Failing(*[CONFLICT] * 1000)
    patient = Retry(attempts=1000, first_pause=0.01, longest_pause=0.05)
    began = time.monotonic()
    ended = pytest.raises((Aborted, DeadlineExceeded))  # the last attempt may be at it when the time is over
    with served(failing) as address, kind(address, retry=patient) as client, ended:
        client.import_features(numbers(), "places", timeout=0.5)

    assert time.monotonic() - began < 5


@BOTH
def test_rows_for_a_layer_that_does_not_fit_them_are_refused_before_anything_is_sent(kind: Any) -> None:
    failing = Failing()
    with served(failing) as address, kind(address) as client, pytest.raises(TypeError):
        client.import_features("rows.csv", "places")

    assert failing.openings == []


async def test_features_may_come_asynchronously() -> None:
    async def coming() -> AsyncIterator[NewFeature]:
        for feature in numbers():
            yield feature
        await asyncio.sleep(0)

    failing = Failing()
    failing.cuts = {ROWS // 2: UNKNOWN}
    with served(failing) as address:
        async with AsyncSpatialClient(address, retry=QUICKLY) as client:
            done = await client.import_features(coming(), "places")

    assert done.rows == ROWS
    assert failing.stored == list(range(ROWS))
