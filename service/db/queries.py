"""Statements: from the shape of a question to SQL, built and compiled once per shape. Nothing is executed here.

A statement answers many probes at once: they come in as arrays, are made geometries once (a MATERIALIZED CTE, or each
would be parsed again for every candidate row), and the search runs LATERAL for each. A shape that asks for a constant
has the same search over one probe that the planner can see.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlalchemy import ClauseElement, select, true
from sqlalchemy.dialects import postgresql

from service.catalog import Catalog, Layer
from service.db.columns import Column
from service.db.copy import Decoder, Field, Wire, decoder
from service.db.filters import named
from service.db.probes import arguments, probes
from service.db.searches import SEARCHES, columns_of
from service.domain import Argument, Filter, Shape

_DIALECT = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Statement:
    """`sql` takes the names in `arguments` (as arrays, unless the shape is constant) and answers with `columns`. The
    `constants` are a filter's values, the same for all probes."""

    shape: Shape
    sql: str
    arguments: tuple[str, ...]
    columns: tuple[Column, ...]
    layer: Layer
    constants: Mapping[str, Argument] = field(default_factory=dict)
    origin: "Statement | None" = None

    @property
    def common(self) -> "Statement":
        """The statement that all those have in common which differ in nothing but a filter's values: what is made of
        its columns serves for each of them."""
        return self.origin or self

    def parameters(self, arguments: Sequence[Argument]) -> dict[str, Argument]:
        """What to bind, one value or array for each of the arguments."""
        return {**self.constants, **dict(zip(self.arguments, arguments, strict=True))}

    def with_values(self, shape: Shape, asked: Filter) -> "Statement":
        """The same statement for a shape that differs in its filter's values."""
        known = copy(self)  # with what is cached
        object.__setattr__(known, "shape", shape)
        object.__setattr__(known, "constants", named(asked))
        object.__setattr__(known, "origin", self)
        return known

    @property
    def srid(self) -> int:
        """EPSG code of the geometries that it answers with."""
        return self.shape.output.srid or self.layer.srid

    @cached_property
    def copy(self) -> str:
        return f"COPY ({self.sql}) TO STDOUT (FORMAT binary)"

    @cached_property
    def decode(self) -> Decoder:
        return decoder([column.field for column in self.columns])


class Statements:
    """The statements over a catalog, each built when it is first asked for."""

    def __init__(self, catalog: Catalog, capacity: int = 4096) -> None:
        self._catalog = catalog
        self._capacity = capacity
        self._known: dict[Shape, Statement] = {}
        # Apart, or the values that callers ask about would drive out what they share.
        self._valued: dict[Shape, Statement] = {}

    def __getitem__(self, shape: Shape) -> Statement:
        known = self._valued if shape.filter is not None and shape.filter.values else self._known
        statement = known.get(shape)
        if statement is None or not self._is_current(statement):
            # Callers choose properties, so there is no end of shapes; the oldest goes, and is built again if needed.
            if len(known) >= self._capacity:
                known.pop(next(iter(known)), None)
            statement = known[shape] = self._made(shape)
        return statement

    def _is_current(self, statement: Statement) -> bool:
        """Whether the layer is still what the statement was made for. One made for a revision is about that alone."""
        shape = statement.shape
        return shape.revision == statement.layer.revision or self._catalog.at(shape.layer, 0) is statement.layer

    def _made(self, shape: Shape) -> Statement:
        if shape.filter is None or not shape.filter.values:
            return build(self._catalog.at(shape.layer, shape.revision), shape)
        # Filters that differ in their values alone share what takes long to make.
        shared = self[replace(shape, filter=Filter(shape.filter.structure))]
        _ = shared.copy, shared.decode
        return shared.with_values(shape, shape.filter)


def build(layer: Layer, shape: Shape) -> Statement:
    names = arguments(shape)
    asked = probes(layer, shape)
    columns = columns_of(layer, shape, asked)
    search = SEARCHES[shape.kind](layer, shape, asked, columns).lateral("found")
    ordinal = Column("ordinal", asked.c.ordinal, Field(Wire.INT64, nullable=False))
    if shape.result.streams:  # about one probe, and the order of the search is that of the statement
        statement = select(*search.c).select_from(asked).join(search, true())
        return Statement(shape, compiled(statement), names, columns, layer)
    statement = select(ordinal.expression, *search.c).select_from(asked).join(search, true())
    return Statement(shape, compiled(statement), names, (ordinal, *columns), layer)


def compiled(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))
