"""Which errors of a statement that writes many rows are the fault of one of them."""

import psycopg2
from psycopg2 import errorcodes

from service.catalog import Layer
from service.db.errors import translated
from service.db.imports.lying import Overlapping
from service.db.imports.targets import Target
from service.db.writing.overlaps import overlap
from service.db.writing.violations import violation
from service.errors import SpatialError


def refused(
    error: Exception, layer: Layer, target: Target, at_fault: tuple[str, ...] | None = None
) -> SpatialError | None:
    """What a row is told that fails with this; None where it is not the row's fault. `at_fault` are the columns where
    that is known, which the error does not say."""
    if isinstance(error, Overlapping):
        return overlap(layer, error.other)
    if not isinstance(error, psycopg2.Error) or error.pgcode is None:
        return None
    name = error.diag.constraint_name or ""
    columns = at_fault or target.unique.get(name) or target.constraints.get(name)
    if (told := violation(error, layer, columns)) is not None:
        return told
    if error.pgcode == errorcodes.INTERNAL_ERROR:  # PostGIS and its libraries have no other
        return translated(error).at("geometry")
    return None
