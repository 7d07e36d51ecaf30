"""Joins: from the request to what is asked, and from the pairs that a COPY sends to the batches of the answer."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from struct import Struct
from typing import Any

from service.catalog import Layer
from service.codec import fields, wire
from service.codec.exports import resumption
from service.codec.fields import at
from service.codec.frames import BATCH_BYTES
from service.codec.geometry import Stored
from service.codec.questions import QuestionReader, distance_model
from service.codec.rows import geometry_encoder, property_encoder
from service.codec.tokens import write_token
from service.db.copy import Row, Wire
from service.db.joins import JoinStatement, Part
from service.domain import Argument, Batch, DistanceModel, Join, JoinShape, Key, Output, Predicate
from service.errors import InvalidArgument, Reason
from spatial.v1 import feature_pb2, query_pb2

Condition = Predicate | DistanceModel

_BATCH_FIELDS = query_pb2.JoinBatch.DESCRIPTOR.fields_by_name
_PAIR_FIELDS = query_pb2.JoinPair.DESCRIPTOR.fields_by_name
_FEATURE_FIELDS = feature_pb2.Feature.DESCRIPTOR.fields_by_name
_PAIRS = wire.Prefixes(wire.tag(_BATCH_FIELDS["pairs"].number, wire.LENGTH))
_RESUME_TOKEN = wire.tag(_BATCH_FIELDS["resume_token"].number, wire.LENGTH)
_DISTANCE = wire.tag(_PAIR_FIELDS["distance_meters"].number, wire.FIXED64)
_ID = wire.tag(_FEATURE_FIELDS["id"].number, wire.LENGTH)
_PROPERTIES = wire.tag(_FEATURE_FIELDS["properties"].number, wire.LENGTH)


class JoinReader:
    """Reads requests for joins; distances may be up to `max_distance`."""

    def __init__(self, questions: QuestionReader, max_distance: float) -> None:
        self._questions = questions
        self._max_distance = max_distance

    def join(self, request: query_pb2.StreamJoinRequest, stored: Stored | None = None) -> Join:
        """It asks about no probe: nothing is `stored`."""
        query = fields.required(request, "query")
        with at("query"):
            asked = self.pairs(query)
        left, right = (self._questions.layer(name) for name in (asked.shape.left, asked.shape.right))
        bound_to, after = resumption(request, [left, right])
        shape = replace(
            asked.shape,
            left_output=self._output(left, request, "left_output"),
            right_output=self._output(right, request, "right_output"),
            ordered=bound_to is not None,
            resumed=bool(after),
        )
        return Join(shape, asked.arguments + after, bound_to)

    def counted(self, request: query_pb2.CountFeaturesRequest) -> Join:
        with at("query"), at("join"):
            return self.pairs(request.query.join)

    def pairs(self, query: query_pb2.JoinQuery) -> Join:
        """All that a query finds, answered with keys alone."""
        left, right = self._layers(query)
        condition, distance = self._condition(query, left)
        shape = JoinShape(
            left.name,
            right.name,
            condition,
            left_filter=self._questions.filter(left, query.left_filter, "left_filter"),
            right_filter=self._questions.filter(right, query.right_filter, "right_filter"),
            left_revision=left.revision,
            right_revision=right.revision,
        )
        return Join(shape, distance, None)

    def _layers(self, query: query_pb2.JoinQuery) -> tuple[Layer, Layer]:
        left = self._questions.layer(query.left_layer, "left_layer")
        right = self._questions.layer(query.right_layer, "right_layer")
        if left.srid != right.srid:
            raise InvalidArgument(
                Reason.SRID_MISMATCH,
                f"layer {right.name!r} has SRID {right.srid}, and layer {left.name!r} has {left.srid}",
                field="right_layer",
                metadata={"actual": str(right.srid), "expected": str(left.srid)},
            )
        return left, right

    def _condition(self, query: query_pb2.JoinQuery, layer: Layer) -> tuple[Condition, tuple[Argument, ...]]:
        if query.WhichOneof("condition") == "distance_meters":
            model = distance_model(layer, query.distance_model)
            return model, (fields.distance(query.distance_meters, self._max_distance, "distance_meters"),)
        if query.distance_model:
            raise InvalidArgument(
                Reason.UNEXPECTED_FIELD, "distance_model goes with distance_meters alone", field="distance_model"
            )
        return fields.enumerated(Predicate, query.predicate, Predicate.INTERSECTS, "predicate"), ()

    def _output(self, layer: Layer, request: query_pb2.StreamJoinRequest, field: str) -> Output | None:
        """What is wanted of the features of one side besides their keys; None: nothing."""
        if not request.HasField(field):
            return None
        message: query_pb2.Output = getattr(request, field)
        if message.etags:
            problem = "features that come in pairs have no etags"
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, problem, field=f"{field}.etags")
        return self._questions.output(layer, message, field)


class JoinWriter:
    """Makes batches of what the COPY of a join sends."""

    def __init__(self, statement: JoinStatement, bound_to: bytes | None) -> None:
        self._decode = statement.decode
        self._encode = pair_encoder(statement)
        self._bound_to = bound_to

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """The batches of some whole rows, perhaps none; the COPY's header before the first row and its trailer after
        the last are passed over."""
        batch: list[bytes] = []
        size = 0
        last: Row = ()
        for row in self._decode(rows):
            pair = self._encode(row)
            pair = _PAIRS[len(pair)] + pair
            if batch and size + len(pair) > BATCH_BYTES:
                yield self._batch(batch, last)
                batch, size = [], 0
            batch.append(pair)
            size += len(pair)
            last = row
        if batch:
            yield self._batch(batch, last)

    def _batch(self, pairs: list[bytes], last: Row) -> Batch:
        count = len(pairs)
        if self._bound_to is not None:
            token = write_token(self._bound_to, _key(last[0]), _key(last[1]))
            pairs.append(wire.delimited(_RESUME_TOKEN, token.encode()))
        return Batch(b"".join(pairs), count)


def _key(sent: int | bytes) -> Key:
    return sent if isinstance(sent, int) else sent.decode()


def pair_encoder(statement: JoinStatement) -> Callable[[Row], bytes]:
    """From a decoded row to the bytes of a JoinPair, written out as source like the encoder of features."""
    scope: dict[str, Any] = {"delimited": wire.delimited, "double": Struct("<d").pack}
    scope |= {"id_tag": _ID, "distance_tag": _DISTANCE, "properties_tag": _PROPERTIES}
    names, texts, parts, features = ["left_key", "right_key"], [], [], []
    columns = statement.columns
    if statement.measured:
        names.append("distance")
    for side, part, key in (("left", statement.left, columns[0]), ("right", statement.right, columns[1])):
        scope |= {f"{side}_ids": wire.Prefixes(_tag(f"{side}_id")), f"{side}_tag": _tag(side)}
        texts.append(f"b'%d' % {side}_key" if key.field.wire is Wire.INT64 else f"{side}_key")
        parts.append(f"{side}_ids[len({side}_id)] + {side}_id")
        if part.output is not None:
            features.append(f"delimited({side}_tag, {_feature(side, part, names, scope)})")
    if statement.measured:
        parts.append("distance_tag + double(distance)")
    source = _TEMPLATE.format(row=", ".join(names), ids=", ".join(texts), pair=" + ".join(parts + features))
    exec(source, scope)  # noqa: S102 - nothing in it comes from outside
    encode: Callable[[Row], bytes] = scope["encode"]
    return encode


_TEMPLATE = """
def encode(row):
    {row}, = row
    left_id, right_id = {ids}
    return {pair}
"""


def _tag(field: str) -> bytes:
    return wire.tag(_PAIR_FIELDS[field].number, wire.LENGTH)


def _feature(side: str, part: Part, names: list[str], scope: dict[str, Any]) -> str:
    """The expression for the feature of one side; adds to `names` those of its values, and to `scope` its writers."""
    assert part.output is not None
    parts, entries = [f"delimited(id_tag, {side}_id)"], []
    for column in part.columns:
        name = f"{side}_{len(names)}"
        names.append(name)
        if column.kind == "geometry":
            scope[f"write_{name}"] = geometry_encoder(part.output.encoding, part.output.srid or part.layer.srid)
            parts.append(f"(b'' if {name} is None else write_{name}({name}))")
        else:
            scope[f"write_{name}"] = property_encoder(column)
            entries.append(f"write_{name}({name})")
    if entries:
        parts.append(f"delimited(properties_tag, {' + '.join(entries)})")
    return " + ".join(parts)
