"""What the database's own rules refuse, as the caller is told: by SQLSTATE and the names of constraints and columns."""

from collections.abc import Callable, Mapping, Sequence

import psycopg2
from psycopg2 import errorcodes

from service.catalog import Layer
from service.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Reason, SpatialError


def violation(error: psycopg2.Error, layer: Layer, columns: Sequence[str] | None = None) -> SpatialError | None:
    """None where the error is none of the data's. The field is relative to the feature: `properties.name`, `geometry`
    or `id`.

    `columns` are those that the rule is about, as `db/culprits.py` finds them; without them only the constraints that
    the layer's own table is mapped with are known.
    """
    code = error.pgcode or ""
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code[:2])
    if meaning is None:
        return None
    refused = meaning(error, layer, _mapped(layer, error) if columns is None else tuple(columns))
    refused.__cause__ = error
    return refused


def field_of(layer: Layer, columns: Sequence[str]) -> str | None:
    """The field of a feature that a column is; None for several columns, which no one field is."""
    if len(columns) != 1:
        return None
    (column,) = columns
    if column == layer.key.key:
        return "id"
    if column == layer.geometry_name:
        return "geometry"
    return f"properties.{column}" if column in layer.properties else None


def _mapped(layer: Layer, error: psycopg2.Error) -> tuple[str, ...]:
    """The columns of a constraint that the layer's table is mapped with."""
    name = error.diag.constraint_name
    found = [each for each in layer.table.constraints if name is not None and str(each.name) == name]
    return tuple(column.name for each in found for column in getattr(each, "columns", ()))


def _named(error: psycopg2.Error, layer: Layer) -> dict[str, str]:
    constraint = error.diag.constraint_name
    return {"layer": layer.name, **({"constraint": constraint} if constraint else {})}


def _not_unique(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    field, metadata = field_of(layer, columns), _named(error, layer)
    if field == "id":
        return AlreadyExists(
            Reason.FEATURE_EXISTS, f"layer {layer.name!r} has a feature with this id", field=field, metadata=metadata
        )
    message = f"another feature has {'this value' if field else 'these values'}, and they are unique"
    return AlreadyExists(Reason.NOT_UNIQUE, message, field=field, metadata=metadata)


def _required(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    column = error.diag.column_name
    field = field_of(layer, [column]) if column else None
    what = field or f"column {column!r}"
    return InvalidArgument(Reason.REQUIRED, f"{what} must have a value", field=field, metadata=_named(error, layer))


def _reference(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    own = error.diag.table_name == layer.table.name
    message = "what this refers to is not there" if own else f"rows of {error.diag.table_name!r} refer to this feature"
    field = field_of(layer, columns) if own else None
    return FailedPrecondition(Reason.REFERENCE_VIOLATED, message, field=field, metadata=_named(error, layer))


def _forbidden(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    name = error.diag.constraint_name
    message = f"constraint {name!r} of the table forbids this" if name else "a rule of the table forbids this"
    field = field_of(layer, columns)
    return FailedPrecondition(Reason.CONSTRAINT_VIOLATED, message, field=field, metadata=_named(error, layer))


def _value(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    field = field_of(layer, columns)
    if field == "geometry":
        reason, message = Reason.GEOMETRY_TYPE_MISMATCH, "the column does not hold such a geometry"
    elif field == "id":
        reason, message = Reason.INVALID_ID, f"this cannot be a key of layer {layer.name!r}"
    else:
        reason, message = Reason.INVALID_PROPERTY_VALUE, "the column cannot hold this value"
    return InvalidArgument(reason, message, field=field, metadata=_named(error, layer))


def _kept_by_the_database(error: psycopg2.Error, layer: Layer, columns: tuple[str, ...]) -> SpatialError:
    # Properties of this kind are not writable, so that it can only be the key.
    return InvalidArgument(
        Reason.READ_ONLY_PROPERTY,
        "the database makes the keys of this layer",
        field="id",
        metadata=_named(error, layer),
    )


# By the whole code, else by its class (the first two characters).
_MEANINGS: Mapping[str, Callable[[psycopg2.Error, Layer, tuple[str, ...]], SpatialError]] = {
    errorcodes.UNIQUE_VIOLATION: _not_unique,
    errorcodes.NOT_NULL_VIOLATION: _required,
    errorcodes.FOREIGN_KEY_VIOLATION: _reference,
    errorcodes.RESTRICT_VIOLATION: _reference,
    errorcodes.CHECK_VIOLATION: _forbidden,
    errorcodes.EXCLUSION_VIOLATION: _forbidden,
    errorcodes.CLASS_INTEGRITY_CONSTRAINT_VIOLATION: _forbidden,
    errorcodes.CLASS_WITH_CHECK_OPTION_VIOLATION: _forbidden,
    errorcodes.CLASS_PL_PGSQL_ERROR: _forbidden,
    errorcodes.GENERATED_ALWAYS: _kept_by_the_database,
    errorcodes.CLASS_DATA_EXCEPTION: _value,
    errorcodes.CLASS_PROGRAM_LIMIT_EXCEEDED: _value,
}
