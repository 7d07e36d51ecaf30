"""Databases for the tests: one private cluster a run, and from it as many migrated databases as are asked for.

Without PostgreSQL and PostGIS the run fails, and says which packages to install: no test is left out for want of them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path

import psycopg2
import pytest

from service import demo, migrations
from service.embedded import EmbeddedPostgres, throw_away
from tests import awkward
from tests import replication as replicating

ROOT = Path(__file__).parents[1]
TOOL_FOLDERS = (ROOT / ".local/bin", ROOT / ".local/npm/node_modules/.bin", Path("/usr/sbin"))
NewDatabase = Callable[..., AbstractContextManager[str]]
# The template of databases with the extension and nothing else: to create it takes half a second.
POSTGIS = "with_postgis"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The run's cluster; a test that stops or restarts it takes `service.embedded.throw_away` instead."""
    with throw_away() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that Alembic has brought to head; nobody connects to it, so that it can be copied."""
    name = "migrated"
    _administrate(postgres, f"CREATE DATABASE {name}")
    migrations.upgrade(postgres.url_of(name))
    return name


@pytest.fixture(scope="session")
def new_database(postgres: EmbeddedPostgres, migrated_template: str) -> NewDatabase:
    """`with new_database() as url:` gives a migrated, empty database; `template=POSTGIS` one without a schema, and
    `template="template1"` one without PostGIS."""
    _administrate(postgres, f"CREATE DATABASE {POSTGIS}")
    with closing(psycopg2.connect(postgres.url_of(POSTGIS))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION postgis")

    @contextmanager
    def make(template: str = migrated_template) -> Iterator[str]:
        name = f"test_{next(_numbers)}"
        _administrate(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield postgres.url_of(name)
        finally:
            _administrate(postgres, f"DROP DATABASE {name} WITH (FORCE)")

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


@pytest.fixture(scope="session")
def demo_template(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with the demo data; nobody connects to it, so that it can be copied."""
    with new_database() as url:
        demo.load(url)
        yield url.rpartition("/")[2]


@pytest.fixture(scope="session")
def demo_database(postgres: EmbeddedPostgres, new_database: NewDatabase, demo_template: str) -> Iterator[str]:
    """The demo data, for every test that only reads: PostgreSQL refuses to write to it."""
    with new_database(template=demo_template) as url:
        _administrate(postgres, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
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


def _administrate(postgres: EmbeddedPostgres, statement: str) -> None:
    with closing(psycopg2.connect(postgres.url_of("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
