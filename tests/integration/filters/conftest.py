"""A server over what is filtered, for the tests of a module."""

from collections.abc import Iterator

import pytest

from spatial_client import SpatialClient
from tests.conftest import NewDatabase
from tests.filtered import FILL, World
from tests.oracle import fetch
from tests.servers import serving


@pytest.fixture(scope="module")
def world(new_database: NewDatabase) -> Iterator[World]:
    with new_database() as url:
        fetch(url, FILL)
        with serving(url) as served:
            yield World(url, served)


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[SpatialClient]:
    with SpatialClient(world.served.address) as client:
        yield client
