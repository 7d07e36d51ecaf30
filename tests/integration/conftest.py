"""What tests against a real server share."""

from collections.abc import Iterator
from typing import Any

import pytest

from spatial_client import SpatialClient
from tests.clients import Blocking
from tests.servers import Served


@pytest.fixture(scope="module", params=[SpatialClient, Blocking], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Any]:
    """Each of the clients in turn, of the module's own server: one test says what both must do."""
    with request.param(served.address) as made:
        yield made
