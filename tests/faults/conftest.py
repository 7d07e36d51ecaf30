"""A small database that each module may lock, but not change."""

import os
from collections.abc import Iterator
from random import randrange

import pytest

from tests.conftest import NewDatabase
from tests.crashes import Crashes
from tests.questions import fill

FEW_ROUNDS = 8


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture
def crashes() -> Crashes:
    """As many as `make test-crashes` asks for, or a few."""
    found = Crashes(int(os.environ.get("CRASH_ROUNDS") or FEW_ROUNDS), int(os.environ.get("SEED") or randrange(10**6)))
    print(f"\nSEED={found.seed} ROUNDS={found.rounds}")
    return found
