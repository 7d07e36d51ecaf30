"""The demo data, to be matched."""

from collections.abc import Iterator

import pytest

from tests.matched import World
from tests.servers import serving


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[World]:
    with serving(demo_database) as served:
        yield World(served, demo_database)
