"""What tests against a real server share."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from spatial_client import SpatialClient
from tests.clients import Blocking
from tests.servers import Served
from tests.situations import fetch

_numbers = count()


@pytest.fixture(scope="module", params=[SpatialClient, Blocking], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Any]:
    """Each of the clients in turn, of the module's own server: one test says what both must do."""
    with request.param(served.address) as made:
        yield made


@pytest.fixture
def emptied(module_database: str) -> str:
    """The module's own database, with nothing in it."""
    fetch(module_database, "TRUNCATE facilities, zones, districts, parcels, spatial_imports RESTART IDENTITY")
    return module_database


@pytest.fixture
def kind_of() -> str:
    """A kind of facility that no other test has."""
    return f"kind {next(_numbers)}"
