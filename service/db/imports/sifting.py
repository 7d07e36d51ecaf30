"""Writes what can be written of a staged chunk and rejects the rest: all at once where all is well, else in halves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.changes import Importing, ImportPlan, Rejection
from service.db.imports.chunks import Chunk
from service.db.imports.lying import Lying, Overlapping
from service.db.imports.refusing import refused
from service.db.imports.staging import Span, Staging
from service.db.imports.targets import Target
from service.errors import SpatialError

T = TypeVar("T")
Group = tuple[str, ...]


class Collision(Exception):
    """Somebody else has just added what was to be replaced: the same again will find it."""


class Occupied(Collision):
    """A transaction of this import, whose connection was lost, has not ended yet."""


@dataclass(slots=True)
class Sifted:
    updated: int = 0
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(slots=True)
class Sifter:
    """Of one import. `collisions` are the unique columns that its rows were seen to collide in, each with what is said
    of it: they are looked at for whole chunks from then on, since of rows that fail every one takes statements of its
    own."""

    plan: ImportPlan
    layer: Layer
    target: Target
    collisions: dict[Group, SpatialError] = field(default_factory=dict)

    def sift(self, cursor: Cursor, staging: Staging, chunk: Chunk) -> Sifted:
        """In the transaction that the cursor is in. Raises what is not the rows' fault."""
        return _Sifting(self, cursor, staging, chunk).run()

    @property
    def upsert(self) -> bool:
        return self.plan.mode is Importing.UPSERT


class _Sifting:
    """Of one chunk."""

    def __init__(self, sifter: Sifter, cursor: Cursor, staging: Staging, chunk: Chunk) -> None:
        self._sifter = sifter
        self._cursor = cursor
        self._staging = staging
        self._chunk = chunk
        self._lying = Lying(sifter.layer) if sifter.layer.no_overlap else None
        self._kinds = chunk.kinds()
        self._sifted = Sifted()

    def run(self) -> Sifted:
        spans = self._spans()
        error = self._try(spans[0]) if len(spans) == 1 else None
        if error is None and len(spans) == 1:
            return self._sifted
        if error is not None and self._learn(error):
            error, spans = None, self._spans()
        for span in spans:
            self._write(span, error)
        return self._sifted

    def _spans(self) -> list[Span]:
        """What can be written at once: everything, unless rows bring different things or are about the same feature."""
        end = len(self._chunk.numbers)
        groups = self._groups()
        if not groups:
            return [Span(0, end, kind) for kind in range(len(self._kinds))]
        later = self._guarded(lambda: self._counted(self._staging.count_turns(groups)))
        if isinstance(later, Exception):  # a text is no value of its column
            return [Span(n, n + 1, kind) for n in range(end) for kind in range(len(self._kinds))]
        return [Span(0, end, kind, turn) for turn, kind in self._fetched(self._staging.turns)]

    def _groups(self) -> list[Group]:
        """The columns in which rows must not be the same as others that are written at once: an update would take any
        of those about one feature, and rows that bring different things are not written in their order."""
        brought = {column for kind in self._kinds for column in self._staging.columns(kind)}
        ordered = self._sifter.upsert or len(self._kinds) > 1
        matched = [(self._staging.match,)] if ordered else []
        groups = dict.fromkeys([*matched, *self._sifter.collisions])
        return [group for group in groups if brought.issuperset(group)]

    def _write(self, span: Span, error: Exception | None = None) -> None:
        """`error` is what came of the same span before."""
        if error is None:
            self._take_out(span)
            error = self._try(span)
        if error is None:
            return
        self._learn(error)
        if span.end - span.first == 1:
            self._reject(span.first, self._told(span, error))
            return
        for half in span.halves():
            self._write(half)

    def _take_out(self, span: Span) -> None:
        """Rejects the rows that collide with what is in the table."""
        for group, told in self._sifter.collisions.items():
            if set(group).issubset(self._columns(span)):
                statement = self._staging.existing(group, span)
                places = self._guarded(partial(self._fetched, statement))
                for (place,) in places if isinstance(places, list) else ():
                    self._reject(place, told)

    def _try(self, span: Span) -> Exception | None:
        """Writes all of the span, or nothing and gives the reason."""
        updated = self._guarded(lambda: self._written(span))
        if isinstance(updated, Exception):
            return updated
        self._sifted.updated += updated
        return None

    def _guarded(self, work: Callable[[], T]) -> T | Exception:
        """What the work gives, or the error that a row is to blame for; then nothing of it was done. A text may be no
        value of its column, so that even looking at it fails."""
        self._cursor.execute("SAVEPOINT spatial_part")
        try:
            result: T | Exception = work()
        except (psycopg2.Error, Overlapping) as error:
            if refused(error, self._sifter.layer, self._sifter.target) is None:
                raise
            self._cursor.execute("ROLLBACK TO SAVEPOINT spatial_part")
            result = error
        self._cursor.execute("RELEASE SAVEPOINT spatial_part")
        return result

    def _written(self, span: Span) -> int:
        updated = 0
        keys: list[str] = []
        brought = self._kinds[span.kind]
        if self._sifter.upsert and self._staging.match in self._columns(span):
            updated = self._counted(self._staging.update(brought, span))
            keys += self._keys()
        self._cursor.execute(self._staging.insert(brought, span))
        keys += self._keys()
        if self._lying is not None and brought.geometry:
            self._lying.check(self._cursor, keys)
        return updated

    def _keys(self) -> list[str]:
        return [] if self._lying is None else [key for (key,) in self._cursor.fetchall()]

    def _counted(self, statement: str) -> int:
        self._cursor.execute(statement)
        return self._cursor.rowcount

    def _fetched(self, statement: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement)
        return self._cursor.fetchall()

    def _learn(self, error: Exception) -> bool:
        """Whether the error tells of unique columns that were not known to matter."""
        if not isinstance(error, psycopg2.Error) or error.pgcode != errorcodes.UNIQUE_VIOLATION:
            return False
        group = self._sifter.target.unique.get(error.diag.constraint_name or "")
        if group is None:
            return False
        if self._sifter.upsert and group == (self._staging.match,):
            raise Collision from error
        told = refused(error, self._sifter.layer, self._sifter.target)
        known = group in self._sifter.collisions
        assert told is not None
        self._sifter.collisions.setdefault(group, told)
        return not known

    def _told(self, span: Span, error: Exception) -> SpatialError:
        at_fault = None
        if isinstance(error, psycopg2.DataError) and len(self._sifted.rejections) < self._sifter.plan.listed:
            at_fault = self._at_fault(span)
        told = refused(error, self._sifter.layer, self._sifter.target, at_fault)
        assert told is not None, "what is not the row's fault is raised before"
        return told

    def _at_fault(self, span: Span) -> Group:
        """The column that cannot hold what a row has for it."""
        columns = self._columns(span)
        (texts,) = self._fetched(self._staging.texts(span.first, columns)) if columns else [()]
        for column, text in zip(columns, texts, strict=True):
            literal: bytes = self._cursor.mogrify("%s", (text,))
            probe = self._staging.holding(column).encode() + literal + b" WHERE false"
            if isinstance(self._guarded(partial(self._cursor.execute, probe)), Exception):
                return (column,)
        return (self._sifter.layer.geometry_name,)

    def _columns(self, span: Span) -> list[str]:
        return self._staging.columns(self._kinds[span.kind])

    def _reject(self, place: int, error: SpatialError) -> None:
        number, name = self._chunk.numbers[place], self._chunk.names[place]
        self._sifted.rejections.append(Rejection(number, name, error.reason, error.message, error.field or ""))
