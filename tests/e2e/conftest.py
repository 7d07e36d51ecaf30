"""One database with a few rows, and one server over the demo data, for the tests that only ask."""

from collections.abc import Iterator

import pytest

from tests.conftest import NewDatabase
from tests.questions import fill
from tests.servers import Served, serving


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture(scope="module")
def demo_server(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served
