"""Databases for the tests: one private cluster a worker, and from it as many migrated databases as are asked for.

Without PostgreSQL and PostGIS the run fails, and says which packages to install: no test is left out for want of them.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest

from service.embedded import EmbeddedPostgres
from tests import awkward, clusters
from tests import replication as replicating
from tests.clusters import COPIED, DEMO, MIGRATED, POSTGIS, PREPARED, administrate, throw_away
from tests.questions import fill

ROOT = Path(__file__).parents[1]
TOOL_FOLDERS = (ROOT / ".local/bin", ROOT / ".local/npm/node_modules/.bin", Path("/usr/sbin"))
NewDatabase = Callable[..., AbstractContextManager[str]]
_numbers = count(1)
_folder = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """A folder for the run's clusters to be copied from; the workers that it starts inherit its name."""
    if not hasattr(config, "workerinput"):
        folder = config.stash[_folder] = tempfile.mkdtemp(prefix="spatial-")
        Path(folder).chmod(0o711)  # the server's user must be able to pass
        os.environ[clusters.VARIABLE] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(_folder, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The worker's cluster; a test that stops or restarts it takes `throw_away` instead."""
    with throw_away(variant=PREPARED) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres) -> NewDatabase:
    """`with new_database() as url:` gives a migrated, empty database; `template=POSTGIS` one without a schema, `DEMO`
    one with the demo data, and `template="template1"` one without PostGIS."""

    @contextmanager
    def make(template: str = MIGRATED) -> Iterator[str]:
        name = f"test_{next(_numbers)}"
        administrate(postgres, f"CREATE DATABASE {name} TEMPLATE {template} {COPIED}")
        try:
            yield postgres.url_of(name)
        finally:
            administrate(postgres, f"DROP DATABASE {name} WITH (FORCE)")

    return make


@pytest.fixture
def database(new_database: NewDatabase) -> Iterator[str]:
    """A migrated database of this test alone."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def module_database(new_database: NewDatabase) -> Iterator[str]:
    """A migrated database that the tests of a module share."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[str]:
    """A few rows in each layer, for a module to read, to lock, and to change as far as its tests allow one another."""
    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture(scope="session")
def demo_database(postgres: EmbeddedPostgres, new_database: NewDatabase) -> Iterator[str]:
    """The demo data, for every test that only reads: PostgreSQL refuses to write to it."""
    with new_database(DEMO) as url:
        administrate(postgres, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
        yield url


@pytest.fixture(scope="session")
def awkward_database(new_database: NewDatabase) -> Iterator[str]:
    """Tables that this service did not make, for every test that only reads."""
    with new_database(template=POSTGIS) as url:
        awkward.make(url)
        yield url


@pytest.fixture(scope="session")
def replication() -> Iterator[replicating.Replication]:
    """A primary and two standbys, for databases of a module's own; whoever ends one of them starts it again."""
    with replicating.replication(2) as replication:
        yield replication


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program in `scripts/tools`. Missing, it fails in CI; elsewhere the test is left out and says so."""

    def find(name: str) -> str:
        path = os.pathsep.join([*map(str, TOOL_FOLDERS), os.environ["PATH"]])
        if found := shutil.which(name, path=path):
            return found
        made_of = "Go (grpcurl), npm (buf) and apt (Prometheus, PgBouncer)"
        message = f"{name} is missing: `make tools` installs it where {made_of} are"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    return find
