"""What comes in, in a real PostGIS: bit for bit as it was sent, read by the service as it was sent, or refused."""

import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg2
import pytest
from google.protobuf import struct_pb2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.codec.arriving.texts import text_of, texts_of
from service.errors import InvalidArgument
from spatial.v1 import geometry_pb2
from spatial.v1 import query_pb2 as query
from tests import awkward
from tests.arriving import AS_IT_IS, CURVES, DIMENSIONS, READER, REPAIRED, SHAPES, layer, text
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.servers import Served, serving
from tests.situations import fetch
from tests.streams import stream, whole

DATA = Path(__file__).parents[1] / "data"
READ_ONLY = ("c_generated", "c_composite")  # which are of types or columns that nobody writes


@pytest.fixture(scope="module")
def tables(new_database: NewDatabase) -> Iterator[str]:
    with new_database(template=POSTGIS) as url:
        awkward.make(url)
        yield url


@pytest.fixture(scope="module")
def served(tables: str) -> Iterator[Served]:
    with serving(tables, layers=awkward.LAYERS) as server:
        yield server


@pytest.fixture(scope="module")
def postgis(tables: str) -> Iterator["PostGIS"]:
    with closing(psycopg2.connect(tables)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield PostGIS(cursor)


@dataclass(frozen=True)
class PostGIS:
    """One session for all that the tests ask, since to begin one takes longer than to ask."""

    cursor: Cursor

    def ask(self, statement: str, *arguments: Any) -> tuple[Any, ...]:
        self.cursor.execute(statement, arguments)
        row: tuple[Any, ...] = self.cursor.fetchone() or ()
        return tuple(bytes(each) if isinstance(each, memoryview) else each for each in row)

    def stored(self, hexewkb: str, column: str) -> tuple[bytes, int, bool]:
        """What a column of a type has once it has been given a geometry: EWKB, SRID, and whether it is valid."""
        self.cursor.execute(f"DROP TABLE IF EXISTS one; CREATE TEMPORARY TABLE one (geom {column})")
        self.cursor.execute("INSERT INTO one VALUES (%s)", (hexewkb,))
        # Of a polyhedral surface PostGIS cannot tell.
        valid = "CASE ST_GeometryType(geom) WHEN 'ST_PolyhedralSurface' THEN true ELSE ST_IsValid(geom) END"
        wkb, srid, sound = self.ask(f"SELECT ST_AsEWKB(geom, 'NDR'), ST_SRID(geom), {valid} FROM one")
        return wkb, srid, sound

    def extended(self, wkt: str) -> bytes:
        """EWKB of a text, in EPSG:4326."""
        (ewkb,) = self.ask("SELECT ST_AsEWKB(ST_GeomFromText(%s, 4326), 'NDR')", wkt)
        found: bytes = ewkb
        return found

    def forms(self, wkt: str) -> dict[str, geometry_pb2.Geometry]:
        """A geometry in each form of WKB."""
        little, big, extended = self.ask(
            "SELECT ST_AsBinary(g, 'NDR'), ST_AsBinary(g, 'XDR'), ST_AsEWKB(g, 'NDR') FROM ST_GeomFromText(%s, 4326) g",
            wkt,
        )
        return {
            "ISO, little-endian": geometry_pb2.Geometry(wkb=little),
            "ISO, big-endian": geometry_pb2.Geometry(wkb=big),
            "extended": geometry_pb2.Geometry(wkb=extended),
        }


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", [*SHAPES, *CURVES])
def test_every_type_and_dimension_comes_out_as_it_went_in(postgis: PostGIS, name: str, dimensions: str) -> None:
    wkt, held = text(name, dimensions), layer(name + dimensions)
    for form, geometry in postgis.forms(wkt).items():
        placed = READER.read(geometry, held, **AS_IT_IS)
        (many,), refused = READER.read_many([geometry.wkb], held, srid=4326, **AS_IT_IS)

        expected = (postgis.extended(wkt), 4326, True)
        assert postgis.stored(placed.hexewkb, f"geometry({name}{dimensions}, 4326)") == expected, form
        assert (refused, many) == ({}, bytes.fromhex(placed.hexewkb)), form


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_wkt_comes_out_as_wkb_does(postgis: PostGIS, name: str, dimensions: str) -> None:
    wkt = text(name, dimensions)

    placed = READER.read(geometry_pb2.Geometry(wkt=wkt), layer(name + dimensions), **AS_IT_IS)

    assert postgis.stored(placed.hexewkb, "geometry")[0] == postgis.extended(wkt)


@pytest.mark.parametrize("dimensions", ["", "Z"])
@pytest.mark.parametrize("name", SHAPES)
def test_geojson_keeps_its_heights(postgis: PostGIS, name: str, dimensions: str) -> None:
    wkt, geojson = text(name, dimensions), struct_pb2.Struct()
    geojson.update(json.loads(postgis.ask("SELECT ST_AsGeoJSON(ST_GeomFromText(%s), 15)", wkt)[0]))

    placed = READER.read(geometry_pb2.Geometry(geojson=geojson), layer(name + dimensions), **AS_IT_IS)

    assert postgis.stored(placed.hexewkb, "geometry")[0] == postgis.extended(wkt)


def test_no_bit_of_a_coordinate_is_lost(postgis: PostGIS) -> None:
    numbers = (5e-324, -0.0, 1.7976931348623157e308, 0.1 + 0.2, -2.2250738585072014e-308, 1 / 3)
    wkb = struct.pack("<BII6d", 1, 1002, 2, *numbers)

    placed = READER.read(geometry_pb2.Geometry(wkb=wkb, srid=3857), layer("LINESTRINGZ", 3857), **AS_IT_IS)

    assert postgis.stored(placed.hexewkb, "geometry(LineStringZ, 3857)")[0][13:] == wkb[9:]


PROMOTED = [
    ("POINT", "MULTIPOINT"),
    ("LINESTRING", "MULTILINESTRING"),
    ("POLYGON", "MULTIPOLYGON"),
    ("LINESTRING", "MULTICURVE"),
    ("CIRCULARSTRING", "MULTICURVE"),
    ("COMPOUNDCURVE", "MULTICURVE"),
    ("POLYGON", "MULTISURFACE"),
    ("CURVEPOLYGON", "MULTISURFACE"),
    ("TRIANGLE", "TIN"),
]


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize(("single", "several"), PROMOTED)
def test_a_single_shape_becomes_the_only_one_of_several(
    postgis: PostGIS, single: str, several: str, dimensions: str
) -> None:
    held, wkt = layer(several + dimensions), text(single, dimensions)
    for form, geometry in postgis.forms(wkt).items():
        placed = READER.read(geometry, held, **AS_IT_IS)
        (many,), _ = READER.read_many([geometry.wkb], held, srid=4326, **AS_IT_IS)

        stored = postgis.stored(placed.hexewkb, f"geometry({several}{dimensions}, 4326)")
        only = postgis.ask("SELECT ST_NumGeometries(geom), ST_AsEWKB(ST_GeometryN(geom, 1), 'NDR') FROM one")
        assert (stored[1:], only) == ((4326, True), (1, postgis.extended(wkt))), form
        assert many == bytes.fromhex(placed.hexewkb), form


INVALID = {
    "bow tie": "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))",
    "spike": "POLYGON ((0 0, 4 0, 4 4, 2 4, 2 9, 2 4, 0 4, 0 0))",
    "hole outside": "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (5 5, 6 5, 6 6, 5 5))",
    "overlapping parts": "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 4, 0 0)), ((2 2, 6 2, 6 6, 2 6, 2 2)))",
    "ring twice over": "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0, 4 0, 4 4, 0 4, 0 0))",
    "in a collection": "GEOMETRYCOLLECTION (POINT (9 9), POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0)))",
}


@pytest.mark.parametrize(
    ("case", "column"),
    [
        *((case, column) for case in INVALID if case != "in a collection" for column in ("MULTIPOLYGON", "GEOMETRY")),
        ("spike", "POLYGON"),
        ("in a collection", "GEOMETRYCOLLECTION"),
        ("in a collection", "GEOMETRY"),
    ],
)
def test_what_is_repaired_is_valid_and_fits_its_column(postgis: PostGIS, case: str, column: str) -> None:
    placed = READER.read(geometry_pb2.Geometry(wkt=INVALID[case]), layer(column), **REPAIRED)

    assert postgis.stored(placed.hexewkb, f"geometry({column}, 4326)")[1:] == (4326, True)


@pytest.mark.parametrize("case", ["bow tie", "spike", "overlapping parts", "ring twice over"])
def test_a_repair_is_what_st_makevalid_makes_of_it(postgis: PostGIS, case: str) -> None:
    placed = READER.read(geometry_pb2.Geometry(wkt=INVALID[case]), layer("MULTIPOLYGON"), **REPAIRED)

    same = "ST_Equals(%s::geometry, ST_CollectionExtract(ST_MakeValid(ST_GeomFromText(%s, 4326)), 3))"
    assert postgis.ask(f"SELECT {same}", placed.hexewkb, INVALID[case]) == (True,)


@pytest.mark.parametrize("options", [AS_IT_IS, REPAIRED], ids=["as it is", "repaired"])
def test_every_malformed_geometry_is_refused_and_postgresql_goes_on(tables: str, options: dict[str, Any]) -> None:
    started = fetch(tables, "SELECT pg_postmaster_start_time()")
    anything = layer()
    lines = [json.loads(line) for line in (DATA / "malformed_wkb.jsonl").read_text().splitlines()]
    wkbs = [bytes.fromhex(line["hex"]) for line in lines]

    read, refused = READER.read_many(wkbs, anything, srid=4326, **options)

    assert [line["id"] for row, line in enumerate(lines) if wkbs[row] and row not in refused] == []
    assert set(read) == {None}
    for geometry in malformed():
        with pytest.raises(InvalidArgument) as caught:
            READER.read(geometry, anything, **options)
        assert caught.value.reason, geometry
    assert fetch(tables, "SELECT pg_postmaster_start_time()") == started


def malformed() -> Iterator[geometry_pb2.Geometry]:
    for line in (DATA / "malformed_wkb.jsonl").read_text().splitlines():
        yield geometry_pb2.Geometry(wkb=bytes.fromhex(json.loads(line)["hex"]))
    for line in (DATA / "malformed_wkt.jsonl").read_text().splitlines():
        wkt = json.loads(line)["wkt"]
        if wkt != "POINT(+1 2)":  # which means what it says
            yield geometry_pb2.Geometry(wkt=wkt)


def kinds(served: Served) -> Layer:
    return served.server.catalog["kinds"]


def feature(served: Served, id_: int) -> dict[str, Any]:
    request = query.GetFeatureRequest(layer="kinds", id=str(id_))
    return dict(served.stub.GetFeature(request, timeout=10).properties.fields)


def insert(url: str, id_: int, texts: dict[str, str | None]) -> None:
    """The texts as untyped literals, as the service has them in its statements."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        names = ", ".join(["id", *texts])
        cursor.execute(f"INSERT INTO kinds ({names}) VALUES (%s{', %s' * len(texts)})", [id_, *texts.values()])


@pytest.mark.parametrize("id_", [1, 2, 3, 4])
def test_values_of_every_type_are_read_as_they_were_sent(served: Served, tables: str, id_: int) -> None:
    layer_, sent = kinds(served), feature(served, id_)
    # Years that RFC 3339 does not have travel in columns alone.
    sent = {
        name: value for name, value in sent.items() if name not in READ_ONLY and value.string_value != "out of range"
    }
    texts = {name: text_of(layer_, layer_.properties[name], value) for name, value in sent.items()}

    insert(tables, 100 + id_, texts)

    read = feature(served, 100 + id_)
    assert {name: read[name] for name in sent} == sent


def test_values_of_every_type_are_read_as_they_were_sent_in_columns(served: Served, tables: str) -> None:
    layer_ = kinds(served)
    before = list(stream(served.stub, whole("kinds", layout="COLUMNS")))
    written: set[str] = set()
    for batch in before:
        count, texts = batch.columns.count, {}
        for column in batch.columns.properties:
            if column.name not in READ_ONLY:
                texts[column.name], refused = texts_of(layer_, layer_.properties[column.name], column, count)
                assert refused == {}, column.name
        written |= texts.keys()
        for row, id_ in enumerate(batch.columns.int64_ids):
            insert(tables, 1000 + id_, {name: values[row] for name, values in texts.items()})

    found = values_of(stream(served.stub, whole("kinds", layout="COLUMNS")))
    for (name, id_), old in values_of(before).items():
        if name in written:
            assert found[name, 1000 + id_] == old, (name, id_)


def values_of(batches: Iterable[Any]) -> dict[tuple[str, int], Any]:
    """By property and id."""
    return {
        (column.name, id_): value(column, row)
        for batch in batches
        for column in batch.columns.properties
        for row, id_ in enumerate(batch.columns.int64_ids)
    }


def value(column: Any, row: int) -> Any:
    if row in column.null_rows:
        return None
    found = getattr(column, column.WhichOneof("values")).values[row]
    return repr(found)  # NaN is not NaN


def test_composite_values_cannot_be_written(served: Served) -> None:
    layer_, sent = kinds(served), feature(served, 1)
    with pytest.raises(InvalidArgument) as caught:
        text_of(layer_, layer_.properties["c_composite"], sent["c_composite"])
    assert caught.value.reason == "INVALID_PROPERTY_VALUE"


# What PostgreSQL would refuse is refused before, in the column's own terms.
UNFIT = {
    "beyond smallint": ("c_smallint", 32768.0),
    "beyond integer": ("c_integer", -2147483649.0),
    "beyond bigint": ("c_bigint", "9223372036854775808"),
    "beyond real": ("c_real", 1e39),
    "too small for real": ("c_real", 1e-60),
    "beyond double": ("c_double", "1e400"),
    "too small for double": ("c_double", "1e-400"),
    "a date that is none": ("c_date", "2023-02-29"),
    "a timestamp that is none": ("c_timestamptz", "2024-02-30T00:00:00Z"),
    "a UUID that is none": ("c_uuid", "11111111-2222-3333-4444-55555555555"),
    "NUL": ("c_text", "a\0b"),
    "NUL in jsonb": ("c_jsonb", {"a": "\0"}),
    "an item beyond integer": ("c_integers", [1.0, 3000000000.0]),
    "a ragged array": ("c_integers", [[1.0], [2.0, 3.0]]),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_postgresql_would_refuse_is_refused_before(served: Served, tables: str, case: str) -> None:
    name, content = UNFIT[case]
    sent = struct_pb2.Struct()
    sent.update({"value": cast("Any", content)})
    prop = kinds(served).properties[name]

    with pytest.raises(InvalidArgument) as caught:
        text_of(kinds(served), prop, sent.fields["value"])

    assert caught.value.reason == "INVALID_PROPERTY_VALUE"
    assert caught.value.metadata == {"layer": "kinds", "property": name}
