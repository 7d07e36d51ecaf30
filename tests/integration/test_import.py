"""ImportFeatures and GetImport as callers see them; what becomes of rows is in test_import_rows.py."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import grpc
import pytest
import shapely

from service.codec.freshness import position_of
from spatial.v1 import errors_pb2, feature_pb2, geometry_pb2, write_pb2, write_pb2_grpc
from spatial.v1.write_pb2 import ImportFeaturesRequest, ImportFeaturesResponse, ImportPlan
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import blocked, eventually, fetch, locked

UPSERT = write_pb2.IMPORT_MODE_UPSERT
BOW = "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"


@dataclass(frozen=True)
class Target:
    """A service over an empty database."""

    served: Served
    url: str

    @property
    def stub(self) -> Any:
        return write_pb2_grpc.FeatureServiceStub(self.served.channel)

    def send(self, *requests: ImportFeaturesRequest, **options: Any) -> ImportFeaturesResponse:
        answer: ImportFeaturesResponse = self.stub.ImportFeatures(iter(requests), timeout=20, **options)
        return answer

    def refused(self, *requests: ImportFeaturesRequest) -> Refusal:
        with pytest.raises(grpc.RpcError) as error:
            self.send(*requests)
        return refusal(error.value)

    def names(self) -> list[str]:
        return [name for (name,) in fetch(self.url, "SELECT name FROM facilities ORDER BY id")]

    def progress(self, import_: str) -> write_pb2.GetImportResponse:
        request = write_pb2.GetImportRequest(import_id=import_)
        found: write_pb2.GetImportResponse = self.stub.GetImport(request, timeout=5)
        return found


@pytest.fixture(scope="module")
def served(module_database: str) -> Iterator[Target]:
    with serving(module_database, stall_timeout=1.0, max_imports=2) as served:
        yield Target(served, module_database)


@pytest.fixture
def target(served: Target) -> Target:
    fetch(served.url, "TRUNCATE facilities, zones, spatial_imports RESTART IDENTITY")
    return served


def opening(layer: str = "facilities", **fields: Any) -> ImportFeaturesRequest:
    return ImportFeaturesRequest(plan=ImportPlan(layer=layer, **fields))


def columns(*names: str, **fields: Any) -> ImportFeaturesRequest:
    """Facilities with these names."""
    texts = {"name": names, "kind": ["test"] * len(names)}
    return ImportFeaturesRequest(
        columns=feature_pb2.FeatureColumns(
            count=len(names),
            wkb=[shapely.to_wkb(shapely.Point(1, 2))] * len(names),
            properties=[
                feature_pb2.Column(name=name, strings=feature_pb2.StringValues(values=values))
                for name, values in texts.items()
            ],
            **fields,
        ),
    )


def rows(
    *names: str | None, wkt: str = "POINT (1 2)", srid: int | None = None, first_row: int | None = None
) -> ImportFeaturesRequest:
    features = []
    for name in names:
        feature = feature_pb2.Feature(geometry=geometry_pb2.Geometry(wkt=wkt, srid=srid))
        feature.properties.update({"name": name, "kind": "test"})
        features.append(feature)
    return ImportFeaturesRequest(rows=feature_pb2.FeatureRows(features=features), first_row=first_row)


def numbers(response: Any) -> tuple[int, ...]:
    totals = response.totals
    return totals.rows, totals.inserted, totals.updated, totals.rejected


Layout = Callable[..., ImportFeaturesRequest]


@pytest.mark.parametrize("layout", [rows, columns])
def test_rows_come_in_as_many_messages_as_one_likes(target: Target, layout: Layout) -> None:
    answer = target.send(opening(), layout("a", "b"), layout(), layout("c"))
    assert numbers(answer) == (3, 3, 0, 0)
    assert target.names() == ["a", "b", "c"]
    assert answer.import_id
    assert position_of(answer.freshness_token) > 0
    assert not answer.analyzed


def test_the_first_message_may_bring_rows_with_its_plan(target: Target) -> None:
    first = columns("a")
    first.plan.CopyFrom(opening().plan)
    assert numbers(target.send(first, rows("b"))) == (2, 2, 0, 0)


def test_an_import_of_nothing_is_one(target: Target) -> None:
    answer = target.send(opening(import_id="empty"))
    assert numbers(answer) == (0, 0, 0, 0)
    assert target.progress("empty").complete


def test_a_row_that_is_refused_says_why_and_where(target: Target) -> None:
    squares = [f"POLYGON (({x} 0, {x} 1, {x + 1} 1, {x} 0))" for x in (0, 2)]
    shapes = [squares[0], BOW, squares[1]]
    answer = target.send(
        opening("zones"),
        ImportFeaturesRequest(
            columns=feature_pb2.FeatureColumns(
                count=3,
                wkb=[shapely.to_wkb(shapely.from_wkt(shape)) for shape in shapes],
                properties=[
                    feature_pb2.Column(name=name, strings=feature_pb2.StringValues(values=["x", "y", "x"]))
                    for name in ("code", "name", "category")
                ],
            )
        ),
    )
    assert numbers(answer) == (3, 1, 0, 2)
    assert [(each.row, reason_of(each), each.field) for each in answer.rejections] == [
        (1, "INVALID_GEOMETRY", "geometry"),
        (2, "NOT_UNIQUE", "properties.code"),
    ]
    crossing = answer.rejections[0].location
    assert shapely.from_wkb(crossing.wkb).equals(shapely.Point(0.5, 0.5))
    assert crossing.srid == 4326


def reason_of(rejection: write_pb2.ImportRejection) -> str:
    return errors_pb2.ErrorReason.Name(rejection.reason).removeprefix("ERROR_REASON_")


def test_a_row_in_another_crs_is_transformed_and_one_in_a_crs_that_nobody_knows_is_rejected(target: Target) -> None:
    answer = target.send(
        opening(), rows("a"), rows("b", wkt="POINT (500000 6000000)", srid=25832), rows("c", srid=999_111)
    )
    assert numbers(answer) == (3, 2, 0, 1)
    assert [(each.row, reason_of(each)) for each in answer.rejections] == [(2, "UNKNOWN_SRID")]
    assert fetch(target.url, "SELECT ST_X(location) FROM facilities WHERE name = 'b'") == [(pytest.approx(9.0),)]


def test_an_upsert_replaces_by_id_or_by_a_unique_property(target: Target) -> None:
    target.send(opening(), columns("a", "b"))
    answer = target.send(opening(mode=UPSERT), columns("B", "c", int64_ids=[2, 3]))
    assert numbers(answer) == (2, 1, 1, 0)
    assert target.names() == ["a", "B", "c"]


def test_a_validation_writes_nothing_and_gives_no_token(target: Target) -> None:
    answer = target.send(opening(validate_only=True, import_id="dry"), rows("a", None))
    assert numbers(answer) == (2, 1, 0, 1)
    assert answer.freshness_token == ""
    assert target.names() == []
    with pytest.raises(grpc.RpcError) as error:
        target.progress("dry")
    assert refusal(error.value).reason == "IMPORT_NOT_FOUND"


# Whose turn it is.


def test_a_continued_import_passes_over_what_is_in_and_adds_up(target: Target) -> None:
    first = target.send(opening(import_id="one", max_rejections=1), rows("a", None, "c"))
    again = target.send(opening(import_id="one", max_rejections=1), rows("a", None, "c"), rows(None, "e"))
    assert numbers(first) == (3, 2, 0, 1)
    assert numbers(again) == (5, 3, 0, 2)
    assert again.rejections == first.rejections
    assert target.names() == ["a", "c", "e"]


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_message_may_say_which_row_it_begins_with(target: Target, start: int) -> None:
    target.send(opening(import_id="one"), rows("a", "b"))
    answer = target.send(opening(import_id="one"), rows(*"abcd"[start:], first_row=start), rows("d", "e", first_row=3))
    assert numbers(answer) == (5, 5, 0, 0)
    assert target.names() == [*"abcde"]


@pytest.mark.parametrize("row", [3, 2**62, -1])
def test_no_row_may_be_left_out(target: Target, row: int) -> None:
    told = target.refused(opening(), rows("a", "b"), rows("d", first_row=row))
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "OUT_OF_RANGE", ("first_row",))
    assert told.metadata == {"expected": "2"}


def test_progress_can_be_asked_for(target: Target) -> None:
    target.send(opening(import_id="one"), rows("a", None))
    found = target.progress("one")
    assert (found.layer, found.complete, numbers(found)) == ("facilities", True, (2, 1, 0, 1))
    assert [each.row for each in found.rejections] == [1]


REFUSED: dict[str, tuple[list[ImportFeaturesRequest], str, str, tuple[str, ...]]] = {
    "no message at all": ([], "INVALID_ARGUMENT", "REQUIRED", ("plan",)),
    "no plan": ([rows("a")], "INVALID_ARGUMENT", "REQUIRED", ("plan",)),
    "a second plan": ([opening(), opening()], "INVALID_ARGUMENT", "UNEXPECTED_FIELD", ("plan",)),
    "a layer that is not there": ([opening("nothing")], "NOT_FOUND", "LAYER_NOT_FOUND", ("plan.layer",)),
    "a layer that takes no changes": (
        [opening("zone_centroids")],
        "FAILED_PRECONDITION",
        "LAYER_READ_ONLY",
        ("plan.layer",),
    ),
    "a property that is not unique": (
        [opening(mode=UPSERT, match_property="name")],
        "INVALID_ARGUMENT",
        "UNSUPPORTED_PROPERTY_TYPE",
        ("plan.match_property",),
    ),
    "columns of another length": (
        [opening(), ImportFeaturesRequest(columns=feature_pb2.FeatureColumns(count=2, wkb=[b"x"]))],
        "INVALID_ARGUMENT",
        "OUT_OF_RANGE",
        ("columns.wkb",),
    ),
    "a number of rows, and nothing else": (
        [opening(), ImportFeaturesRequest(columns=feature_pb2.FeatureColumns(count=2**31 - 1))],
        "INVALID_ARGUMENT",
        "TOO_MANY_ELEMENTS",
        ("columns.count",),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_the_import_as_a_whole_ends_it(target: Target, case: str) -> None:
    requests, code, reason, fields = REFUSED[case]
    told = target.refused(*requests)
    assert (told.code, told.reason, told.fields) == (code, reason, fields)


def test_an_id_of_another_import_is_refused(target: Target) -> None:
    target.send(opening(import_id="one"), rows("a"))
    told = target.refused(opening(import_id="one", mode=UPSERT), rows("a"))
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ("plan.import_id",))


# While it runs.


@dataclass
class Slow:
    """Requests of which the last come when they are let."""

    first: Iterable[ImportFeaturesRequest]
    go_on: Event
    taken: int = 0

    def __iter__(self) -> Iterator[ImportFeaturesRequest]:
        for request in self.first:
            self.taken += 1
            yield request
        self.go_on.wait(20)


def test_two_calls_are_not_at_one_import_and_no_more_imports_run_than_may(target: Target) -> None:
    go_on = Event()
    first = target.stub.ImportFeatures.future(iter(Slow([opening(import_id="one")], go_on)), timeout=20)
    eventually(lambda: fetch(target.url, "SELECT id FROM spatial_imports"))
    told = target.refused(opening(import_id="one"))
    assert (told.code, told.reason, told.retry_seconds) == ("ABORTED", "CONFLICT", 1.0)
    second = target.stub.ImportFeatures.future(iter(Slow([opening(import_id="two")], go_on)), timeout=20)
    eventually(lambda: target.served.metric("spatial_imports_in_flight") == 2)
    told = target.refused(opening(import_id="three"))
    assert (told.code, told.reason, told.retry_seconds) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", 1.0)
    assert "import-three" not in {thread.name for thread in enumerate_threads()}, "what is refused leaves no thread"
    go_on.set()
    assert numbers(first.result()) == numbers(second.result()) == (0, 0, 0, 0)
    assert target.served.metric("spatial_imports_in_flight") == 0


def test_who_sends_nothing_for_long_is_told_to_continue_later(target: Target) -> None:
    go_on = Event()
    with pytest.raises(grpc.RpcError) as error:
        target.stub.ImportFeatures(iter(Slow([opening(import_id="one"), rows("a")], go_on)), timeout=20)
    go_on.set()
    told = refusal(error.value)
    assert (told.code, told.reason) == ("DEADLINE_EXCEEDED", "STREAM_STALLED")
    assert numbers(target.send(opening(import_id="one"), rows("a"))) == (1, 1, 0, 0)


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_call_that_ends_early_leaves_no_statement_and_no_half_chunk(target: Target, end: str) -> None:
    go_on = Event()
    with locked(target.url, "facilities"):
        sending = Slow([opening(import_id="one"), columns(*["x"] * 1000)], go_on)
        call = target.stub.ImportFeatures.future(iter(sending), timeout=1.5 if end == "deadline" else 20)
        eventually(blocked(target.url))
        if end == "cancel":
            call.cancel()
        eventually(lambda: not blocked(target.url)(), within=2)
    go_on.set()
    eventually(lambda: target.served.metric("spatial_imports_in_flight") == 0)
    assert target.names() == []
    assert numbers(target.send(opening(import_id="one"), columns(*["x"] * 1000))) == (1000, 1000, 0, 0)


def test_a_slow_database_slows_the_sender_and_fills_no_memory(target: Target) -> None:
    go_on = Event()
    message = columns(*["x" * 10_000] * 50)  # half a megabyte
    sending = Slow([opening(), *[message] * 100], go_on)
    with locked(target.url, "facilities"):
        call = target.stub.ImportFeatures.future(iter(sending), timeout=60)
        eventually(blocked(target.url))
        time.sleep(0.5)
        taken = sending.taken
        assert taken < 60, "as if there were no end to what it holds"
    go_on.set()
    assert numbers(call.result()) == (5000, 5000, 0, 0)
