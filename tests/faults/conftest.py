"""How often tests of crashes crash something."""

import os
from random import randrange

import pytest

from tests.crashes import Crashes

FEW_ROUNDS = 8


@pytest.fixture
def crashes() -> Crashes:
    """As many as `make test-crashes` asks for, or a few."""
    found = Crashes(int(os.environ.get("CRASH_ROUNDS") or FEW_ROUNDS), int(os.environ.get("SEED") or randrange(10**6)))
    print(f"\nSEED={found.seed} ROUNDS={found.rounds}")
    return found
