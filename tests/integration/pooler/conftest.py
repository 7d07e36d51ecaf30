"""PgBouncer in transaction mode with as few sessions as there can be, and a server behind it."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import NewDatabase
from tests.neighbours import LAYERS_FILE, POOL_SIZE, SCHEMA
from tests.pooler import PgBouncer, pooled
from tests.questions import fill
from tests.servers import Served, serving
from tests.situations import fetch


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    """PostgreSQL's own address."""
    with new_database() as url:
        fill(url)
        fetch(url, SCHEMA)
        yield url


@pytest.fixture(scope="module")
def bouncer(url: str, tool: Callable[[str], str]) -> Iterator[PgBouncer]:
    with pooled(tool("pgbouncer"), url, pool_size=POOL_SIZE) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def served(bouncer: PgBouncer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("layers") / "layers.yaml"
    file.write_text(LAYERS_FILE)
    layers = f"models, {file}"
    with serving(
        bouncer.url,
        pooler="transaction",
        layers=layers,
        lock_timeout=60,
        work_mem="7MB",
        lane_queue=5000,
        connect_timeout=20,  # a pooler that is looked after, on a busy machine, may take its time
    ) as served:
        yield served
