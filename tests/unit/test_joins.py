"""Joins without a database: what requests become, what is refused, which statements are made, how pairs are written."""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from service.catalog import Catalog, Layer, shipped_layers
from service.codec.batches import BATCH_BYTES, MOST_BATCH_BYTES
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.joins import JoinReader, JoinWriter
from service.codec.questions import QuestionReader
from service.codec.tokens import Kind, read_token, write_token
from service.db.copy import SIGNATURE
from service.db.joins import JoinStatement, join_statement
from service.domain import DistanceModel, Encoding, JoinShape, Output, Predicate, Side, View
from service.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, SpatialError
from spatial.v1 import query_pb2
from spatial.v1.query_pb2 import JoinQuery, StreamJoinRequest

ZONES = next(layer for layer in shipped_layers() if layer.name == "zones")
GRID, OTHER_GRID = (replace(ZONES, name=name, srid=3035) for name in ("grid", "other_grid"))
CODES = replace(ZONES, name="codes", key=ZONES.table.c.code)
CATALOG = Catalog([*shipped_layers(), GRID, OTHER_GRID, CODES])
READER = JoinReader(QuestionReader(CATALOG, ProbeReader(GeometryLimits(1000, 100, 8)), 1e6), 1e6)
BOUND = bytes(range(12))
HEADER = SIGNATURE + bytes(8)
TRAILER = b"\xff\xff"


def request(left: str = "zones", right: str = "facilities", **fields: Any) -> StreamJoinRequest:
    stream = {name: fields.pop(name) for name in ("left_output", "right_output", "resumable") if name in fields}
    return StreamJoinRequest(query=JoinQuery(left_layer=left, right_layer=right, **fields), **stream)


def resumed(asked: StreamJoinRequest, token: str) -> StreamJoinRequest:
    again = StreamJoinRequest()
    again.CopyFrom(asked)
    again.resume_token = token
    return again


# What is asked.


def test_features_meet_unless_something_else_is_asked() -> None:
    join = READER.join(request())

    assert join.shape == JoinShape("zones", "facilities", Predicate.INTERSECTS)
    assert join.arguments == ()
    assert join.bound_to is None


@pytest.mark.parametrize("predicate", Predicate, ids=lambda predicate: predicate.name)
def test_a_predicate(predicate: Predicate) -> None:
    assert READER.join(request(predicate=f"PREDICATE_{predicate.name}")).shape.condition is predicate


@pytest.mark.parametrize(
    ("model", "expected"),
    [("UNSPECIFIED", DistanceModel.SPHEROID), *((model.name, model) for model in DistanceModel)],
)
def test_a_distance_and_its_model(model: str, expected: DistanceModel) -> None:
    join = READER.join(request(distance_meters=250.0, distance_model=f"DISTANCE_MODEL_{model}"))

    assert (join.shape.condition, join.arguments) == (expected, (250.0,))


def test_a_distance_of_0_is_one() -> None:
    join = READER.join(request(distance_meters=0))

    assert (join.shape.condition, join.arguments) == (DistanceModel.SPHEROID, (0.0,))


def test_outputs_that_are_not_set_ask_for_ids_alone() -> None:
    some = query_pb2.Output(properties=["name"], view="GEOMETRY_VIEW_NONE", encoding="GEOMETRY_ENCODING_WKT")
    join = READER.join(request(left_output=some))
    assert join.shape.left_output == Output(("name",), View.NONE, Encoding.WKT)
    assert join.shape.right_output is None

    join = READER.join(request(right_output=query_pb2.Output()))
    assert join.shape.left_output is None
    assert join.shape.right_output == Output()


def test_a_token_says_after_which_pair_a_resumable_join_goes_on() -> None:
    asked = request("codes", "zones", resumable=True, distance_meters=5)
    first = READER.join(asked)
    assert first.bound_to is not None
    assert (first.shape.ordered, first.shape.resumed, first.arguments) == (True, False, (5.0,))

    after = READER.join(resumed(asked, write_token(first.bound_to, "ÅLA\N{EN DASH}'1'", 7)))
    assert (after.shape.ordered, after.shape.resumed) == (True, True)
    assert after.arguments == (5.0, "ÅLA\N{EN DASH}'1'", 7)
    assert after.bound_to == first.bound_to


# What is refused.


def token_of(asked: StreamJoinRequest, *keys: str | int) -> str:
    bound_to = READER.join(asked).bound_to
    assert bound_to is not None
    return write_token(bound_to, *keys)


RESUMABLE = request(resumable=True)
NO_NAME = query_pb2.Output(properties=["name", "height"])
STRANGE_VIEW = query_pb2.Output(view=cast("Any", 9))
STRANGE_ENCODING = query_pb2.Output(encoding=cast("Any", 9))
REFUSALS: dict[str, tuple[StreamJoinRequest, type[SpatialError], Reason, str]] = {
    "no query": (StreamJoinRequest(), InvalidArgument, Reason.REQUIRED, "query"),
    "no left layer": (request(left=""), InvalidArgument, Reason.REQUIRED, "query.left_layer"),
    "no right layer": (request(right=""), InvalidArgument, Reason.REQUIRED, "query.right_layer"),
    "an unknown left layer": (request(left="x"), NotFound, Reason.LAYER_NOT_FOUND, "query.left_layer"),
    "an unknown right layer": (request(right="x"), NotFound, Reason.LAYER_NOT_FOUND, "query.right_layer"),
    "layers of two CRS": (request("grid", "zones"), InvalidArgument, Reason.SRID_MISMATCH, "query.right_layer"),
    "an unknown predicate": (request(predicate=10), InvalidArgument, Reason.UNKNOWN_ENUM_VALUE, "query.predicate"),
    "a distance of -1": (request(distance_meters=-1), InvalidArgument, Reason.OUT_OF_RANGE, "query.distance_meters"),
    "a distance of NaN": (
        request(distance_meters=float("nan")),
        InvalidArgument,
        Reason.OUT_OF_RANGE,
        "query.distance_meters",
    ),
    "a distance beyond the limit": (
        request(distance_meters=1.1e6),
        InvalidArgument,
        Reason.OUT_OF_RANGE,
        "query.distance_meters",
    ),
    "an unknown model": (
        request(distance_meters=1, distance_model=9),
        InvalidArgument,
        Reason.UNKNOWN_ENUM_VALUE,
        "query.distance_model",
    ),
    "metres in a grid": (
        request("grid", "other_grid", distance_meters=1),
        FailedPrecondition,
        Reason.UNSUPPORTED_DISTANCE_MODEL,
        "query.distance_model",
    ),
    "a model without a distance": (
        request(distance_model="DISTANCE_MODEL_SPHERE"),
        InvalidArgument,
        Reason.UNEXPECTED_FIELD,
        "query.distance_model",
    ),
    "a model with a predicate": (
        request(distance_model="DISTANCE_MODEL_SPHERE", predicate="PREDICATE_WITHIN"),
        InvalidArgument,
        Reason.UNEXPECTED_FIELD,
        "query.distance_model",
    ),
    "an unknown left property": (
        request(left_output=NO_NAME),
        InvalidArgument,
        Reason.UNKNOWN_PROPERTY,
        "left_output.properties[1]",
    ),
    "an unknown right property": (
        request(right_output=NO_NAME),
        InvalidArgument,
        Reason.UNKNOWN_PROPERTY,
        "right_output.properties[1]",
    ),
    "an unknown view": (
        request(left_output=STRANGE_VIEW),
        InvalidArgument,
        Reason.UNKNOWN_ENUM_VALUE,
        "left_output.view",
    ),
    "an unknown encoding": (
        request(right_output=STRANGE_ENCODING),
        InvalidArgument,
        Reason.UNKNOWN_ENUM_VALUE,
        "right_output.encoding",
    ),
}
TOKENS: dict[str, StreamJoinRequest] = {
    "torn": resumed(RESUMABLE, "?"),
    "of a join that cannot be gone on with": resumed(request(), token_of(RESUMABLE, 1, 1)),
    "of other layers": resumed(RESUMABLE, token_of(request("facilities", "zones", resumable=True), 1, 1)),
    "of another predicate": resumed(RESUMABLE, token_of(request(predicate="PREDICATE_WITHIN", resumable=True), 1, 1)),
    "of another output": resumed(RESUMABLE, token_of(request(left_output=query_pb2.Output(), resumable=True), 1, 1)),
    "with one key": resumed(RESUMABLE, token_of(RESUMABLE, 1)),
    "with three keys": resumed(RESUMABLE, token_of(RESUMABLE, 1, 2, 3)),
    "with a text for a number": resumed(RESUMABLE, token_of(RESUMABLE, 1, "2")),
    "with a key that no layer has": resumed(RESUMABLE, token_of(RESUMABLE, 2**63, 1)),
}


@pytest.mark.parametrize(("asked", "kind", "reason", "field"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_its_reason_and_the_field(
    asked: StreamJoinRequest, kind: type[SpatialError], reason: Reason, field: str
) -> None:
    with pytest.raises(kind) as refused:
        READER.join(asked)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize("asked", TOKENS.values(), ids=TOKENS)
def test_a_token_is_refused(asked: StreamJoinRequest) -> None:
    with pytest.raises(InvalidArgument) as refused:
        READER.join(asked)
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_RESUME_TOKEN, "resume_token")


def test_layers_of_two_crs_are_told_apart() -> None:
    with pytest.raises(InvalidArgument) as refused:
        READER.join(request("grid", "zones"))
    assert refused.value.metadata == {"actual": "4326", "expected": "3035"}


def test_layers_of_one_crs_need_not_be_geographic() -> None:
    planar = READER.join(request("grid", "other_grid", distance_meters=3, distance_model="DISTANCE_MODEL_PLANAR"))

    assert planar.shape.condition is DistanceModel.PLANAR


# Statements.


def sql(through: Side = Side.RIGHT, *layers: str, **fields: Any) -> str:
    left, right = layers or ("zones", "facilities")
    shape = JoinShape(left, right, **{"condition": Predicate.INTERSECTS, **fields})
    return " ".join(join_statement(CATALOG, shape).sql(through).split())


def test_pairs_are_by_predicate_on_geometries_read_from_left_to_right() -> None:
    for through in Side:
        text = sql(through, condition=Predicate.COVERED_BY)
        assert "ST_CoveredBy(left_feature.boundary, right_feature.location)" in text
        assert "geography" not in text


def test_pairs_by_distance_use_the_indexed_expressions() -> None:
    for model, spheroid in ((DistanceModel.SPHEROID, "true"), (DistanceModel.SPHERE, "false")):
        text = sql(condition=model)
        ends = "geography(left_feature.boundary), geography(right_feature.location)"
        assert f"ST_DWithin({ends}, greatest(CAST(%(distance)s AS FLOAT(53)), 1e-6), {spheroid})" in text
        assert f"ST_Distance({ends}, {spheroid}) AS distance" in text
    planar = sql(condition=DistanceModel.PLANAR)
    ends = "left_feature.boundary, right_feature.location"
    assert f"ST_DWithin({ends}, CAST(%(distance)s AS FLOAT(53)))" in planar
    assert f"ST_Distance({ends}) AS distance" in planar


def test_the_layer_searched_through_its_index_is_where_the_planner_leaves_it() -> None:
    assert re.search(r"FROM zones AS left_feature JOIN LATERAL \(SELECT .* FROM facilities .* OFFSET 0\)", sql())
    assert re.search(
        r"FROM facilities AS right_feature JOIN LATERAL \(SELECT .* FROM zones .* OFFSET 0\)", sql(Side.LEFT)
    )


def test_only_an_ordered_join_sorts() -> None:
    assert "ORDER BY" not in sql(left_output=Output(), right_output=Output())
    assert "ORDER BY left_key, right_key" in sql(ordered=True)


def test_a_resumed_join_goes_on_after_a_pair() -> None:
    for through in Side:
        text = sql(through, ordered=True, resumed=True)
        last = "(CAST(%(after_left)s AS BIGINT), CAST(%(after_right)s AS BIGINT))"
        assert f"((left_feature.id, right_feature.id) > {last}) IS true" in text
    assert "after" not in sql(ordered=True)


def test_a_resumed_join_along_the_left_keys_begins_with_the_last_one() -> None:
    assert "WHERE left_feature.id >= CAST(%(after_left)s AS BIGINT) ORDER BY" in sql(ordered=True, resumed=True)


@pytest.mark.parametrize(
    ("condition", "resumed", "names"),
    [
        (Predicate.WITHIN, False, ()),
        (Predicate.WITHIN, True, ("after_left", "after_right")),
        (DistanceModel.SPHERE, False, ("distance",)),
        (DistanceModel.PLANAR, True, ("distance", "after_left", "after_right")),
    ],
)
def test_values_are_parameters(condition: Any, resumed: bool, names: tuple[str, ...]) -> None:
    statement = join_statement(CATALOG, JoinShape("zones", "parcels", condition, ordered=resumed, resumed=resumed))

    assert statement.arguments == names
    for through in Side:
        assert set(re.findall(r"%\((\w+)\)s", statement.sql(through))) == set(names)


def test_features_of_one_table_are_told_apart() -> None:
    text = sql(Side.RIGHT, "parcels", "parcels", left_output=Output(("district_name",), View.NONE))

    assert "districts.id = left_feature.district_id" in text
    assert "parcels." not in text


# Pairs.


def statement_of(left: Layer = ZONES, right: Layer = ZONES, **fields: Any) -> JoinStatement:
    shape = JoinShape(left.name, right.name, **{"condition": Predicate.INTERSECTS, **fields})
    return join_statement(CATALOG, shape)


def sent(*fields: bytes | int | float | None) -> bytes:
    """A row of a binary COPY."""
    contents = [
        struct.pack("!q" if isinstance(f, int) else "!d", f) if isinstance(f, int | float) else f for f in fields
    ]
    lengths = [struct.pack("!i", -1 if content is None else len(content)) for content in contents]
    parts = [length + (content or b"") for length, content in zip(lengths, contents, strict=True)]
    return struct.pack("!h", len(fields)) + b"".join(parts)


def written(statement: JoinStatement, *chunks: bytes, bound_to: bytes | None = None) -> list[query_pb2.JoinBatch]:
    writer = JoinWriter(statement, bound_to)
    made = [batch for chunk in chunks for batch in writer.batches(chunk)]
    batches = [query_pb2.JoinBatch.FromString(batch.message) for batch in made]
    assert [len(batch.pairs) for batch in batches] == [batch.features for batch in made]
    return batches


def test_a_pair_of_ids() -> None:
    (batch,) = written(statement_of(), HEADER + sent(1, -(2**63)) + sent(2**63 - 1, 0) + TRAILER)

    ids = [(str(1), str(-(2**63))), (str(2**63 - 1), "0")]
    assert batch == query_pb2.JoinBatch(pairs=[query_pb2.JoinPair(left_id=left, right_id=right) for left, right in ids])


def test_a_distance_of_0_is_sent() -> None:
    (batch,) = written(statement_of(condition=DistanceModel.SPHEROID), HEADER + sent(1, 2, 0.0) + TRAILER)

    assert batch.pairs[0].HasField("distance_meters")
    assert batch.pairs[0].distance_meters == 0.0


def test_ids_of_any_type_are_their_text() -> None:
    (batch,) = written(statement_of(CODES, CODES), HEADER + sent("ÅLA".encode(), b"D") + TRAILER, bound_to=BOUND)

    assert (batch.pairs[0].left_id, batch.pairs[0].right_id) == ("ÅLA", "D")
    assert read_token(Kind.RESUME, batch.resume_token, BOUND, [CODES, CODES]) == ("ÅLA", "D")


def test_features_are_there_where_they_are_asked_for() -> None:
    statement = statement_of(
        CATALOG["facilities"],
        condition=DistanceModel.PLANAR,
        left_output=Output(("name", "country"), View.FULL, Encoding.WKT),
        right_output=Output(("name",), View.NONE),
    )
    row = sent(1, 2, 0.5, b"POINT(1 2)", b"one", None, b"two")
    pair = query_pb2.JoinPair(left_id="1", right_id="2", distance_meters=0.5)
    pair.left.id, pair.right.id = "1", "2"
    pair.left.geometry.wkt, pair.left.geometry.srid = "POINT(1 2)", 4326
    pair.left.properties.update({"name": "one", "country": None})
    pair.right.properties.update({"name": "two"})

    assert written(statement, HEADER + row + TRAILER) == [query_pb2.JoinBatch(pairs=[pair])]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_other_feature_is_not_set(side: str) -> None:
    statement = statement_of(ZONES, ZONES, **{f"{side}_output": Output(("name",), View.NONE)})
    (batch,) = written(statement, HEADER + sent(1, 2, b"named") + TRAILER)

    assert getattr(batch.pairs[0], side).properties["name"] == "named"
    assert not batch.pairs[0].HasField("right" if side == "left" else "left")


def test_no_pairs_make_no_batch() -> None:
    for nothing in (HEADER + TRAILER, HEADER, TRAILER, b""):
        assert written(statement_of(), nothing, bound_to=BOUND) == []


def test_rows_may_come_in_any_chunks() -> None:
    rows = [sent(number, number) for number in range(300)]
    whole = written(statement_of(), HEADER + b"".join(rows) + TRAILER)
    pieces = [HEADER, b"".join(rows[:1]), b"".join(rows[1:257]), b"".join(rows[257:]) + TRAILER]

    assert ids(written(statement_of(), *pieces)) == ids(whole) == [(str(n), str(n)) for n in range(300)]


def ids(batches: Sequence[query_pb2.JoinBatch]) -> list[tuple[str, str]]:
    return [(pair.left_id, pair.right_id) for batch in batches for pair in batch.pairs]


def test_batches_are_cut_where_they_are_full_and_each_has_its_token() -> None:
    named = statement_of(left_output=Output(("name",), View.NONE))
    rows = b"".join(sent(number, -number, b"n" * 1000) for number in range(2000))
    batches = written(named, HEADER + rows + TRAILER, bound_to=BOUND)

    sizes = [batch.ByteSize() for batch in batches]
    assert all(0.99 * BATCH_BYTES < size < BATCH_BYTES + 100 for size in sizes[:-1])
    assert ids(batches) == [(str(number), str(-number)) for number in range(2000)]
    for batch in batches:
        last = batch.pairs[-1]
        position = read_token(Kind.RESUME, batch.resume_token, BOUND, [ZONES, ZONES])
        assert tuple(map(str, position)) == (last.left_id, last.right_id)


def test_without_an_order_there_are_no_tokens() -> None:
    (batch,) = written(statement_of(), HEADER + sent(1, 2) + TRAILER)

    assert batch.resume_token == ""


def large_rows() -> Iterator[bytes]:
    for number, size in enumerate((10, MOST_BATCH_BYTES - 100, MOST_BATCH_BYTES + 1, 10, BATCH_BYTES, 10)):
        yield sent(number, number, b"n" * size)


def test_only_a_pair_that_is_larger_makes_a_batch_beyond_the_most() -> None:
    named = statement_of(left_output=Output(("name",), View.NONE))
    batches = written(named, HEADER + b"".join(large_rows()) + TRAILER)

    assert [number for number, _ in ids(batches)] == ["0", "1", "2", "3", "4", "5"]
    assert all(batch.ByteSize() <= MOST_BATCH_BYTES or len(batch.pairs) == 1 for batch in batches)
