"""What a change of one feature is as a transaction: its statement, and what its rows, or their absence, mean."""

from collections.abc import Callable, Mapping, Sequence

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog, Layer
from service.changes import Act, Edit
from service.db.copy import Decoder
from service.db.queries import Statement
from service.db.writing.culprits import columns_at_fault
from service.db.writing.edits import EditStatement, EditStatements, ManyRows, arguments_of, exists, may_overlap
from service.db.writing.jobs import Change, Shared
from service.db.writing.overlaps import overlap
from service.db.writing.transaction import Transaction
from service.db.writing.violations import violation
from service.errors import Aborted, FailedPrecondition, NotFound, Reason, SpatialError

MOST_SHARED_CHARACTERS = 64 * 1024  # of what is larger the statement costs more than the transaction


class Edits:
    """`reader` says what becomes of a statement's rows; what it makes of the row's end is the answer."""

    def __init__(self, catalog: Catalog, reader: Callable[[Statement], Decoder]) -> None:
        self._statements = EditStatements(catalog)
        self._reader = reader

    def change(self, edit: Edit) -> Change:
        known = self._statements[edit]
        statement = known.statement
        layer = statement.layer
        overlapping = may_overlap(edit, layer)

        def work(transaction: Transaction) -> bytes:
            return self._work(edit, statement, transaction)

        def explain(cursor: Cursor, error: psycopg2.Error) -> SpatialError | None:
            return violation(error, layer, columns_at_fault(cursor, error, layer, _values(edit, layer)))

        return Change(
            edit.act,
            edit.layer,
            work,
            explain,
            edit.promise,
            edit.validate_only,
            serializable=overlapping,
            shared=None if overlapping else self._sharing(edit, known),
            edit=edit,
        )

    def _sharing(self, edit: Edit, known: EditStatement) -> Shared | None:
        """What it has in common with its like, if it may be made along with them."""
        if edit.act is not Act.CREATE or edit.validate_only or _size(edit) > MOST_SHARED_CHARACTERS:
            return None
        if known.shared is None and (many := known.many_rows()) is not None:
            known.shared = self._made_shared(many, self._reader(known.statement))
        shared: Shared | None = known.shared
        return shared

    @staticmethod
    def _made_shared(many: ManyRows, read: Decoder) -> Shared:
        def work(transaction: Transaction, edits: Sequence[Edit]) -> Sequence[bytes]:
            with transaction.cursor() as cursor:
                written = many.written(cursor, edits)
            return [row[-1] for row in read(transaction.copy(written))]

        return Shared(work)

    def _work(self, edit: Edit, statement: Statement, transaction: Transaction) -> bytes:
        layer = statement.layer
        with transaction.cursor() as cursor:
            written = cursor.mogrify(statement.copy, arguments_of(edit))
        rows = self._reader(statement)(transaction.copy(written))
        if not rows:
            raise _nothing_changed(edit, layer, transaction)
        if edit.act is Act.DELETE:
            return b""
        if may_overlap(edit, layer) and rows[0][0] is not None:
            raise overlap(layer, rows[0][0].decode())
        answer: bytes = rows[0][-1]
        return answer


def _size(edit: Edit) -> int:
    """Characters, but for the key."""
    placed = 0 if edit.geometry is None else len(edit.geometry.hexewkb)
    return placed + sum([len(text) for _, text in edit.values if text is not None])


def _values(edit: Edit, layer: Layer) -> Mapping[str, str | None]:
    values = dict(edit.values)
    if edit.geometry is not None and edit.geometry.srid == layer.srid:
        values[layer.geometry_name] = edit.geometry.hexewkb
    if edit.key is not None:
        values[str(layer.key.key)] = str(edit.key)
    return values


def _nothing_changed(edit: Edit, layer: Layer, transaction: Transaction) -> SpatialError:
    metadata = {"layer": layer.name, "id": str(edit.key)}
    if edit.act is Act.CREATE:
        return FailedPrecondition(Reason.CONSTRAINT_VIOLATED, "a trigger of the table kept this feature out")
    if not transaction.fetch(exists(layer), {"key": edit.key}):
        message = f"layer {layer.name!r} has no feature {str(edit.key)!r}"
        return NotFound(Reason.FEATURE_NOT_FOUND, message, metadata=metadata)
    if edit.etag:
        return Aborted(Reason.ETAG_MISMATCH, "the feature is not what it was under this etag", metadata=metadata)
    return FailedPrecondition(Reason.CONSTRAINT_VIOLATED, "a trigger of the table forbids this change")
