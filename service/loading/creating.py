"""A table for a file: made before its rows come, finished after them, gone if anything fails until then."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Engine

from service.loading.errors import LoadError
from service.loading.made import MadeTable, made_of
from service.loading.source import Source
from service.loading.survey import surveyed
from service.reflected.wanted import parse_table


def planned(source: Source, name: str, *, srid: int | None, key: str | None, pairs: Mapping[str, str]) -> MadeTable:
    """The table called `name`, for all that the file holds; reads the file once, if it does not say what that is."""
    known = surveyed(source)
    if known.geometry is None:
        raise LoadError("the file has no geometry, and a layer has: name its columns with --lon and --lat, or --wkt")
    try:
        schema, table = parse_table(name)
    except ValueError as error:
        raise LoadError(str(error)) from None
    code = srid or (known.system.srid if known.system else None)
    if code is None:
        lacking = "has no EPSG code" if known.system else "is not known"
        raise LoadError(f"the CRS of the file {lacking}: say with --srid which one the table is to have")
    return made_of(known, schema, table, code, key, pairs)


@contextmanager
def created(made: MadeTable, engine: Engine, *, dry_run: bool, keep: bool) -> Iterator[None]:
    """The table is there; it stays once all has gone well, `keep` also otherwise, and after a dry run never."""
    try:
        made.create(engine)
        yield
        if not dry_run:
            made.finish(engine)
    except BaseException:
        if not keep:
            made.drop(engine)
        raise
    if dry_run:
        made.drop(engine)
