"""Servers over the demo data."""

from collections.abc import Iterator

import pytest

from tests.clusters import DEMO
from tests.conftest import NewDatabase
from tests.servers import Served, serving


@pytest.fixture(scope="module")
def demo_server(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served


@pytest.fixture(scope="module")
def writable_server(new_database: NewDatabase) -> Iterator[Served]:
    """Over the demo data, too, but for the tests of a module to change."""
    with new_database(template=DEMO) as url, serving(url) as served:
        yield served
