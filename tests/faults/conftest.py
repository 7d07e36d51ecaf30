"""A small database that each module may lock, but not change."""

from collections.abc import Iterator

import pytest

from tests.conftest import NewDatabase
from tests.questions import fill


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        yield url
