"""Creating, changing and removing single features: what becomes of them, and what is refused with which reason."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import shapely
from google.protobuf.json_format import MessageToDict

from service.codec.freshness import position_of
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.conftest import NewDatabase
from tests.edits import SQUARE, Editor, attempted, facility, made, parcel
from tests.servers import refusal, serving
from tests.situations import fetch

KEPT = "created_at", "updated_at"


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Editor]:
    with serving(url) as served:
        yield Editor(served)


@pytest.fixture
def editor(url: str, served: Editor) -> Editor:
    """Of empty tables, but for one district."""
    fetch(url, "TRUNCATE facilities, zones, districts, parcels, spatial_requests RESTART IDENTITY")
    served.create("districts", made("MULTIPOLYGON (((0 0, 9 0, 9 9, 0 9, 0 0)))", name="District"))
    return served


def properties(feature: Any, *but: str) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(feature.properties)
    return {name: value for name, value in found.items() if name not in (*KEPT, *but)}


def test_what_is_created_is_answered_as_a_lookup_answers_it(editor: Editor) -> None:
    given = facility(population=12, tags=["open", 'a "b", {c}'], attributes={"level": 3}, active=False)

    created = editor.create("facilities", given).feature

    assert created.id == "1"
    assert created.geometry.wkb == shapely.to_wkb(shapely.Point(5, 50))
    assert properties(created) == {**properties(given), "country": None}
    assert created == editor.get("facilities", "1")


def test_what_is_not_given_gets_its_default(editor: Editor) -> None:
    created = editor.create("facilities", facility()).feature

    assert properties(created, "name", "kind") == {
        "country": None,
        "population": None,
        "tags": [],
        "active": True,
        "attributes": {},
    }


def test_an_id_can_be_given(editor: Editor) -> None:
    given = facility()
    given.id = "700"

    assert editor.create("facilities", given).feature.id == "700"


def test_hybrids_of_what_was_created_are_those_of_a_lookup(editor: Editor) -> None:
    created = editor.create("parcels", parcel("1"), output=query.Output(properties=["district_name", "vertex_count"]))

    assert properties(created.feature) == {"district_name": "District", "vertex_count": 5}


def test_a_polygon_is_promoted_where_the_column_holds_several(editor: Editor) -> None:
    created = editor.create("zones", made(SQUARE, code="Z", name="Zone", category="test")).feature

    assert shapely.from_wkb(created.geometry.wkb) == shapely.MultiPolygon([SQUARE])


def test_a_geometry_in_another_crs_is_transformed(editor: Editor) -> None:
    given = facility(None)
    given.geometry.CopyFrom(geometry.Geometry(wkt="POINT (556597.4539663679 6446275.841017158)", srid=3857))

    created = editor.create("facilities", given).feature

    stored = shapely.from_wkb(created.geometry.wkb)
    assert created.geometry.srid == 4326
    assert stored.coords[0] == pytest.approx((5, 50))


FULL: dict[str, Any] = {"country": "LU", "population": 5, "tags": ["a"], "active": False, "attributes": {"b": 1}}
CHANGES = {
    "what the feature has, without a mask": (
        made(name="New", population=None),
        (),
        {"name": "New", "population": None},
    ),
    "only what the mask names": (made("POINT (1 1)", name="New", kind="new"), ("properties.kind",), {"kind": "new"}),
    "null, where the feature does not have it": (made(), ("properties.country",), {"country": None}),
    "all properties, to their defaults": (
        made(name="New", kind="new"),
        ("properties",),
        {"name": "New", "kind": "new", "country": None, "population": None, "tags": []}
        | {"active": True, "attributes": {}},
    ),
}


@pytest.mark.parametrize(("given", "mask", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_an_update_changes(editor: Editor, given: Any, mask: tuple[str, ...], expected: dict[str, Any]) -> None:
    before = editor.create("facilities", facility(**FULL)).feature
    given.id = before.id

    after = editor.update("facilities", given, *mask).feature

    assert properties(after) == {**properties(before), **expected}
    assert after.geometry == before.geometry
    assert after == editor.get("facilities", before.id)
    assert after.etag != before.etag


def test_an_update_of_everything_takes_the_geometry_too(editor: Editor) -> None:
    before = editor.create("facilities", facility(**FULL)).feature
    given = facility("POINT (1 2)", name="New")
    given.id = before.id

    after = editor.update("facilities", given, "*").feature

    assert shapely.from_wkb(after.geometry.wkb) == shapely.Point(1, 2)
    assert properties(after)["tags"] == []


def test_what_is_deleted_is_gone(editor: Editor) -> None:
    created = editor.create("facilities", facility()).feature

    editor.delete("facilities", created.id, etag=created.etag)

    assert attempted(editor.get, "facilities", created.id).reason == "FEATURE_NOT_FOUND"


def test_an_answer_has_what_its_output_says(editor: Editor) -> None:
    created = editor.create(
        "facilities",
        facility(),
        output=query.Output(properties=["name"], encoding="GEOMETRY_ENCODING_WKT", srid=3857, decimal_digits=0),
    ).feature

    assert created.geometry.wkt == "POINT(556597 6446276)"
    assert properties(created) == {"name": "Facility"}
    assert created.etag


def test_a_write_s_token_serves_a_read(editor: Editor) -> None:
    answer = editor.create("facilities", facility())

    assert editor.get("facilities", "1", freshness_token=answer.freshness_token) == answer.feature


@pytest.mark.parametrize("synchronous", ["on", "off"])
def test_a_write_s_token_is_where_the_log_ends_with_its_commit(new_database: NewDatabase, synchronous: str) -> None:
    """A replica that has come there has the write. Now and then PostgreSQL logs something of its own behind it."""
    with new_database() as url:
        fetch(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = {synchronous}")
        with serving(url) as served:
            editor = Editor(served)
            behind = []
            for _ in range(5):
                before = end_of_log(url)
                position = position_of(editor.create("facilities", facility()).freshness_token)
                behind.append(end_of_log(url) - position)
                assert position > before

    assert min(behind) == 0


def end_of_log(url: str) -> int:
    ((position,),) = fetch(url, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    return int(position)


class TestValidateOnly:
    def test_it_answers_as_the_change_would_be_answered_and_changes_nothing(self, editor: Editor, url: str) -> None:
        before = editor.create("facilities", facility()).feature

        created = editor.create("facilities", facility(name="Other"), validate_only=True, request_id="a")
        updated = editor.update("facilities", made(key="1", name="New"), validate_only=True)
        deleted = editor.delete("facilities", "1", validate_only=True)

        assert properties(created.feature)["name"] == "Other"
        assert properties(updated.feature)["name"] == "New"
        assert {created.freshness_token, updated.freshness_token, deleted.freshness_token} == {""}
        assert editor.get("facilities", "1") == before
        assert fetch(url, "SELECT (SELECT count(*) FROM facilities), (SELECT count(*) FROM spatial_requests)") == [
            (1, 0)
        ]

    def test_it_is_refused_as_the_change_would_be(self, editor: Editor) -> None:
        editor.create("parcels", parcel("1"))

        assert attempted(editor.create, "parcels", parcel("2"), validate_only=True).reason == "OVERLAP"
        assert (
            attempted(editor.update, "facilities", made(key="5", name="New"), validate_only=True).reason
            == "FEATURE_NOT_FOUND"
        )


def _with_id(feature: Any, key: str) -> Any:
    feature.id = key
    return feature


ELSEWHERE = shapely.box(5, 5, 6, 6)
REFUSED: dict[str, tuple[Any, ...]] = {
    "an id that is taken": (
        lambda editor: editor.create("parcels", _with_id(parcel("2", ELSEWHERE), "1")),
        ("ALREADY_EXISTS", "FEATURE_EXISTS", ("feature.id",), "pk_parcels"),
    ),
    "a value that must be unique": (
        lambda editor: editor.create("parcels", parcel("1", ELSEWHERE)),
        ("ALREADY_EXISTS", "NOT_UNIQUE", ("feature.properties.number",), "uq_parcels_number"),
    ),
    "a value that must be unique, in an update": (
        lambda editor: editor.update("parcels", made(key="2", number="1")),
        ("ALREADY_EXISTS", "NOT_UNIQUE", ("feature.properties.number",), "uq_parcels_number"),
    ),
    "a property that is missing": (
        lambda editor: editor.create("districts", made(shapely.MultiPolygon([SQUARE]))),
        ("INVALID_ARGUMENT", "REQUIRED", ("feature.properties.name",), None),
    ),
    "a geometry that is missing": (
        lambda editor: editor.create("facilities", facility(None)),
        ("INVALID_ARGUMENT", "REQUIRED", ("feature.geometry",), None),
    ),
    "a null that is not allowed": (
        lambda editor: editor.update("parcels", made(key="1"), "properties.name"),
        ("INVALID_ARGUMENT", "REQUIRED", ("feature.properties.name",), None),
    ),
    "what it refers to is not there": (
        lambda editor: editor.create("parcels", parcel("3", ELSEWHERE, district_id=77)),
        (
            *("FAILED_PRECONDITION", "REFERENCE_VIOLATED", ("feature.properties.district_id",)),
            "fk_parcels_district_id_districts",
        ),
    ),
    "others refer to it": (
        lambda editor: editor.delete("districts", "1"),
        ("FAILED_PRECONDITION", "REFERENCE_VIOLATED", (), "fk_parcels_district_id_districts"),
    ),
    "one would lie on another": (
        lambda editor: editor.create("parcels", parcel("3", shapely.box(0.5, 0.5, 2, 2))),
        ("FAILED_PRECONDITION", "OVERLAP", ("feature.geometry",), None),
    ),
    "one would come to lie on another": (
        lambda editor: editor.update("parcels", made(SQUARE, key="2")),
        ("FAILED_PRECONDITION", "OVERLAP", ("feature.geometry",), None),
    ),
    "an update of what is not there": (
        lambda editor: editor.update("parcels", made(key="77", name="New")),
        ("NOT_FOUND", "FEATURE_NOT_FOUND", (), None),
    ),
    "a removal of what is not there": (
        lambda editor: editor.delete("parcels", "77", etag="5"),
        ("NOT_FOUND", "FEATURE_NOT_FOUND", (), None),
    ),
    "an update of what has changed": (
        lambda editor: editor.update("parcels", made(key="1", etag="1", name="New")),
        ("ABORTED", "ETAG_MISMATCH", (), None),
    ),
    "a removal of what has changed": (
        lambda editor: editor.delete("parcels", "1", etag="no etag"),
        ("ABORTED", "ETAG_MISMATCH", (), None),
    ),
}


@pytest.mark.parametrize(("call", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_a_change_is_refused_with_its_reason_its_field_and_the_constraint(
    editor: Editor, call: Any, expected: tuple[Any, ...]
) -> None:
    editor.create("parcels", parcel("1"))
    editor.create("parcels", parcel("2", shapely.box(1, 0, 2, 1)))
    before = [editor.get("parcels", key) for key in ("1", "2")]

    with pytest.raises(grpc.RpcError) as error:
        call(editor)

    refused = refusal(error.value)
    assert (refused.code, refused.reason, refused.fields, refused.metadata.get("constraint")) == expected
    assert [editor.get("parcels", key) for key in ("1", "2")] == before


def test_an_overlap_names_the_other_feature(editor: Editor) -> None:
    editor.create("parcels", parcel("1"))

    assert attempted(editor.create, "parcels", parcel("2")).metadata == {"layer": "parcels", "id": "1"}


def test_parcels_may_touch_and_a_parcel_may_change_where_it_lies(editor: Editor) -> None:
    editor.create("parcels", parcel("1"))
    editor.create("parcels", parcel("2", shapely.box(1, 0, 2, 1)))

    editor.update("parcels", made(shapely.box(0, 0, 1, 2), key="1"))


def test_changes_are_counted_by_what_they_do(editor: Editor) -> None:
    def count(kind: str) -> float:
        return editor.served.metric(f'spatial_query_seconds_count{{layer="facilities",query="{kind}"}}')

    before = [count(kind) for kind in ("create", "update", "delete")]
    editor.create("facilities", facility())
    editor.update("facilities", made(key="1", name="New"))
    editor.delete("facilities", "1")

    assert [count(kind) for kind in ("create", "update", "delete")] == [number + 1 for number in before]
