"""Which column of a file becomes which property, and the table that takes all of a file."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow
import pytest
from sqlalchemy.dialects import postgresql

from service.loading.errors import LoadError
from service.loading.made import MadeTable, column_type, made_of, plain_name
from service.loading.mapping import ColumnMapping, Target, map_columns, read_pairs
from service.loading.source import Batch, Source
from service.loading.systems import of_code

LAYER = Target("places", "id", {"name": True, "Kind": True, "population": True, "created_at": False})


def source(*names: str, types: Mapping[str, Any] | None = None, geometry: str = "POINT", srid: int = 4326) -> Source:
    def nothing() -> Iterator[Batch]:
        return iter(())

    columns = dict.fromkeys(names, pyarrow.string()) | dict(types or {})
    return Source("file", columns, of_code(srid), geometry, 0, nothing)


def mapped(*names: str, pairs: Mapping[str, str] | None = None, **options: Any) -> ColumnMapping:
    return map_columns(source(*names), LAYER, pairs or {}, **options)


@pytest.mark.parametrize(
    ("names", "pairs", "key", "columns", "left"),
    [
        pytest.param(["id", "name"], {}, "id", {"name": "name"}, (), id="by their names"),
        pytest.param(["ID", "NAME", "kind"], {}, "ID", {"name": "NAME", "Kind": "kind"}, (), id="whatever their case"),
        pytest.param(["name", "Name"], {}, None, {"name": "name"}, ("Name",), id="the same case first"),
        pytest.param(["NAME", "Name"], {}, None, {}, ("NAME", "Name"), id="not one of two that differ in case"),
        pytest.param(["NAME", "Name"], {"NAME": "name"}, None, {"name": "NAME"}, ("Name",), id="unless it is said"),
        pytest.param(["n", "name"], {"n": "name"}, None, {"name": "n"}, ("name",), id="what is said goes first"),
        pytest.param(["name", "id"], {"id": ""}, None, {"name": "name"}, ("id",), id="left out"),
        pytest.param(["number"], {"number": "id"}, "number", {}, (), id="the key, too"),
        pytest.param(["created_at", "owner"], {}, None, {}, ("created_at", "owner"), id="what cannot be written stays"),
        pytest.param(["name"], {"name": "population"}, None, {"population": "name"}, (), id="to another property"),
    ],
)
def test_columns_become_properties(
    names: list[str], pairs: dict[str, str], key: str | None, columns: dict[str, str], left: tuple[str, ...]
) -> None:
    assert mapped(*names, pairs=pairs) == ColumnMapping(key, columns, left)


def test_a_column_is_named_as_the_key() -> None:
    assert mapped("number", "id", key="number") == ColumnMapping("number", {}, ("id",))


def test_rows_that_are_matched_by_a_property_bring_no_keys() -> None:
    assert mapped("id", "name", match="name") == ColumnMapping(None, {"name": "name"}, ("id",))


@pytest.mark.parametrize(
    ("pairs", "options", "complaint"),
    [
        ({"nobody": "name"}, {}, "no column 'nobody', but a, b"),
        ({"a": "nothing"}, {}, "no property 'nothing', but name, Kind"),
        ({"a": "created_at"}, {}, "property 'created_at' of layer 'places' cannot be written"),
        ({"a": "name", "b": "name"}, {}, "several columns are mapped to 'name'"),
        ({"a": "id"}, {"key": "b"}, "several columns are mapped to 'id'"),
        ({}, {"key": "c"}, "no column 'c', but a, b"),
        ({}, {"match": "name"}, "no column of the file is mapped to 'name', by which rows are to be matched"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(pairs: dict[str, str], options: dict[str, str], complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        mapped("a", "b", pairs=pairs, **options)


def test_pairs_are_read() -> None:
    assert read_pairs(["a=b", "c=", "d=e=f"]) == {"a": "b", "c": "", "d": "e=f"}


@pytest.mark.parametrize("texts", [["a"], ["=b"], ["a=b", "a=c"]], ids=["no property", "no column", "twice"])
def test_pairs_that_say_nothing_are_refused(texts: list[str]) -> None:
    with pytest.raises(LoadError, match="say source=property"):
        read_pairs(texts)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pyarrow.bool_(), "BOOLEAN"),
        (pyarrow.int16(), "SMALLINT"),
        (pyarrow.uint8(), "SMALLINT"),
        (pyarrow.int32(), "INTEGER"),
        (pyarrow.uint16(), "INTEGER"),
        (pyarrow.int64(), "BIGINT"),
        (pyarrow.uint32(), "BIGINT"),
        (pyarrow.uint64(), "NUMERIC(20)"),
        (pyarrow.float32(), "REAL"),
        (pyarrow.float64(), "DOUBLE PRECISION"),
        (pyarrow.decimal128(10, 2), "NUMERIC(10, 2)"),
        (pyarrow.date32(), "DATE"),
        (pyarrow.time64("us"), "TIME WITHOUT TIME ZONE"),
        (pyarrow.timestamp("us"), "TIMESTAMP WITHOUT TIME ZONE"),
        (pyarrow.timestamp("ms", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pyarrow.string(), "TEXT"),
        (pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "TEXT"),
        (pyarrow.binary(), "BYTEA"),
        (pyarrow.json_(), "JSONB"),
        (pyarrow.struct([("a", pyarrow.int8())]), "JSONB"),
        (pyarrow.list_(pyarrow.int32()), "INTEGER[]"),
        (pyarrow.list_(pyarrow.list_(pyarrow.int32())), "JSONB"),
    ],
    ids=str,
)
def test_a_table_has_the_types_of_the_file(kind: Any, name: str) -> None:
    assert column_type(kind).compile(dialect=postgresql.dialect()) == name  # type: ignore[no-untyped-call]


def made(*names: str, srid: int = 4326, key: str | None = None, pairs: Any = (), **options: Any) -> MadeTable:
    return made_of(source(*names, **options), None, "roads", srid, key, dict(pairs))


@pytest.mark.parametrize(
    ("names", "key", "columns"),
    [
        pytest.param(["name"], None, ["id", "name", "geom"], id="a key of its own"),
        pytest.param(["id", "geom"], None, ["fid", "id", "geom", "geometry"], id="names that are taken"),
        pytest.param(["a", "number"], "number", ["number", "a", "geom"], id="a key of the file"),
        pytest.param(["Größe (m)", "X-Y"], None, ["id", "größe_m", "x_y", "geom"], id="names that need no quotes"),
    ],
)
def test_a_table_has_the_columns_of_the_file(names: list[str], key: str | None, columns: list[str]) -> None:
    assert [column.name for column in made(*names, key=key).table.columns] == columns


def test_a_column_of_the_table_is_called_as_it_is_said_or_left_out() -> None:
    table = made("A", "b", "c", pairs={"A": "Road Name", "b": ""})

    assert [column.name for column in table.table.columns] == ["id", "Road Name", "c", "geom"]
    assert table.pairs == {"A": "Road Name", "b": "", "c": "c"}


def test_a_key_of_integers_goes_on_by_itself_and_one_of_texts_does_not() -> None:
    assert "n BIGINT GENERATED BY DEFAULT AS IDENTITY" in made(types={"n": pyarrow.int32()}, key="n").statement
    assert "n TEXT NOT NULL" in made("n", key="n").statement


@pytest.mark.parametrize(("srid", "indexes"), [(4326, 2), (32618, 1)])
def test_only_a_table_in_degrees_has_an_index_for_metres(srid: int, indexes: int) -> None:
    names = ["ix_roads_geom_geography_gist", "ix_roads_geom_gist"]

    assert sorted(str(index.name) for index in made("a", srid=srid).table.indexes) == names[-indexes:]


@pytest.mark.parametrize(
    ("geometry", "srid", "kept"),
    [
        ("POINT", 4326, True),
        ("POINTZM", 4326, True),
        ("MULTIPOINT", 4326, False),
        ("GEOMETRY", 4326, False),
        (None, 4326, False),
        ("POINT", 32618, False),
    ],
)
def test_points_in_degrees_are_kept_on_the_earth(geometry: str | None, srid: int, kept: bool) -> None:
    assert ("CONSTRAINT ck_roads_geom_on_earth CHECK" in made("a", geometry=geometry, srid=srid).statement) is kept


def test_no_name_is_longer_than_postgresql_has_room_for() -> None:
    table = made_of(source("ä" * 40), None, "straße_" * 9, 4326, None, {}).table

    assert max(len(str(index.name).encode()) for index in table.indexes) <= 63
    assert len({str(index.name) for index in table.indexes}) == 2
    assert len(table.columns[1].name.encode()) == 62


@pytest.mark.parametrize(
    ("names", "key", "pairs", "complaint"),
    [
        (["a", "A"], None, {}, "several columns would be called 'a'"),
        (["a"], "b", {}, "no column 'b', but a"),
        (["a"], None, {"c": "d"}, "no column 'c', but a"),
    ],
)
def test_a_table_that_cannot_be_made_is_refused(names: list[str], key: str | None, pairs: Any, complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        made(*names, key=key, pairs=pairs)


def test_a_name_without_letters_stays() -> None:
    assert plain_name("%") == "%"
