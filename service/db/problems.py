"""What keeps a layer from being answered well, and the statements that mend it."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from service.catalog import Layer
from service.db.describe import Description
from service.db.indexes import IndexDescription, quoted, serves_earth, serves_key, serves_plane

Serves = Callable[[IndexDescription, Layer], bool]


class Problem(NamedTuple):
    """`message` is for people; `statement` can be pasted into psql."""

    message: str
    statement: str


def problems_of(layer: Layer, description: Description) -> list[Problem]:
    """What is missing. Of views and foreign tables nothing is said: their indexes are elsewhere."""
    return [*_problems(layer, description)] if description.has_indexes else []


def is_usable(layer: Layer, indexes: Sequence[IndexDescription]) -> bool:
    """Whether there is an index for at least some spatial questions."""
    return any(each.valid and (serves_plane(each, layer) or serves_earth(each, layer)) for each in indexes)


def spatial_index(layer: Layer, description: Description) -> str:
    """The statement that makes an index of the geometry or geography column itself."""
    return _create(description, f"USING gist ({quoted(layer.geometry_name)})")


def _problems(layer: Layer, description: Description) -> Iterator[Problem]:
    column, key = quoted(layer.geometry_name), quoted(str(layer.key.key))
    plane, earth = "predicates and boxes read the whole table", "distances in metres read the whole table"
    if layer.is_geography:
        yield from _missing(layer, description, serves_earth, earth, f"USING gist ({column})")
        if not layer.of_points:
            yield from _missing(layer, description, serves_plane, plane, f"USING gist (geometry({column}))")
    else:
        yield from _missing(layer, description, serves_plane, plane, f"USING gist ({column})")
        if layer.geodetic:
            yield from _missing(layer, description, serves_earth, earth, f"USING gist (geography({column}))")
    yield from _missing(layer, description, serves_key, "lookups by id read the whole table", f"({key})")


def _missing(
    layer: Layer, description: Description, serves: Serves, consequence: str, wanted: str
) -> Iterator[Problem]:
    serving = [index for index in description.indexes if serves(index, layer)]
    if any(index.valid for index in serving):
        return
    if serving:
        name = f"{description.source.rpartition('.')[0]}.{quoted(serving[0].name)}"
        statement = f"REINDEX INDEX CONCURRENTLY {name};"
        yield Problem(f"{consequence}: index {name} is not valid, and PostgreSQL does not use it", statement)
    else:
        missing = wanted.removeprefix("USING gist ")
        yield Problem(f"{consequence}: there is no index on {missing[1:-1]}", _create(description, wanted))


def _create(description: Description, wanted: str) -> str:
    # PostgreSQL makes no index of a partitioned table concurrently.
    concurrently = "" if description.kind == "p" else "CONCURRENTLY "
    return f"CREATE INDEX {concurrently}ON {description.source} {wanted};"
