"""One database with a few rows, and servers over the demo data."""

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


@pytest.fixture(scope="module")
def writable_server(new_database: NewDatabase, demo_template: str) -> Iterator[Served]:
    """Over the demo data, too, but for the tests of a module to change."""
    with new_database(template=demo_template) as url, serving(url) as served:
        yield served
