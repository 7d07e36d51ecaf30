"""What SPATIAL_LAYERS and its files may say; what they may not is refused with the file and the key."""

from pathlib import Path

import pytest

from service.reflected import ConfigurationError, read_wanted
from service.reflected.wanted import is_pattern, matches, parse_table


@pytest.mark.parametrize(
    ("setting", "models", "tables"),
    [
        ("models", True, []),
        ("public.roads", False, ["public.roads"]),
        (" models , public.*,gis.road_* ", True, ["public.*", "gis.road_*"]),
        ('"a, b"."c.d",roads', False, ['"a, b"."c.d"', "roads"]),
    ],
)
def test_a_setting_names_models_tables_and_patterns(setting: str, models: bool, tables: list[str]) -> None:
    wanted = read_wanted(setting)
    assert (wanted.models, [each.table for each in wanted.tables]) == (models, tables)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("roads", (None, "roads")),
        ("gis.roads", ("gis", "roads")),
        ('"Straße 1.a"."100% ""Größe"""', ("Straße 1.a", '100% "Größe"')),
        ('"roads"', (None, "roads")),
        ("gis.*", ("gis", "*")),
    ],
)
def test_names_may_be_in_double_quotes(text: str, parts: tuple[str | None, str]) -> None:
    assert parse_table(text) == parts


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "anything\nat all", True),
        ("road_*", "road_", True),
        ("road_*", "roads", False),
        ("road?", "roads", True),
        ("road?", "road", False),
        ("r[oa]ad", "road", False),
        ("a.b", "axb", False),
        ("Roads", "roads", False),
    ],
)
def test_a_pattern_means_a_name_or_does_not(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


YAML = """
models: true
layers:
  - table: public.roads
    name: streets
    description: All of them.
    geometry: geom
    key: gid
    srid: 2263
    type: MULTILINESTRING
    properties: [name, lanes]
    unindexed: true
    writable: true
    no_overlap: true
  - table: gis.*
    hidden: [secret]
"""
TOML = """
models = true
[[layers]]
table = "public.roads"
name = "streets"
description = "All of them."
geometry = "geom"
key = "gid"
srid = 2263
type = "MULTILINESTRING"
properties = ["name", "lanes"]
unindexed = true
writable = true
no_overlap = true
[[layers]]
table = "gis.*"
hidden = ["secret"]
"""


@pytest.mark.parametrize(("name", "text"), {"layers.yaml": YAML, "layers.yml": YAML, "layers.toml": TOML}.items())
def test_a_file_says_more_about_each(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    wanted = read_wanted(f"other,{path}")
    _, roads, rest = wanted.tables

    assert wanted.models
    assert roads.model_dump() == {
        "table": "public.roads",
        "name": "streets",
        "description": "All of them.",
        "geometry": "geom",
        "key": "gid",
        "srid": 2263,
        "type": "MULTILINESTRING",
        "properties": ["name", "lanes"],
        "hidden": [],
        "unindexed": True,
        "writable": True,
        "no_overlap": True,
    }
    assert (is_pattern(roads), is_pattern(rest), rest.hidden) == (False, True, ["secret"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    {
        "layers: [{table: a, colour: red}]": "layers[0].colour: Extra inputs are not permitted",
        "layers: [{name: a}]": "layers[0].table: Field required",
        "layers: [{table: a}, {table: b, srid: many}]": "layers[1].srid: Input should be a valid integer",
        "layers: [{table: a, srid: -1}]": "layers[0].srid: Input should be greater than or equal to 0",
        "layers: [{table: a, type: POINTY}]": "layers[0].type: ",
        "layers: [{table: a, unindexed: perhaps}]": "layers[0].unindexed: Input should be a valid boolean",
        "layers: [{table: a, writable: 1}]": "layers[0].writable: Input should be a valid boolean",
        "layers: [{table: a, no_overlap: true}]": "layers[0]: no_overlap says what changes are refused: it goes with",
        "layers: [{table: a, properties: name}]": "layers[0].properties: Input should be a valid list",
        "layers: [{table: gis.*, name: all}]": "layers[0]: a pattern may find many tables: they cannot have one name",
        "layers: [{table: a.b.c}]": "layers[0]: 'a.b.c' is neither a table nor schema.table",
        "tables: []": "tables: Extra inputs are not permitted",
        "[]": "Input should be a valid dictionary",
        "layers: [": "while parsing",
    }.items(),
)
def test_what_a_file_may_not_say_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "layers.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_wanted(str(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert complaint in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"layers\.toml: No such file or directory"):
        read_wanted(str(tmp_path / "layers.toml"))


@pytest.mark.parametrize("setting", ["", " , "])
def test_a_setting_that_names_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="SPATIAL_LAYERS names nothing"):
        read_wanted(setting)


def test_a_setting_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"SPATIAL_LAYERS: 'a\.b\.c' is neither a table nor schema\.table"):
        read_wanted("models,a.b.c")
