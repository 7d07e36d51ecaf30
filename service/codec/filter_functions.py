"""The functions of CQL2 that are conditions: on arrays, on moments and intervals, on geometries."""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from service.catalog import WGS84, Layer
from service.codec.cql2_text import Cql2Text
from service.codec.filter_operands import Json, OperandReader, Typed
from service.codec.filter_values import MOMENTS, WORDS, Literal, Node, Values
from service.codec.geometry import ProbeGeometry, ProbeReader
from service.db.kinds import ValueKind, named_column, operand
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

ARRAYS: Final = {"a_contains": "@>", "a_containedby": "<@", "a_overlaps": "&&", "a_equals": "="}
TEMPORAL: Final = frozenset(("t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_intersects"))
SPATIAL: Final = frozenset(
    f"s_{name}" for name in ("intersects", "disjoint", "within", "contains", "equals", "touches", "crosses", "overlaps")
)
_CONVERSE: Final = {"@>": "<@", "<@": "@>", "within": "contains", "contains": "within"}
_OPEN: Final = ".."
_OPERATORS: Final = {"t_after": ">", "t_before": "<", "t_equals": "=", "t_intersects": "=", "t_disjoint": "<>"}
_TURNED: Final = {"t_after": "t_before", "t_before": "t_after", "t_contains": "t_during", "t_during": "t_contains"}


class FunctionReader:
    """Reads functions of one filter over a layer."""

    def __init__(
        self, layer: Layer, text: Cql2Text, values: Values, operands: OperandReader, probes: ProbeReader
    ) -> None:
        self._layer = layer
        self._text = text
        self._values = values
        self._operands = operands
        self._probes = probes

    # Arrays.

    def array(self, function: str, arguments: Sequence[Any], *, positive: bool) -> Node:
        operator = ARRAYS[function]
        left, right = arguments
        if isinstance(left, list):
            operator, left, right = _CONVERSE.get(operator, operator), right, left
        if not (isinstance(left, dict) and "property" in left and isinstance(right, list)):
            problem = f"{function.upper()} takes a property and a list of values"
            raise self._text.error(Reason.INVALID_FILTER, problem)
        read = self._operands.property(left["property"])
        if isinstance(read, Typed) and read.kind is not ValueKind.ARRAY:
            raise self._operands.mismatch(f"{function.upper()} takes arrays", read)
        literals = [self._plain(item) for item in right]
        if isinstance(read, Json):
            return self._json_array(operator, read, literals, positive=positive)
        column = named_column(self._layer, read.name)
        assert column is not None
        _, item, within = operand(column)
        place = self._values.items(item if item is not None else ValueKind.OTHER, literals, within)
        operators = ("@>", "<@") if operator == "=" else (operator,)
        return _all([["array", each, read.name, place] for each in operators])

    def _plain(self, item: Any) -> Literal:
        read = self._operands.read(item)
        if isinstance(read, Typed | Json):
            raise self._text.error(Reason.INVALID_FILTER, "a list holds values alone here")
        return read

    def _json_array(self, operator: str, read: Json, literals: list[Literal], *, positive: bool) -> Node:
        wanted = [self._values.json_value(literal) for literal in literals]
        if operator == "&&":
            return ["or", *(self._json_part("@>", read, [each], positive=positive) for each in wanted)]
        operators = ("@>", "<@") if operator == "=" else (operator,)
        return _all([self._json_part(each, read, wanted, positive=positive) for each in operators])

    def _json_part(self, operator: str, read: Json, wanted: list[Any], *, positive: bool) -> Node:
        if operator == "@>" and positive and read.through_objects:
            return ["json_contains", read.column, self._values.put_json(read.around(wanted))]
        return ["json_array", operator, read.column, self._operands.path(read), self._values.put_json(wanted)]

    # Moments and intervals.

    def temporal(self, function: str, arguments: Sequence[Any]) -> Node:
        kind = self._kind_of_moments(arguments)
        said = function.upper()
        left, right = arguments
        if _is_interval(left):
            function, left, right = _TURNED.get(function, function), right, left
        if not _is_interval(right):
            return self._moments(function, said, self._moment(left, kind), self._moment(right, kind))
        if _is_interval(left) or function in ("t_contains", "t_equals"):
            raise self._text.error(Reason.INVALID_FILTER, f"{said} compares a moment with an interval or another")
        moment = self._moment(left, kind)
        start, end = self._interval(right["interval"], kind)
        if function in ("t_after", "t_before"):
            operator, border = (">", end) if function == "t_after" else ("<", start)
            return ["false"] if border is None else [operator, moment, border]
        operator = "<" if function == "t_during" else "<="
        begun = [] if start is None else [[operator, start, moment]]
        meeting = _all(begun + ([] if end is None else [[operator, moment, end]]))
        return ["not", meeting] if function == "t_disjoint" else meeting

    def _moments(self, function: str, said: str, left: Node, right: Node) -> Node:
        if function not in _OPERATORS:
            raise self._text.error(Reason.INVALID_FILTER, f"{said} compares a moment with an interval")
        return [_OPERATORS[function], left, right]

    def _kind_of_moments(self, arguments: Sequence[Any]) -> ValueKind:
        """That of the column which is compared; it may stand behind what is compared with it."""
        names = [
            argument["property"] for argument in arguments if isinstance(argument, dict) and "property" in argument
        ]
        columns = [named_column(self._layer, name) for name in names]
        kinds = {operand(column).kind for column in columns if column is not None} & MOMENTS
        return kinds.pop() if kinds else ValueKind.TIMESTAMP

    def _moment(self, tree: Any, kind: ValueKind) -> Node:
        read = self._operands.read(tree)
        if isinstance(read, Typed) and read.kind is not kind:
            raise self._operands.mismatch(f"{WORDS[kind]} must be here", read)
        return self._operands.node(read, kind)

    def _interval(self, ends: Sequence[Any], kind: ValueKind) -> tuple[Node | None, Node | None]:
        """What it begins and ends with, if it does."""
        if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
            raise self._text.error(Reason.INVALID_FILTER, "an interval has two ends: dates, timestamps or '..'")
        places: list[Node | None] = []
        written: list[str] = []
        for end in ends:
            self._text.find("string", end)
            if end != _OPEN:
                written.append(self._values.moment(kind, end))
            places.append(None if end == _OPEN else self._values.place(kind, end))
        if written != sorted(written):
            raise self._text.error(Reason.INVALID_FILTER, "the interval ends before it begins")
        return places[0], places[1]

    # Geometries.

    def spatial(self, function: str, arguments: Sequence[Any]) -> Node:
        relation = function.removeprefix("s_")
        left, right = arguments
        if isinstance(right, dict) and "property" in right:
            relation, left, right = _CONVERSE.get(relation, relation), right, left
        self._check_column(left)
        geometry = self._geometry(right)
        if geometry.kind == "GEOMETRYCOLLECTION" and relation not in ("intersects", "disjoint"):
            problem = f"a geometry collection can be asked about with S_INTERSECTS, not with {function.upper()}"
            raise self._text.error(Reason.UNSUPPORTED_GEOMETRY_TYPE, problem)
        place = self._values.put(geometry.hexewkb)
        return ["not", ["spatial", "intersects", place]] if relation == "disjoint" else ["spatial", relation, place]

    def _check_column(self, tree: Any) -> None:
        name = tree.get("property") if isinstance(tree, dict) else None
        if name != self._layer.geometry_name:
            if name is not None:
                self._text.find("name", name)
            problem = f"a spatial function takes the geometry {self._layer.geometry_name!r} and a geometry or BBOX"
            if name is None:
                raise self._text.error(Reason.INVALID_FILTER, problem)
            known = named_column(self._layer, name) is not None
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH if known else Reason.UNKNOWN_PROPERTY, problem)
        self._text.find("name", name)

    def _geometry(self, tree: Any) -> ProbeGeometry:
        """Longitude and latitude, as CQL2 has it; where the layer's CRS is unknown, in its coordinates."""
        srid = WGS84 if self._layer.srid else 0
        try:
            if isinstance(tree, dict) and "bbox" in tree:
                self._text.find("word", "bbox")
                return self._probes.read_box(self._box(tree["bbox"]), srid=srid, geodetic=False)
            if isinstance(tree, dict) and "type" in tree:
                self._text.find("word", tree["type"].lower())
                shape = Struct()
                shape.update(tree)
                given = geometry_pb2.Geometry(geojson=shape, srid=srid)
                return self._probes.read_geometry(given, srid=srid, geodetic=False)
        except InvalidArgument as error:
            if error.reason is Reason.INVALID_FILTER:
                raise
            raise self._text.error(error.reason, error.message, **error.metadata) from error
        problem = f"a spatial function takes the geometry {self._layer.geometry_name!r} and a geometry or BBOX"
        raise self._text.error(Reason.INVALID_FILTER, problem)

    def _box(self, sides: Sequence[Any]) -> geometry_pb2.BoundingBox:
        if len(sides) != 4 or not all(isinstance(side, float) for side in sides):
            raise self._text.error(Reason.INVALID_FILTER, "BBOX takes four numbers: west, south, east, north")
        west, south, east, north = sides
        return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)


def _is_interval(tree: Any) -> bool:
    return isinstance(tree, dict) and "interval" in tree


def _all(conditions: list[Node]) -> Node:
    if not conditions:
        return ["true"]
    return conditions[0] if len(conditions) == 1 else ["and", *conditions]
