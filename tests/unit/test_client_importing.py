"""An import as a client goes through with it: what it holds, and how it goes on after it was cut."""

from collections.abc import Iterator
from typing import Any

import geopandas
import pyarrow as pa
import pytest

from spatial.v1 import feature_pb2, write_pb2
from spatial_client import NewFeature, NotFound, Retry, Unavailable, _sources
from spatial_client._importing import Importing, import_features
from spatial_client._packing import Request
from spatial_client._sources import Held, source_of
from tests.unit.test_client_imports import LAYER, POINT, table


def numbered(count: int) -> Iterator[NewFeature]:
    return (NewFeature(None, {"population": number}) for number in range(count))


class Endless:
    """Gives a new iterator each time."""

    def __iter__(self) -> Iterator[NewFeature]:
        return numbered(100)


AGAIN = {
    "a list": list(numbered(100)),
    "an iterable": Endless(),
    "a table": pa.table({"population": range(100)}),
    "a batch": pa.RecordBatch.from_pydict({"population": range(100)}),
    "a frame": geopandas.GeoDataFrame({"population": range(100)}, geometry=[POINT] * 100),
}
ONCE = {
    "a generator": lambda: numbered(100),
    "a stream of batches": lambda: pa.table({"population": range(100)}).to_reader(max_chunksize=10),
}


def populations(found: list[Request]) -> list[int]:
    return [value for each in found for value in each.columns.properties[0].integers.values]


@pytest.mark.parametrize("source", AGAIN.values(), ids=AGAIN)
def test_what_can_be_read_again_is_not_held(source: Any) -> None:
    made = source_of(source, LAYER, None)

    assert made.held is None
    for first in (0, 37):
        found = list(made.requests(first))
        assert found[0].first_row == first
        assert populations(found) == list(range(first, 100))


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE)
def test_what_can_be_read_once_is_held_until_it_is_in(make: Any) -> None:
    made = source_of(make(), LAYER, None)
    next(made.requests(0))

    found = list(made.requests(0))
    assert populations(found) == list(range(100))
    assert made.held is not None
    made.held.settle(100)
    assert list(made.requests(100)) == []
    with pytest.raises(LookupError, match=r"row 99 is to be sent again, but this source cannot be read again"):
        list(made.requests(99))


def test_rows_that_are_in_are_read_but_not_sent() -> None:
    found = list(source_of(pa.table({"population": range(100)}).to_reader(max_chunksize=10), LAYER, None).requests(55))

    assert (found[0].first_row, populations(found)) == (50, list(range(50, 100)))


def request(first: int, size: int = 100) -> Request:
    return Request(first_row=first, columns=feature_pb2.FeatureColumns(count=1, wkb=[bytes(size)]))


def test_no_more_is_held_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "HELD_BYTES", 1000)
    held = Held()
    for number in range(20):
        held.add(request(number))

    found = held.since(18)
    assert [each.first_row for each in found] == [18, 19]
    with pytest.raises(LookupError):
        held.since(5)


def test_the_service_is_asked_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "ASKED_BYTES", 250)
    held = Held()
    asked = []
    for number in range(9):
        held.add(request(number))
        if held.asks:
            asked.append(number)
            held.settle(number)

    assert asked == [2, 5, 8]
    assert [each.first_row for each in held.since(8)] == [8]


@pytest.mark.parametrize("source", ["text", b"bytes", {"type": "FeatureCollection"}, 5, None], ids=str)
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(TypeError, match="features come as a frame, an Arrow table or an iterable"):
        source_of(source, LAYER, None)


# An import over several calls.

AWAY = Unavailable("gone")


def importing(source: Any = (), **options: Any) -> Importing:
    return Importing(import_features("places", **options), source_of(source, LAYER, None), Retry(attempts=2))


def test_the_first_message_says_what_the_import_is_about() -> None:
    opening = importing(
        table(), mode="upsert", match="name", repair=True, import_id="mine", max_rejections=5, validate_only=True
    ).opening

    assert opening == write_pb2.ImportFeaturesRequest(
        plan=write_pb2.ImportPlan(
            layer="places",
            mode="IMPORT_MODE_UPSERT",
            match_property="name",
            repair=True,
            srid=25832,
            import_id="mine",
            max_rejections=5,
            validate_only=True,
        ),
        first_row=0,
    )


def test_an_import_goes_on_where_the_service_stands() -> None:
    under_way = importing(import_id="mine")
    under_way.pause_after(AWAY)
    under_way.settle(500)

    assert under_way.opening.first_row == 500


def test_progress_begins_the_count_of_attempts_anew() -> None:
    under_way = importing()
    for rows in (1, 2, 3):
        under_way.pause_after(AWAY)
        under_way.settle(rows)
    under_way.pause_after(AWAY)
    under_way.settle(3)

    with pytest.raises(Unavailable):
        under_way.pause_after(AWAY)


def test_an_import_that_never_began_begins() -> None:
    under_way = importing()
    under_way.unknown(NotFound("", reason="IMPORT_NOT_FOUND"))

    assert under_way.opening.first_row == 0


def test_an_import_that_the_service_forgot_does_not_begin_anew() -> None:
    under_way = importing()
    under_way.settle(10)

    with pytest.raises(NotFound):
        under_way.unknown(NotFound("", reason="IMPORT_NOT_FOUND"))


def test_an_import_without_an_id_is_not_gone_on_with() -> None:
    under_way = importing(import_id="")

    assert not under_way.asks
    with pytest.raises(Unavailable):
        under_way.pause_after(AWAY)


def test_every_import_has_an_id_of_its_own() -> None:
    assert importing().opening.plan.import_id != importing().opening.plan.import_id


def test_an_error_says_how_the_import_can_be_gone_on_with() -> None:
    under_way, error = importing(import_id="mine"), ValueError("the source broke")
    under_way.settle(7)
    under_way.noted(error)

    assert error.__notes__ == ["import_id='mine' goes on with this import; 7 rows were in"]
