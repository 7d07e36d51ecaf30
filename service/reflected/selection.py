"""Which geometry columns of which relations are wanted, and what each layer is called."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.catalog import Layer
from service.reflected.layers import Candidate, Refused, declared_srid
from service.reflected.relations import ColumnFacts, Relation
from service.reflected.wanted import LayerOptions, is_pattern, matches, parse_table

# The SRIDs of some geometries of a column.
Sample = Callable[[Relation, ColumnFacts], set[int]]


class Refusal(NamedTuple):
    """A table that is not served, why, and the statement that would mend it, if there is one."""

    table: str
    reason: str
    statement: str = ""


@dataclass
class Selection:
    """What was found. Tables that are named come before those that a pattern finds, and what they take it leaves."""

    sample: Sample
    taken: set[str]
    candidates: list[Candidate] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    _claimed: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, options: LayerOptions, relations: Sequence[Relation], models: Sequence[Layer]) -> None:
        pattern = is_pattern(options)
        found = [each for each in relations if _is_meant(options, each)]
        if not found and not pattern:
            self.refusals.append(Refusal(options.table, "there is no such table or view with a geometry column"))
        for relation in found:
            shipped = {(each.table.name, each.geometry_name) for each in models} if relation.visible else set()
            for column in _columns(relation, options):
                claim = (relation.schema, relation.name, column.name)
                if pattern and (claim in self._claimed or claim[1:] in shipped):
                    continue
                self._claimed.add(claim)
                self._try(relation, column, options)

    def _try(self, relation: Relation, column: ColumnFacts, options: LayerOptions) -> None:
        try:
            self.candidates.append(self._candidate(relation, column, options))
        except Refused as refused:
            self.refusals.append(Refusal(relation.full_name, refused.reason, refused.statement))

    def _candidate(self, relation: Relation, column: ColumnFacts, options: LayerOptions) -> Candidate:
        if not column.readable:
            raise Refused(
                f"the service's role may not read column {column.name!r}",
            )
        srid = self._srid(relation, column, options)
        candidate = Candidate(self._name(relation, column, options), relation, column, options, srid)
        candidate.check(candidate.layer(revision=0))
        self.taken.add(candidate.name)
        return candidate

    def _srid(self, relation: Relation, column: ColumnFacts, options: LayerOptions) -> int:
        declared = declared_srid(column, options)
        if column.srid:
            return column.srid
        found = self.sample(relation, column)
        if len(found) > 1:
            raise Refused(f"the geometries in {column.name!r} have several SRIDs: {', '.join(map(str, sorted(found)))}")
        if found and declared is not None and found != {declared}:
            raise Refused(f"the geometries in {column.name!r} have SRID {found.pop()}, not {declared}")
        return declared or next(iter(found), 0)

    def _name(self, relation: Relation, column: ColumnFacts, options: LayerOptions) -> str:
        for name in _names(relation, column, options):
            if name not in self.taken:
                return name
        raise Refused(f"there is a layer {name!r} already: give this one another name in a file of layers")


def select(
    wanted: Iterable[LayerOptions], relations: Sequence[Relation], models: Sequence[Layer], sample: Sample
) -> Selection:
    selection = Selection(sample, {layer.name for layer in models})
    for options in sorted(wanted, key=is_pattern):
        selection.add(options, relations, models)
    return selection


def _is_meant(options: LayerOptions, relation: Relation) -> bool:
    schema, table = parse_table(options.table)
    there = relation.visible if schema is None else matches(schema, relation.schema)
    # What is nobody's layer: PostGIS's own, also where a dump has made plain tables of them.
    system = relation.name in ("raster_columns", "raster_overviews") or relation.name.startswith("pg_")
    return there and matches(table, relation.name) and not (system and is_pattern(options))


def _columns(relation: Relation, options: LayerOptions) -> Iterator[ColumnFacts]:
    for column in relation.geometries:
        if options.geometry in (None, column.name):
            yield column


def _names(relation: Relation, column: ColumnFacts, options: LayerOptions) -> Iterator[str]:
    """What the layer may be called, the first choice first."""
    first = column is relation.geometries[0] or options.geometry is not None
    if options.name is not None:
        yield options.name if first else f"{options.name}.{column.name}"
        return
    suffix = "" if column is relation.geometries[0] else f".{column.name}"
    if relation.visible:
        yield relation.name + suffix
    yield relation.full_name + suffix
