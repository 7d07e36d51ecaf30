"""How often tests of crashes crash something, and streams that no buffer holds."""

import os
from collections.abc import Iterator
from random import randrange

import pytest

from tests.conftest import NewDatabase
from tests.crashes import Crashes
from tests.fat_streams import fatten
from tests.questions import fill

FEW_ROUNDS = 8


@pytest.fixture
def crashes() -> Crashes:
    """As many as `make test-crashes` asks for, or a few."""
    found = Crashes(int(os.environ.get("CRASH_ROUNDS") or FEW_ROUNDS), int(os.environ.get("SEED") or randrange(10**6)))
    print(f"\nSEED={found.seed} ROUNDS={found.rounds}")
    return found


@pytest.fixture(scope="module")
def fat(new_database: NewDatabase) -> Iterator[str]:
    """A database with parcels that are more than anything between it and a reader holds."""
    with new_database() as url:
        fill(url)
        fatten(url)
        yield url
