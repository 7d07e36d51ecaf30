"""Changes of tables that this service did not make: their rules are told as those of the models are."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import shapely
from google.protobuf.json_format import MessageToDict

from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.edits import Editor, made
from tests.servers import refusal, serving
from tests.situations import fetch

TABLES = """
CREATE SCHEMA gis;
CREATE TYPE gis.state AS ENUM ('planned', 'built');
CREATE DOMAIN gis.grade AS int CHECK (VALUE BETWEEN 1 AND 5);
CREATE TABLE gis."100% Works" (
  "Key %" uuid PRIMARY KEY DEFAULT gen_random_uuid(), "Ref No" text, part int, code varchar(3), state gis.state,
  grade gis.grade, small smallint, since date, height numeric(5, 2),
  length float8 GENERATED ALWAYS AS (ST_Length(geom)) STORED,
  geom geometry(LineString, 25832) CHECK (ST_NPoints(geom) < 5),
  CONSTRAINT high CHECK (height > 0), CONSTRAINT parted UNIQUE ("Ref No", part),
  CONSTRAINT later UNIQUE (small) DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT apart EXCLUDE USING btree (since WITH =));
CREATE INDEX ON gis."100% Works" USING gist (geom);
CREATE UNIQUE INDEX "one code" ON gis."100% Works" (code);
CREATE FUNCTION gis.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.part = 13 THEN RAISE EXCEPTION 'unlucky'; END IF;
  IF NEW.part = 14 THEN RETURN NULL; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON gis."100% Works" FOR EACH ROW EXECUTE FUNCTION gis.refuse();
CREATE TABLE parts (id int PRIMARY KEY, name text, geom geography(Point) NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parts_low (name text, geom geography(Point) NOT NULL, id int NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_low FOR VALUES FROM (0) TO (100);
CREATE INDEX ON parts USING gist (geom);
"""
LAYERS = """
layers:
  - {table: 'gis."100% Works"', name: works, writable: true}
  - {table: public.parts, writable: true}
"""
LINE = shapely.LineString([(9, 48), (9.001, 48)])


@pytest.fixture(scope="module")
def editor(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    path = tmp_path_factory.mktemp("layers") / "layers.yaml"
    path.write_text(LAYERS)
    with new_database(template=POSTGIS) as url:
        fetch(url, TABLES)
        with serving(url, layers=str(path)) as served:
            yield Editor(served)


@pytest.fixture(scope="module")
def works(editor: Editor) -> Any:
    """One that is there already."""
    values: dict[str, Any] = {"Ref No": "A", "part": 1, "code": "abc", "small": 1, "since": "2026-01-01"}
    return editor.create("works", made(LINE, **values)).feature


def test_keys_are_made_by_the_database_and_geometries_transformed(editor: Editor, works: Any) -> None:
    assert works == editor.get("works", works.id)
    assert len(works.id) == 36
    assert works.geometry.srid == 25832
    assert MessageToDict(works.properties)["length"] == pytest.approx(74.6, abs=0.1)


def test_a_partitioned_table_of_geography_takes_changes_and_tells_versions(editor: Editor) -> None:
    created = editor.create("parts", made("POINT (1 2)", key="7", name="First")).feature
    updated = editor.update("parts", made(key="7", etag=created.etag, name="Second")).feature

    assert created.etag != updated.etag
    assert updated == editor.get("parts", "7")
    editor.delete("parts", "7", etag=updated.etag)


REFUSED = {
    "a check of one column": (
        {"height": -1},
        ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED", "properties.height", "high"),
    ),
    "a unique index": ({"code": "abc"}, ("ALREADY_EXISTS", "NOT_UNIQUE", "properties.code", "one code")),
    "several columns": ({"Ref No": "A", "part": 1}, ("ALREADY_EXISTS", "NOT_UNIQUE", None, "parted")),
    "what is checked at the end": ({"small": 1}, ("ALREADY_EXISTS", "NOT_UNIQUE", "properties.small", "later")),
    "an exclusion": (
        {"since": "2026-01-01"},
        ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED", "properties.since", "apart"),
    ),
    "a trigger that raises": ({"part": 13}, ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED", None, None)),
    "a trigger that keeps it out": ({"part": 14}, ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED", None, None)),
    "a text that is too long": (
        {"code": "abcd"},
        ("INVALID_ARGUMENT", "INVALID_PROPERTY_VALUE", "properties.code", None),
    ),
    "a number beyond the column": (
        {"small": 70000},
        ("INVALID_ARGUMENT", "INVALID_PROPERTY_VALUE", "properties.small", None),
    ),
    "a numeric beyond its precision": (
        {"height": 123456},
        ("INVALID_ARGUMENT", "INVALID_PROPERTY_VALUE", "properties.height", None),
    ),
    "no value of the enum": (
        {"code": "new", "state": "ruined"},
        ("INVALID_ARGUMENT", "INVALID_PROPERTY_VALUE", "properties.state", None),
    ),
    "no date": ({"since": "yesterdayish"}, ("INVALID_ARGUMENT", "INVALID_PROPERTY_VALUE", "properties.since", None)),
}


@pytest.mark.parametrize(("values", "expected"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.usefixtures("works")
def test_what_the_table_refuses_is_told_with_its_field(
    editor: Editor, values: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        editor.create("works", made(LINE, **values))

    refused = refusal(error.value)
    code, reason, field, constraint = expected
    assert (refused.code, refused.reason, refused.metadata.get("constraint")) == (code, reason, constraint)
    assert refused.fields == ((f"feature.{field}",) if field else ())


def test_a_check_of_the_geometry_is_about_the_geometry(editor: Editor) -> None:
    with pytest.raises(grpc.RpcError) as error:
        editor.create("works", made(shapely.LineString([(9, 48 + n / 100) for n in range(6)])))

    assert refusal(error.value).reason == "CONSTRAINT_VIOLATED"
    assert refusal(error.value).fields == ("feature.geometry",)


def test_a_domain_s_rule_is_the_table_s(editor: Editor) -> None:
    with pytest.raises(grpc.RpcError) as error:
        editor.create("works", made(LINE, grade=9))

    assert (refusal(error.value).code, refusal(error.value).reason) == ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED")
