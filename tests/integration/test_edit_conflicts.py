"""Changes of the same moment: one of them wins, the others are told, and a request takes effect once."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import combinations
from typing import Any
from uuid import uuid4

import grpc
import psycopg2
import pytest
import shapely

from spatial.v1 import write_pb2 as write
from tests.conftest import NewDatabase
from tests.edits import Editor, attempted, facility, made, parcel, reason
from tests.proxy import proxied
from tests.servers import serving
from tests.situations import BLOCKED, blocked, cancelled, eventually, expiring, fetch, quiet, sessions

CALLERS = 8
ROUNDS = 12


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fetch(
            url, "INSERT INTO districts (name, boundary) SELECT 'District', ST_Multi(ST_MakeEnvelope(0, 0, 9, 9, 4326))"
        )
        yield url


@pytest.fixture(scope="module")
def editor(url: str) -> Iterator[Editor]:
    with serving(url) as served:
        yield Editor(served)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What calls of the same moment are answered, or their refusals."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: attempted(call), calls))


@contextmanager
def row_locked(url: str, key: str) -> Iterator[None]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM facilities WHERE id = %s FOR UPDATE", (key,))
        yield


class TestEtags:
    def test_of_changes_with_one_etag_one_is_made(self, editor: Editor) -> None:
        current = editor.create("facilities", facility()).feature
        for _ in range(ROUNDS):
            given = [made(key=current.id, etag=current.etag, name=f"by {caller}") for caller in range(CALLERS)]

            outcomes = together(*(partial(editor.update, "facilities", each) for each in given))

            assert Counter(map(reason, outcomes)) == {"done": 1, "ETAG_MISMATCH": CALLERS - 1}
            (won,) = [each.feature for each in outcomes if reason(each) == "done"]
            current = editor.get("facilities", current.id)
            assert current == won

    def test_of_changes_and_removals_with_one_etag_one_is_made(self, editor: Editor) -> None:
        for _ in range(ROUNDS):
            current = editor.create("facilities", facility()).feature
            given = made(key=current.id, etag=current.etag, name="New")

            outcomes = together(
                partial(editor.update, "facilities", given),
                partial(editor.delete, "facilities", current.id, etag=current.etag),
            )

            assert Counter(map(reason, outcomes)) in (
                {"done": 1, "FEATURE_NOT_FOUND": 1},
                {"done": 1, "ETAG_MISMATCH": 1},
            )

    def test_without_etags_every_change_is_made(self, editor: Editor, url: str) -> None:
        key = editor.create("facilities", facility(population=0)).feature.id

        given = [made(key=key, population=number) for number in range(CALLERS)]
        outcomes = together(*(partial(editor.update, "facilities", each) for each in given))

        assert set(map(reason, outcomes)) == {"done"}
        assert len({each.feature.etag for each in outcomes}) == CALLERS


class TestRequestIds:
    def test_a_request_that_many_send_takes_effect_once_and_all_get_its_answer(self, editor: Editor, url: str) -> None:
        for _ in range(ROUNDS):
            sent = str(uuid4())
            call = partial(editor.create, "facilities", facility(name=sent), request_id=sent)

            outcomes = together(*[call] * CALLERS)

            assert {reason(each) for each in outcomes} == {"done"}
            assert len({each.feature.SerializeToString(deterministic=True) for each in outcomes}) == 1
            assert fetch(url, "SELECT id::text FROM facilities WHERE name = %s", sent) == [(outcomes[0].feature.id,)]

    @pytest.mark.parametrize("kind", ["create", "update", "delete"])
    def test_a_request_sent_again_gets_the_first_answer(self, editor: Editor, kind: str) -> None:
        current = editor.create("facilities", facility()).feature
        sent = str(uuid4())
        changed = made(key=current.id, etag=current.etag, name="New")
        calls: dict[str, Callable[[], Any]] = {
            "create": partial(editor.create, "facilities", facility(), request_id=sent),
            "update": partial(editor.update, "facilities", changed, request_id=sent),
            "delete": partial(editor.delete, "facilities", current.id, etag=current.etag, request_id=sent),
        }
        ask = calls[kind]

        first = ask()
        if kind == "update":
            editor.update("facilities", made(key=current.id, name="Newer"))
        second = ask()

        assert second.freshness_token
        if kind != "delete":
            assert second.feature == first.feature

    def test_a_key_that_the_first_attempt_took_is_no_error_in_the_second(self, editor: Editor) -> None:
        asked, sent = facility(), str(uuid4())
        asked.id = "123456"

        assert editor.create("facilities", asked, request_id=sent).feature == (
            editor.create("facilities", asked, request_id=sent).feature
        )

    @pytest.mark.parametrize(
        "other",
        [
            lambda editor, sent: editor.create("facilities", facility(name="Other"), request_id=sent),
            lambda editor, sent: editor.create("facilities", facility("POINT (190 0)"), request_id=sent),
            lambda editor, sent: editor.update("facilities", made(key="1", name="New"), request_id=sent),
            lambda editor, sent: editor.delete("facilities", "1", request_id=sent),
        ],
        ids=["another feature", "one that cannot be", "an update", "a removal"],
    )
    def test_an_id_is_that_of_one_request(self, editor: Editor, url: str, other: Any) -> None:
        sent = str(uuid4())
        editor.create("facilities", facility(), request_id=sent)
        before = fetch(url, "SELECT count(*) FROM facilities")

        refused = attempted(other, editor, sent)

        assert refused.code == "INVALID_ARGUMENT"
        assert refused.reason in ("REQUEST_ID_REUSED", "COORDINATE_OUT_OF_RANGE")
        assert fetch(url, "SELECT count(*) FROM facilities") == before

    def test_a_request_that_was_refused_can_be_sent_again(self, editor: Editor, url: str) -> None:
        sent = str(uuid4())
        asked = parcel("again", shapely.box(60, 60, 61, 61))
        other = editor.create("parcels", parcel("in the way", shapely.box(60.5, 60.5, 62, 62))).feature

        assert attempted(editor.create, "parcels", asked, request_id=sent).reason == "OVERLAP"
        editor.delete("parcels", other.id)
        assert editor.create("parcels", asked, request_id=sent).feature.id

    def test_it_is_remembered_for_as_long_as_is_configured(self, url: str) -> None:
        sent = str(uuid4())
        with serving(url, request_memory=0.3) as forgetful:
            editor = Editor(forgetful)
            first = editor.create("facilities", facility(), request_id=sent).feature
            eventually(lambda: not fetch(url, "SELECT 1 FROM spatial_requests WHERE id = %s", sent))

            assert editor.create("facilities", facility(), request_id=sent).feature.id != first.id

    def test_without_a_place_to_remember_it_nothing_is_done(self, database: str) -> None:
        fetch(database, "DROP TABLE spatial_requests")
        with serving(database) as served:
            editor = Editor(served)
            refused = attempted(editor.create, "facilities", facility(), request_id="a")
            editor.create("facilities", facility(name="Without an id"))

        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LEDGER_MISSING")
        assert fetch(database, "SELECT name FROM facilities") == [("Without an id",)]


class TestOverlaps:
    def test_of_parcels_that_lie_on_each_other_one_is_made(self, editor: Editor, url: str) -> None:
        for number in range(ROUNDS):
            west = 2.0 * number
            boundaries = [shapely.box(west + n / 20, 20, west + 1 + n / 20, 21) for n in range(CALLERS)]

            given = [parcel(f"{number}/{n}", boundary) for n, boundary in enumerate(boundaries)]
            outcomes = together(*(partial(editor.create, "parcels", each) for each in given))

            assert Counter(map(reason, outcomes))["done"] == 1
            assert set(map(reason, outcomes)) <= {"done", "OVERLAP", "CONFLICT"}
        assert overlaps(url) == []

    def test_edits_all_over_never_leave_an_overlap(self, editor: Editor, url: str) -> None:
        """Parcels that grow into each other, are made between and go, with no order among them."""
        first = [parcel(f"grows {n}", shapely.box(n, 40, n + 0.5, 41)) for n in range(6)]
        keys = [editor.create("parcels", each).feature.id for each in first]
        for number in range(ROUNDS):
            width = 1.2 if number % 2 else 0.5
            grown = [made(shapely.box(n, 40, n + width, 41), key=key) for n, key in enumerate(keys)]
            between = [parcel(f"between {number}/{n}", shapely.box(n + 0.4, 40.4, n + 0.8, 40.6)) for n in range(2)]

            outcomes = together(
                *(partial(editor.update, "parcels", each) for each in grown),
                *(partial(editor.create, "parcels", each) for each in between),
            )

            assert set(map(reason, outcomes)) <= {"done", "OVERLAP", "CONFLICT"}
            assert overlaps(url) == []

    def test_parcels_far_from_each_other_do_not_wait_for_ever(self, editor: Editor) -> None:
        """Collisions that are none are tried again until they are not there any more, or given up as such."""
        given = [parcel(f"far {n}", shapely.box(-9.0 * n - 2, -40, -9.0 * n - 1, -39)) for n in range(CALLERS)]
        outcomes = together(*(partial(editor.create, "parcels", each) for each in given))

        assert set(map(reason, outcomes)) <= {"done", "CONFLICT"}
        assert Counter(map(reason, outcomes))["done"] >= 1

    def test_a_parcel_that_lies_on_another_one_already_can_be_changed_but_for_its_place(
        self, editor: Editor, url: str
    ) -> None:
        """As data have it that were there before: such layers are not held to what they never were."""
        editor.create("parcels", parcel("below", shapely.box(30, 70, 31, 71)))
        above = editor.create("parcels", parcel("above", shapely.box(32, 70, 33, 71))).feature
        fetch(url, "UPDATE parcels SET boundary = ST_Translate(boundary, -1.5, 0) WHERE id = %s", int(above.id))
        try:
            assert editor.update("parcels", made(key=above.id, land_use="changed")).feature.id == above.id
            refused = attempted(editor.update, "parcels", made(shapely.box(30.2, 70, 32, 71), key=above.id))
            assert (refused.reason, refused.fields) == ("OVERLAP", ("feature.geometry",))
        finally:
            editor.delete("parcels", above.id)


def overlaps(url: str) -> list[Any]:
    """Pairs of parcels that lie on each other, as GEOS sees it."""
    rows = fetch(url, "SELECT id, ST_AsBinary(boundary) FROM parcels")
    shapes = [(key, shapely.from_wkb(bytes(wkb))) for key, wkb in rows]
    return [(one, other) for (one, a), (other, b) in combinations(shapes, 2) if a.intersection(b).area > 0]


class TestWaiting:
    def test_who_waits_for_a_row_too_long_is_told_of_the_conflict(self, url: str, editor: Editor) -> None:
        key = editor.create("facilities", facility()).feature.id
        with serving(url, lock_timeout=0.1) as served, row_locked(url, key):
            refused = attempted(Editor(served).update, "facilities", made(key=key, name="New"))

        assert (refused.code, refused.reason, refused.retry_seconds) == ("ABORTED", "CONFLICT", 0.1)

    @pytest.mark.parametrize("end", [cancelled, expiring])
    def test_whose_caller_has_gone_is_ended_and_undone(self, url: str, editor: Editor, end: Any) -> None:
        before = editor.create("facilities", facility()).feature
        request = write.UpdateFeatureRequest(layer="facilities", feature=made(key=before.id, name="never"))
        with serving(url, lock_timeout=60) as served, row_locked(url, before.id):
            update = Editor(served).stub.UpdateFeature.future
            call = end(lambda seconds: update(request, timeout=seconds), blocked(url))
            eventually(quiet(url))
            with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
                call.result()

        assert editor.get("facilities", before.id) == before

    def test_more_than_may_wait_are_refused_at_once(self, url: str, editor: Editor) -> None:
        key = editor.create("facilities", facility()).feature.id
        with serving(url, write_pool_size=1, write_queue=1, lock_timeout=20) as served, row_locked(url, key):
            narrow = Editor(served)
            request = write.UpdateFeatureRequest(layer="facilities", feature=made(key=key, name="New"))
            calls = [narrow.stub.UpdateFeature.future(request, timeout=10)]
            eventually(lambda: sessions(url, BLOCKED))
            calls.append(narrow.stub.UpdateFeature.future(request, timeout=10))
            eventually(lambda: attempted(narrow.update, "facilities", made(key=key, name="New")).reason == "OVERLOADED")
            for call in calls:
                call.cancel()
            eventually(quiet(url))

            narrow.create("facilities", facility())


@pytest.mark.parametrize("late", [False, True], ids=["before the server hears of it", "afterwards"])
def test_a_connection_that_breaks_at_the_commit_leaves_an_outcome_that_the_request_finds_out(
    url: str, late: bool
) -> None:
    sent = str(uuid4())
    with proxied(url) as proxy, serving(proxy.url, write_pool_size=1) as served:
        editor = Editor(served)
        editor.create("facilities", facility())
        proxy.cut_at, proxy.cut_late = b"COMMIT;", late

        unknown = attempted(editor.create, "facilities", facility(name=sent), request_id=sent)
        if late:
            eventually(lambda: fetch(url, "SELECT 1 FROM facilities WHERE name = %s", sent))
        found = editor.create("facilities", facility(name=sent), request_id=sent).feature

    assert (unknown.code, unknown.reason) == ("UNAVAILABLE", "OUTCOME_UNKNOWN")
    assert unknown.retry_seconds == 1
    assert fetch(url, "SELECT id::text FROM facilities WHERE name = %s", sent) == [(found.id,)]


def test_a_connection_that_breaks_before_the_commit_leaves_nothing(url: str) -> None:
    sent = str(uuid4())
    with proxied(url) as proxy, serving(proxy.url, write_pool_size=1) as served:
        editor = Editor(served)
        editor.create("facilities", facility())
        proxy.cut_at = b"BEGIN"

        refused = attempted(editor.create, "facilities", facility(name=sent))

    assert (refused.code, refused.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    assert fetch(url, "SELECT 1 FROM facilities WHERE name = %s", sent) == []
