"""Tables to be read."""

from collections.abc import Callable, Iterator

import pytest

from tests.assembling import DEFINITION, ROW, ask


@pytest.fixture(scope="module")
def url(module_database: str) -> str:
    return module_database


@pytest.fixture
def a_table(url: str) -> Iterator[Callable[..., str]]:
    """Makes a table of features numbered as `numbers` (SQL) says."""
    made: list[str] = []

    def make(numbers: str, key: str = "bigint", key_of: str = "n") -> str:
        name = f"places_{len(made)}"
        ask(url, f"CREATE TABLE {name} (key {key} PRIMARY KEY, {DEFINITION})")
        made.append(name)
        ask(url, f"INSERT INTO {name} SELECT {key_of}, {ROW} FROM {numbers} AS n")
        return name

    yield make
    for name in made:
        ask(url, f"DROP TABLE IF EXISTS {name} CASCADE")
