"""Every RPC with whatever may come: no call fails in a way that is the service's own fault, and nothing is left behind.

FUZZ_SECONDS says how long all of them take together, SEED repeats a run, and `make fuzz` goes on for hours.
"""

import os
from collections.abc import Iterator
from random import randrange

import pytest

from service.embedded import EmbeddedPostgres
from tests.conftest import NewDatabase
from tests.fuzz import stage
from tests.fuzz.contract import Rpc, rpcs, served
from tests.fuzz.rounds import Fuzzing

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 20)
SEED = int(os.environ.get("SEED") or randrange(10**6))
RPCS = rpcs()


@pytest.fixture(scope="module")
def fuzzing(
    postgres: EmbeddedPostgres, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fuzzing]:
    with new_database() as url:
        stage.prepare(url)
        with stage.staged(postgres, url, tmp_path_factory.mktemp("fuzz")) as staged:
            yield Fuzzing(staged)


def test_every_rpc_of_the_server_is_known(fuzzing: Fuzzing) -> None:
    assert {rpc.path for rpc in RPCS} == served(fuzzing.stage.channel)


@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.path)
def test_no_call_fails_by_the_service_s_fault(fuzzing: Fuzzing, rpc: Rpc) -> None:
    print(f"\nSEED={SEED} FUZZ_SECONDS={SECONDS:g}")
    assert fuzzing.run(rpc, SEED, SECONDS / len(RPCS)) > 0


def test_nothing_is_left_behind(fuzzing: Fuzzing) -> None:
    fuzzing.stage.check_sound()
    assert fuzzing.stage.told["OK"]
