"""What tests of the clients' changes have in common: features to write, and both of the clients."""

from typing import Any

import pytest

from spatial_client import NewFeature, SpatialClient
from tests.clients import Blocking

BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
ROWS = 500


def facility(kind: str, **properties: Any) -> dict[str, Any]:
    return {"name": "New", "kind": kind, **properties}


def features(kind: str, rows: int = ROWS) -> list[NewFeature]:
    return [
        NewFeature((row * 0.01, 10.0), facility(kind, name=f"Row {row}", population=row or None)) for row in range(rows)
    ]
