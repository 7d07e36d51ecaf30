"""Filters from text to structure and values; and what is refused, with its place."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Column, Text

from service.catalog import Layer, Property, PropertyType
from service.codec.cql2_text import Cql2Text
from service.codec.filters import FilterReader
from service.db.filters import condition, named
from service.domain import Argument, Filter
from service.errors import InvalidArgument
from tests.filters import DIALECT, FACILITIES, PROBES, THINGS, made, read, refused


def test_an_empty_filter_is_none() -> None:
    assert FilterReader(PROBES).read(FACILITIES, "", "filter") is None


ACCEPTED: dict[str, tuple[str, tuple[Argument, ...]]] = {
    "active": ('["column","active"]', ()),
    "active = TRUE": ('["column","active"]', ()),
    "TRUE = active": ('["column","active"]', ()),
    "active = FALSE": ('["not",["column","active"]]', ()),
    "NOT active": ('["not",["column","active"]]', ()),
    "id = 5": ('["=",["column","id"],["value","integer",1]]', (5,)),
    "5 < id": ('[">",["column","id"],["value","integer",1]]', (5,)),
    "population > 2.5": ('[">",["column","population"],["value","numeric",1]]', (2.5,)),
    "population = '9223372036854775807'": ('["=",["column","population"],["value","integer",1]]', (2**63 - 1,)),
    "population IN (1, 2)": ('["in",["column","population"],["list","integer",1]]', ('{"1","2"}',)),
    "population IN (1, 2.5)": ('["in",["column","population"],["list","numeric",1]]', ('{"1","2.5"}',)),
    "name = 'it''s'": ('["=",["column","name"],["value","text",1]]', ("it's",)),
    "\"name\" = 'x'": ('["=",["column","name"],["value","text",1]]', ("x",)),
    "name IN ('a', '\\b\"')": ('["in",["column","name"],["list","text",1]]', ('{"a","\\\\b\\""}',)),
    "name LIKE 'a%'": ('["like",["column","name"],["value","text",1]]', ("a%",)),
    "CASEI(name) = CASEI('A')": ('["=",["casei",["column","name"]],["casei",["value","text",1]]]', ("A",)),
    "country IS NOT NULL": ('["not",["null",["column","country"]]]', ()),
    "location IS NULL": ('["null",["geometry"]]', ()),
    "attributes.height = 2": ('["json_contains","attributes",1]', ('{"height":2}',)),
    "attributes.a.b = 'x'": ('["json_contains","attributes",1]', ('{"a":{"b":"x"}}',)),
    "attributes.open": ('["json_contains","attributes",1]', ('{"open":true}',)),
    "attributes.height > 2": (
        '[">",["path","attributes",1,"number"],["value","numeric",2]]',
        ('{"height"}', 2.0),
    ),
    # Under NOT a containment, which is false where the comparison is unknown, would not do.
    "NOT attributes.height = 2": (
        '["not",["=",["path","attributes",1,"number"],["value","numeric",2]]]',
        ('{"height"}', 2.0),
    ),
    # An item of an array is not what a containment finds.
    "attributes.list.0 = 'x'": ('["=",["path","attributes",1,"text"],["value","text",2]]', ('{"list","0"}', "x")),
    "A_CONTAINS(tags, ('a', 'b'))": ('["array","@>","tags",1]', ('{"a","b"}',)),
    "A_CONTAINS(('a', 'b'), tags)": ('["array","<@","tags",1]', ('{"a","b"}',)),
    "A_CONTAINS(attributes.colors, ('red'))": ('["json_contains","attributes",1]', ('{"colors":["red"]}',)),
    "created_at > TIMESTAMP('2026-01-31T12:00:00+02:00')": (
        '[">",["column","created_at"],["value","timestamp",1]]',
        ("2026-01-31 10:00:00+00",),
    ),
    "created_at > DATE('2026-01-31')": (
        '[">",["column","created_at"],["value","timestamp",1]]',
        ("2026-01-31 00:00:00+00",),
    ),
    "T_BEFORE(created_at, INTERVAL('2026-01-31', '..'))": (
        '["<",["column","created_at"],["value","timestamp",1]]',
        ("2026-01-31 00:00:00+00",),
    ),
    "S_CONTAINS(POINT(1 2), location)": (
        '["spatial","within",1]',
        ("0101000020e6100000000000000000f03f0000000000000040",),
    ),
    "population + 1 > 2": (
        '[">",["arithmetic","+","numeric",["column","population"],["value","numeric",1]],["value","numeric",2]]',
        (1.0, 2.0),
    ),
    "longitude / 2 < 1": (
        '["<",["arithmetic","/","double",["column","longitude"],["value","numeric",1]],["value","double",2]]',
        (2.0, 1.0),
    ),
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_text_becomes_a_structure_and_values(text: str) -> None:
    structure, values = ACCEPTED[text]

    assert read(text) == Filter(structure, values)
    assert [type(value) for value in read(text).values] == [type(value) for value in values]


UNCOMMON = {
    "id = '6F9619FF-8B86-D011-B42D-00C04FC964FF'": ('"uuid"', "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    "owner IN ('6f9619ff-8b86-d011-b42d-00c04fc964ff')": ('"uuid"', '{"6f9619ff-8b86-d011-b42d-00c04fc964ff"}'),
    "number > 100000": ('"integer"', 100_000),
    "A_CONTAINS(numbers, (1, -32768))": ('"@>"', '{"1","-32768"}'),
    "A_OVERLAPS(words, ('longer than three'))": ('"&&"', '{"longer than three"}'),
    "price = '12345678901234567890.12'": ('"numeric"', "12345678901234567890.12"),
    "single = 0.1": ('"real"', 0.1),
    "single < 1e300": ('"double"', 1e300),
    "day >= DATE('2026-01-31')": ('"date"', "2026-01-31"),
    "state = 'open'": ('"text"', "open"),
    "doc.height = 'high'": ('"text"', "high"),  # the column of that name, not the path
    "\"doc.height\" = 'high'": ('"text"', "high"),
}


@pytest.mark.parametrize("text", UNCOMMON)
def test_columns_of_less_common_types(text: str) -> None:
    kind, value = UNCOMMON[text]
    found = read(text, THINGS)

    assert kind in found.structure
    assert found.values == (value,)
    assert str(condition(THINGS, found))


INVALID, MISMATCH, UNKNOWN = "INVALID_FILTER", "FILTER_TYPE_MISMATCH", "UNKNOWN_PROPERTY"
REFUSED: dict[str, tuple[str, int, int, str]] = {
    "population = ": (INVALID, 1, 14, "a property or a value must be here, not the end"),
    "population == 2": (INVALID, 1, 13, "a property or a value must be here, not '= 2'"),
    "name = 'x": (INVALID, 1, 8, """a property or a value must be here, not "'x\""""),
    "active AND\n  name = ": (INVALID, 2, 10, "must be here, not the end"),
    "(active": (INVALID, 1, 8, "an operator, a comma or a parenthesis must be here, not the end"),
    "active; DROP TABLE facilities": (INVALID, 1, 7, "an operator or the end of the filter must be here, not '; DROP"),
    "active -- ": (INVALID, 1, 11, "must be here"),
    '{"op": "=", "args": [1, 1]}': (INVALID, 1, 1, "a property or a value must be here"),
    "pg_sleep(10) = 1": (INVALID, 1, 1, "'pg_sleep' is not among what a filter can use: CASEI, A_CONTAINS"),
    "active AND ACCENTI(name) = 'x'": (INVALID, 1, 12, "'accenti' is not among"),
    "population ^ 2 = 4": (INVALID, 1, 12, "'^' is not among"),
    "population DIV 2 = 4": (INVALID, 1, 12, "'div' is not among"),
    "name = NULL": (INVALID, 1, 1, "ask with IS NULL"),
    "name LIKE name": (INVALID, 1, 11, "the pattern of LIKE is a text"),
    "name LIKE 'x\\'": (INVALID, 1, 11, "must not end with"),
    "name = 'a\0b'": (INVALID, 1, 8, "NUL"),
    "population = 1e400": (INVALID, 1, 14, "beyond what a double can hold"),
    "longitude = -1e400": (INVALID, 1, 14, "beyond what a double can hold"),
    "T_DURING(created_at, INTERVAL('2026-02-01', '2026-01-01'))": (INVALID, 1, 45, "ends before it begins"),
    "T_DURING(created_at, DATE('2026-02-01'))": (INVALID, 1, 27, "T_DURING compares a moment with an interval"),
    "T_MEETS(created_at, DATE('2026-02-01'))": (INVALID, 1, 1, "'t_meets' is not among"),
    "S_INTERSECTS(location)": (INVALID, 1, 1, "S_INTERSECTS takes 2 arguments, not 1"),
    "S_INTERSECTS(location, BBOX(1, 2, 3))": (INVALID, 1, 24, "BBOX takes four numbers"),
    "S_INTERSECTS(location, BBOX(1, 2, 3, name))": (INVALID, 1, 24, "BBOX takes four numbers"),
    "A_CONTAINS(tags, tags)": (INVALID, 1, 1, "A_CONTAINS takes a property and a list"),
    "nme = 'x'": (UNKNOWN, 1, 1, "layer 'facilities' has no property 'nme'"),
    "active AND\n  nme = 'x'": (UNKNOWN, 2, 3, "no property 'nme'"),
    "name = 'nme' AND nme = 'x'": (UNKNOWN, 1, 18, "no property 'nme'"),
    "Name = 'x'": (UNKNOWN, 1, 1, "no property 'Name'"),
    "location = 'x'": (UNKNOWN, 1, 1, "no property 'location'"),
    "facilities.name = 'x'": (UNKNOWN, 1, 1, "no property 'facilities.name'"),
    "name.length = 1": (UNKNOWN, 1, 1, "no property 'name.length'"),
    "attributes..x = 1": (UNKNOWN, 1, 1, "no property"),
    "ctid = '(0,1)'": (UNKNOWN, 1, 1, "no property 'ctid'"),
    "xmin = 1": (UNKNOWN, 1, 1, "no property 'xmin'"),
    "S_INTERSECTS(centroid, POINT(1 1))": (UNKNOWN, 1, 14, "takes the geometry 'location'"),
    "S_INTERSECTS(location, name)": (MISMATCH, 1, 24, "takes the geometry 'location'"),
    "name": (MISMATCH, 1, 1, "a condition must be here, and 'name' is a text"),
    "5": (MISMATCH, 1, 1, "a condition must be here, not a value"),
    "active AND name": (MISMATCH, 1, 12, "'name' is a text"),
    "population + 1": (MISMATCH, 1, 14, "a condition must be here, and this is a number"),
    "name = 5": (MISMATCH, 1, 8, "the number 5 cannot be compared with a text"),
    "name = TRUE": (MISMATCH, 1, 8, "TRUE cannot be compared with a text"),
    "name IN ('a', 5)": (MISMATCH, 1, 15, "the number 5 cannot be compared with a text"),
    "population = 'many'": (MISMATCH, 1, 14, "the text 'many' cannot be compared with an integer"),
    "population = '9223372036854775808'": (MISMATCH, 1, 14, "cannot be compared with an integer"),
    "population = 9007199254740993": (MISMATCH, 1, 14, "write integers as texts, such as '9007199254740993'"),
    "population = -9007199254740993": (MISMATCH, 1, 15, "numbers from 2^53 on are not exact"),
    "attributes.n = 9007199254740993": (MISMATCH, 1, 16, "numbers from 2^53 on are not exact"),
    "name + 1 = 2": (MISMATCH, 1, 1, "arithmetic takes numbers, and 'name' is a text"),
    "active > TRUE": (MISMATCH, 1, 10, "truth values are equal or not"),
    "name = population": (MISMATCH, 1, 8, "a text cannot be compared with an integer"),
    "tags = 'a'": (MISMATCH, 1, 8, "single values can be compared, and 'tags' is an array"),
    "attributes = 'a'": (MISMATCH, 1, 14, "single values can be compared, and 'attributes' is JSON"),
    "A_CONTAINS(tags, (1))": (MISMATCH, 1, 19, "the number 1 cannot be compared with a text"),
    "A_CONTAINS(name, ('a'))": (MISMATCH, 1, 12, "A_CONTAINS takes arrays, and 'name' is a text"),
    "created_at > 'yesterday'": (MISMATCH, 1, 14, "'yesterday' is not a timestamp such as"),
    "created_at = DATE('2026-02-30')": (MISMATCH, 1, 19, "'2026-02-30' is not a timestamp"),
    "created_at = TIMESTAMP('2026-01-01T00:00:60Z')": (MISMATCH, 1, 24, "is not a timestamp"),
    "attributes.at > DATE('2026-01-01')": (MISMATCH, 1, 22, "JSON has no dates"),
    "T_AFTER(name, DATE('2026-01-01'))": (MISMATCH, 1, 9, "a timestamp must be here, and 'name' is a text"),
    "S_INTERSECTS(location, POINT(181 1))": ("COORDINATE_OUT_OF_RANGE", 1, 24, "longitude 181.0 is beyond 180 degrees"),
    "S_INTERSECTS(location, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))": ("INVALID_GEOMETRY", 1, 24, "Self-intersection"),
    "S_INTERSECTS(location, POLYGON((0 0, 1 1, 1 0, 0 1)))": ("INVALID_GEOMETRY", 1, 24, "a ring is not closed"),
    "S_INTERSECTS(location, LINESTRING(0 0))": ("INVALID_GEOMETRY", 1, 24, "a line needs 2 points"),
    "S_INTERSECTS(location, BBOX(0, 2, 1, 1))": ("OUT_OF_RANGE", 1, 24, "south 2.0 is beyond north 1.0"),
    "S_WITHIN(location, GEOMETRYCOLLECTION(POINT(1 1)))": (
        "UNSUPPORTED_GEOMETRY_TYPE",
        1,
        20,
        "can be asked about with S_INTERSECTS, not with S_WITHIN",
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_refused_with_its_place(text: str) -> None:
    reason, line, column, said = REFUSED[text]
    error = refused(text)

    assert (error.reason, error.field) == (reason, "filter")
    assert (error.metadata["line"], error.metadata["column"]) == (str(line), str(column))
    assert error.message.startswith(f"line {line}, column {column}: ")
    assert said in error.message


UNCOMMON_REFUSED = {
    "id = 'x'": (MISMATCH, "the text 'x' cannot be compared with a UUID"),
    "A_CONTAINS(numbers, (32768))": (MISMATCH, "cannot be compared with an integer"),
    "A_CONTAINS(numbers, (1.5))": (MISMATCH, "cannot be compared with an integer"),
    "content = 'x'": (MISMATCH, "'content' is of a type that cannot be compared"),
    "day = TIMESTAMP('2026-01-01T00:00:00Z')": (MISMATCH, "is not a date such as 2026-01-31"),
    "price = 12345678901234567890.12": (MISMATCH, "numbers from 2^53 on are not exact"),
    "price = '1e5'": (MISMATCH, "the text '1e5' cannot be compared with a number"),
    "price = 'NaN'": (MISMATCH, "the text 'NaN' cannot be compared with a number"),
    "single = 'Infinity'": (MISMATCH, "the text 'Infinity' cannot be compared with a number"),
}


@pytest.mark.parametrize("text", UNCOMMON_REFUSED)
def test_what_less_common_types_do_not_take(text: str) -> None:
    reason, said = UNCOMMON_REFUSED[text]
    error = refused(text, THINGS)

    assert error.reason == reason
    assert said in error.message


def test_an_empty_geometry_is_refused() -> None:
    assert "an empty geometry cannot be compared" in refused("S_INTERSECTS(location, POINT EMPTY)").message


def test_a_name_that_no_property_has_is_said_in_the_metadata_too() -> None:
    assert dict(refused("nme = 1").metadata) == {"layer": "facilities", "line": "1", "column": "1"}


def test_columns_that_are_not_served_are_not_there() -> None:
    hidden = made()
    visible = {name: prop for name, prop in hidden.properties.items() if name != "price"}
    layer = Layer("things", "", hidden.table, hidden.key, hidden.geometry, "POINT", 4326, visible)

    assert refused("price > 1", layer).reason == UNKNOWN


# What an index hangs on.

SQL = {
    "active": "facilities.active",
    "active = TRUE": "facilities.active",
    "population >= 5": "facilities.population >= CAST(:filter_1 AS BIGINT)",
    "name = 'x'": "facilities.name = CAST(:filter_1 AS TEXT)",
    "name LIKE 'x%'": "facilities.name LIKE CAST(:filter_1 AS TEXT)",
    "CASEI(name) = 'x'": "lower(facilities.name) = CAST(:filter_1 AS TEXT)",
    "A_CONTAINS(tags, ('a'))": "facilities.tags @> CAST(:filter_1 AS TEXT[])",
    "attributes.a = 1": "facilities.attributes @> CAST(:filter_1 AS JSONB)",
    "country IS NOT NULL": "facilities.country IS NOT NULL",
    "S_WITHIN(location, POINT(1 1))": (
        "ST_Within(facilities.location, ST_Transform(geometry(CAST(:filter_1 AS TEXT)), 4326))"
    ),
}


@pytest.mark.parametrize("text", SQL)
def test_columns_are_bare_and_values_are_bound(text: str) -> None:
    compiled = condition(FACILITIES, read(text)).compile(dialect=DIALECT)

    assert str(compiled) == SQL[text]


def test_values_are_bound_under_a_prefix() -> None:
    asked = read("name = 'x' AND population > 5")

    assert dict(named(asked)) == {"filter_1": "x", "filter_2": 5}
    assert dict(named(asked, "left_filter")) == {"left_filter_1": "x", "left_filter_2": 5}
    assert ":left_filter_2" in str(condition(FACILITIES, asked, "left_filter"))


words = st.text(st.characters(codec="utf-8"), max_size=20)


@given(words)
@example("'; DROP TABLE facilities; --")
@example("$$;%(filter_1)s%%")
def test_nothing_that_a_caller_writes_is_in_the_statement(word: str) -> None:
    """Whatever a value is, the structure, and with it the SQL, is that of any other."""
    quoted = word.replace("'", "''")
    template = "name = '{0}' AND name IN ('{0}', 'b') AND attributes.a = '{0}' AND A_CONTAINS(tags, ('{0}'))"
    if "\0" in word:
        assert refused(template.format(quoted)).reason == INVALID
        return
    found = read(template.format(quoted))
    assert found.structure == read(template.format("x")).structure
    assert json.loads(str(found.values[2])) == {"a": word}
    assert found.values[0] == word


# What is kept.


def test_a_text_that_is_read_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FilterReader(PROBES)
    first = reader.read(FACILITIES, "active", "query.filter")
    monkeypatch.setattr(Cql2Text, "tree", None)

    assert reader.read(FACILITIES, "active", "left_filter") is first


def test_no_more_is_kept_than_there_is_room_for() -> None:
    reader = FilterReader(PROBES, capacity=2)
    first = reader.read(FACILITIES, "id = 1", "filter")
    reader.read(FACILITIES, "id = 2", "filter")
    assert reader.read(FACILITIES, "id = 1", "filter") is first
    reader.read(FACILITIES, "id = 3", "filter")

    again = reader.read(FACILITIES, "id = 1", "filter")
    assert again == first
    assert again is not first


def test_a_layer_that_changed_is_read_for_anew() -> None:
    reader = FilterReader(PROBES)
    before = reader.read(THINGS, "number = 1", "filter")
    changed = made()
    text = Property("number", PropertyType.STRING, Column("number", Text), nullable=True)
    changed = Layer(
        "things",
        "",
        changed.table,
        changed.key,
        changed.geometry,
        "POINT",
        4326,
        {**changed.properties, "number": text},
    )

    assert before is not None
    with pytest.raises(InvalidArgument):
        reader.read(changed, "number = 1", "filter")


def test_where_the_crs_is_unknown_geometries_are_in_its_coordinates() -> None:
    layer = made(srid=0)
    asked = read("S_INTERSECTS(location, BBOX(1000, 2000, 1001, 2001))", layer)

    assert "ST_Transform" not in str(condition(layer, asked))
    assert str(asked.values[0]).startswith("0103000020" + "00000000")


def test_where_the_crs_is_another_the_constant_is_transformed() -> None:
    layer = made(srid=25832)

    assert "ST_Transform(geometry(CAST(:filter_1 AS TEXT)), 25832)" in str(
        condition(layer, read("S_INTERSECTS(location, POINT(9 50))", layer))
    )
    assert refused("S_INTERSECTS(location, POINT(500000 5500000))", layer).reason == "COORDINATE_OUT_OF_RANGE"
